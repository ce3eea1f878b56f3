"""A trained model as a folder of two files: its weights and how to load them. Nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semcorr.errors import ModelError
from semcorr.files import local_path, replacing, sha256_of, write_text
from semcorr.models.loading import check_name, list_models, load
from semcorr.weights import FOLDER, MODELS

if TYPE_CHECKING:
    from semcorr.models.matcher import Matcher

WEIGHTS, CONFIG = "model.safetensors", "config.json"
"""The files of such a folder."""

_OPTIONS = {"backbone": str, "stages": tuple, "grid": int, "image_size": int, "decoding": str}


def save_pretrained(
    folder: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    name: str = "pmnc",
    **options: Any,
) -> Path:
    """Save a model as a folder that `from_pretrained` loads, to be kept or given to others.

    Args:
        folder: The folder; it is made if it is missing, and the two files in it are replaced.
        weights: A file that `semcorr train` wrote; None takes the weights in the package.
        name: The model, one of `semcorr.list_models`.
        options: How it is to be loaded, as for `semcorr.load`: ``backbone``, ``stages``, ``grid``, ``image_size``,
            ``decoding``.

    Returns:
        The folder.

    Raises:
        ModelError: If the name is unknown, or the model cannot be loaded like that; then nothing is written.
        ValueError: If an option is unknown or out of range.

    >>> save_pretrained("my-model", "runs/mine/model.safetensors", grid=40)    # doctest: +SKIP
    PosixPath('my-model')
    """
    check_name(name)
    _check(options, "option")
    file = local_path(os.fspath(weights)) if weights is not None else None
    load(name, weights=file, **options)  # fails here, not where the folder is used
    if file is None and name in MODELS:
        file = FOLDER / MODELS[name].file
    home = local_path(os.fspath(folder))
    home.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {"model": name, "options": options}
    if file is not None:
        with replacing(home / WEIGHTS) as part:
            shutil.copyfile(file, part)
        config["sha256"] = sha256_of(home / WEIGHTS)
    write_text(home / CONFIG, json.dumps(config, indent=1) + "\n")
    return home


def from_pretrained(folder: str | os.PathLike[str], **choices: Any) -> Matcher:
    """Load the model in a folder that `save_pretrained` wrote.

    Args:
        folder: The folder.
        choices: ``device`` and ``precision``, as for `semcorr.load`.

    Raises:
        ModelError: If a file is missing, broken, or not the one that was saved.
    """
    home = local_path(os.fspath(folder))
    try:
        config = json.loads((home / CONFIG).read_text(encoding="utf-8"))
        name, options = config["model"], dict(config["options"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{home} holds no model: give a folder that save_pretrained wrote ({CONFIG})") from error
    if name not in list_models():
        raise ModelError(f"{home / CONFIG} names the model {str(name)[:40]!r}, which this version does not know")
    if options.get("stages") is not None:
        options["stages"] = tuple(options["stages"])
    _check(options, f"{home / CONFIG}: option")
    weights = None
    if "sha256" in config:
        weights = home / WEIGHTS
        if not weights.is_file() or sha256_of(weights) != config["sha256"]:
            raise ModelError(f"{weights} is missing, or not the file that was saved: copy the folder again")
    return load(name, weights=weights, **options, **choices)


def _check(options: dict[str, Any], what: str) -> None:
    for key, value in options.items():
        if key not in _OPTIONS or not (value is None or isinstance(value, _OPTIONS[key])):
            raise ValueError(f"{what} {key}={value!r} is not one of {', '.join(_OPTIONS)} of semcorr.load")
