"""The same labels over Ray Data, on this computer or on a cluster.

Each worker is an actor that loads the model and encodes the exemplars once, and labels batches with the same
`semcorr.annotation.labeller.Labeller` as a run without Ray. A batch whose worker died is labelled again by another.
The pictures' files must be at the same path on every node.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semcorr.annotation.exemplars import Exemplar, prepare
from semcorr.annotation.journal import from_json, to_json
from semcorr.annotation.labeller import Labeller
from semcorr.annotation.pictures import Target
from semcorr.annotation.records import Annotation
from semcorr.annotation.settings import Settings
from semcorr.errors import DataError, need_extra
from semcorr.threads import VARIABLE

if TYPE_CHECKING:
    from semcorr.annotation.run import Engine

BATCH = 16
"""Targets that a worker takes at once."""


class _Worker:
    """An actor: a model, and the exemplars' features."""

    def __init__(self, model: str, choices: dict[str, Any], exemplars: str, settings: dict[str, Any]) -> None:
        import semcorr

        os.environ.setdefault(VARIABLE, "1")  # there is a worker for each processor
        ready = [prepare(from_json(one), Path(path), margin) for one, path, margin in json.loads(exemplars)]
        self.labeller = Labeller(semcorr.load(model, **choices), ready, Settings(**settings))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        targets = [_target(text) for text in batch["target"]]
        labelled = self.labeller.label(targets)
        return {"record": [json.dumps([_text(target), to_json(annotation)]) for target, annotation in labelled]}


def _text(target: Target) -> str:
    if not isinstance(target.source, Path):
        raise DataError("--engine ray labels files: unpack the shards, or leave --engine out")
    return json.dumps([target.picture, str(target.source.resolve()), target.box, target.number])


def _target(text: str) -> Target:
    picture, source, box, number = json.loads(text)
    return Target(picture, Path(source), None if box is None else tuple(box), number)


def ray_engine(model: str, choices: dict[str, Any], workers: int | None, address: str | None) -> Engine:
    """Return an engine that labels with Ray.

    Args:
        model: The model's name.
        choices: What else `semcorr.load` takes.
        workers: How many workers; by default one for each processor core of the cluster.
        address: The cluster's address; None starts Ray on this computer, if it is not running.

    Raises:
        SemcorrError: If Ray is not installed.
    """
    need_extra("ray", "ray", "pyarrow")
    import ray
    import ray.data

    def label(
        exemplars: Sequence[Exemplar], settings: Settings, targets: Iterator[Target]
    ) -> Iterator[tuple[Target, Annotation]]:
        rows = [{"target": _text(target)} for target in targets]
        if not rows:
            return
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        # small, so that it travels with the actor: what lies in Ray's store may be gone when an actor is restarted
        packed = json.dumps([[to_json(one.annotation), str(one.path.resolve()), one.margin] for one in exemplars])
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        batches = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // BATCH)).map_batches(
            _Worker,
            fn_constructor_args=(model, choices, packed, asdict(settings)),
            batch_size=BATCH,
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=1,
        )
        for row in batches.iter_rows():
            target, annotation = json.loads(str(np.asarray(row["record"])))
            yield _target(target), from_json(annotation)

    return label
