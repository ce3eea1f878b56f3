"""A trained model as a folder: its weights, and how to load them. Nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semcorr.errors import ModelError
from semcorr.files import local_path, replacing, sha256_of, write_text
from semcorr.models.loading import check_name, list_models, load
from semcorr.weights import BACKBONES, FOLDER, MODELS

if TYPE_CHECKING:
    from semcorr.models.matcher import Matcher

CONFIG = "config.json"
FILES = {"weights": "model.safetensors", "backbone_weights": "backbone.safetensors"}
"""The files of such a folder, beside its configuration, by the argument of `semcorr.load` that takes them."""

_OPTIONS: dict[str, type] = {"backbone": str, "stages": tuple, "grid": int, "image_size": int, "decoding": str}


def save_pretrained(
    folder: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    name: str = "pmnc",
    *,
    backbone_weights: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Path:
    """Save a model as a folder that `from_pretrained` loads: to keep it, or to give it to others.

    Args:
        folder: The folder; it is made if it is missing, and the files of an earlier model in it are replaced.
        weights: A safetensors file that `semcorr train` wrote; None takes the weights in the package.
        name: The model, one of `semcorr.list_models`.
        backbone_weights: A safetensors file for ``backbone=``, so that nobody has to download it.
        options: How the model is to be loaded: ``backbone``, ``stages``, ``grid``, ``image_size`` and ``decoding``, as
            for `semcorr.load`.

    Returns:
        The folder.

    Raises:
        ModelError: If the model cannot be loaded like that; then nothing is written.
        ValueError: If an option is unknown or out of range, or a backbone comes without its weights.

    >>> save_pretrained("my-model", "runs/mine/model.safetensors", grid=40)    # doctest: +SKIP
    PosixPath('my-model')
    """
    check_name(name)
    _check(options, "option")
    backbone = options.get("backbone")
    if backbone is not None and backbone not in BACKBONES and backbone_weights is None:
        raise ValueError(
            f"backbone {backbone!r} needs backbone_weights, a safetensors file, to be saved with the model"
        )
    given = {"weights": weights, "backbone_weights": backbone_weights}
    files: dict[str, Any] = {key: local_path(os.fspath(path)) for key, path in given.items() if path is not None}
    load(name, **files, **options)  # fails here, not where the folder is used
    if weights is None and name in MODELS:
        files["weights"] = FOLDER / MODELS[name].file
    home = local_path(os.fspath(folder))
    home.mkdir(parents=True, exist_ok=True)
    checksums = {}
    for key, file in files.items():
        with replacing(home / FILES[key]) as part:
            shutil.copyfile(file, part)
            checksums[key] = sha256_of(part)
    write_text(home / CONFIG, json.dumps({"model": name, "options": options, "sha256": checksums}, indent=1) + "\n")
    return home


def from_pretrained(folder: str | os.PathLike[str], **choices: Any) -> Matcher:
    """Load the model in a folder that `save_pretrained` wrote.

    Args:
        folder: The folder.
        choices: ``device`` and ``precision``, as for `semcorr.load`.

    Raises:
        ModelError: If a file is missing or malformed, or not the one that was saved.
        ValueError: If the configuration has an unknown option.
    """
    home = local_path(os.fspath(folder))
    try:
        config = json.loads((home / CONFIG).read_text(encoding="utf-8"))
        name, options, checksums = str(config["model"]), dict(config["options"]), dict(config["sha256"])
        if options.get("stages") is not None:
            options["stages"] = tuple(options["stages"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{home} holds no model: give a folder that save_pretrained wrote ({CONFIG})") from error
    if name not in list_models() or not checksums.keys() <= FILES.keys():
        raise ModelError(f"{home / CONFIG} is of a model that this version does not know: {name[:40]!r}")
    _check(options, f"{home / CONFIG}: option")
    files: dict[str, Any] = {key: home / FILES[key] for key in checksums}
    for key, file in files.items():
        if not file.is_file() or sha256_of(file) != checksums[key]:
            raise ModelError(f"{file} is missing, or not the file that was saved: copy the folder again")
    return load(name, **files, **options, **choices)


def _check(options: dict[str, Any], what: str) -> None:
    for key, value in options.items():
        if key not in _OPTIONS or not (value is None or isinstance(value, _OPTIONS[key])):
            raise ValueError(f"{what} {key}={value!r} is not one of {', '.join(_OPTIONS)} of semcorr.load")
