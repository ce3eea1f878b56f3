"""Good files of every kind that strangers hand in, small ones: what fuzzing begins with."""

from __future__ import annotations

import argparse
import io
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, features

from semcorr.errors import ModelError

Seeds = dict[str, bytes]


def pictures() -> Seeds:
    """Return one file of each format and mode that Pillow writes here."""
    y, x = np.mgrid[:24, :32]
    colours = np.stack([8 * x, 10 * y, 4 * (x + y)], axis=2).astype(np.uint8)
    picture = Image.fromarray(colours)
    deep = Image.fromarray((colours[..., 0].astype(np.uint16)) * 257)
    plans = [("JPEG", picture, {}), ("JPEG", picture.convert("CMYK"), {}), ("JPEG", picture, {"progressive": True})]
    plans += [("PNG", picture.convert(mode), {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    plans += [("PNG", deep, {}), ("GIF", picture, {}), ("BMP", picture, {}), ("BMP", picture.convert("P"), {})]
    plans += [("PPM", picture, {}), ("PPM", deep, {}), ("WEBP", picture, {}), ("WEBP", picture, {"lossless": True})]
    plans += [("TIFF", picture.convert(mode), {}) for mode in ("1", "L", "RGB", "CMYK", "LAB") if mode != "LAB"]
    plans += [("TIFF", picture, {"compression": "tiff_lzw"}), ("TIFF", deep, {"compression": "tiff_deflate"})]
    frames = {"save_all": True, "append_images": [picture.rotate(90), picture.rotate(180)]}
    plans += [("GIF", picture, frames), ("PNG", picture, frames), ("TIFF", picture, frames)]
    plans += [("JPEG2000", picture, {})] if features.check("jpg_2000") else []
    plans += [("AVIF", picture, {})] if "AVIF" in Image.MIME and features.check("avif") else []
    exif = Image.Exif()
    exif[274] = 6
    seeds = {}
    for index, (kind, image, options) in enumerate(plans):
        file = io.BytesIO()
        image.save(file, kind, **options, **({"exif": exif} if kind in ("JPEG", "PNG", "TIFF", "WEBP") else {}))
        seeds[f"{index:02}-{kind}-{image.mode}"] = file.getvalue()
    return seeds


def weights() -> Seeds:
    """Return the smallest weights files of the package."""
    from semcorr.weights import FOLDER

    return {name: (FOLDER / f"{name}.safetensors").read_bytes() for name in ("ncnet", "pmnc-universal")}


def checkpoints() -> Seeds:
    """Return files like the published ones, without their backbone: all are refused in the end, few at once."""
    import torch

    layers = {"0": (3, 2, 1, 3, 3, 3), "2": (3, 1, 2, 3, 3, 3)}
    state = {f"NeighConsensus.conv.{layer}.weight": torch.zeros(shape) for layer, shape in layers.items()}
    state |= {f"NeighConsensus.conv.{layer}.bias": torch.zeros(shape[1]) for layer, shape in layers.items()}
    seeds = {}
    for name, new in (("zip", True), ("pickle", False)):
        file = io.BytesIO()
        content = {"state_dict": state, "args": argparse.Namespace(lr=1e-4), "epoch": 5}
        torch.save(content, file, _use_new_zipfile_serialization=new)
        seeds[name] = file.getvalue()
    return seeds


def read_picture(path: Path) -> None:
    """Read a picture, as a file and as bytes, and its size."""
    from semcorr.image import load_image, picture_size

    pixels = load_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*picture_size(path), 3)
    assert np.array_equal(load_image(path.read_bytes()), pixels)


def read_weights(path: Path) -> None:
    """Load the matcher that a weights file describes, without torch and with it."""
    from semcorr.models.building import build
    from semcorr.models.choices import Choices
    from semcorr.models.light import load_light
    from semcorr.weights import read_weights as read

    with suppress(ModelError):
        load_light(Choices("pmnc", weights=path))
    build(read(path))


def read_checkpoint(path: Path) -> None:
    """Import a checkpoint."""
    from semcorr.models.import_checkpoint import import_checkpoint

    import_checkpoint("ncnet", path)


KINDS = {
    "picture": (pictures, read_picture),
    "weights": (weights, read_weights),
    "checkpoint": (checkpoints, read_checkpoint),
}
