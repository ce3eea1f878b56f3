"""Images of any kind as RGB arrays."""

from semcorr.image.files import RASTER_FORMATS
from semcorr.image.load import (
    MAX_PIXELS,
    MIN_SIDE,
    ImageLike,
    file_of,
    is_blank,
    is_tensor,
    load_image,
    picture_size,
    resize,
    to_tensor,
)

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE",
    "RASTER_FORMATS",
    "ImageLike",
    "file_of",
    "is_blank",
    "is_tensor",
    "load_image",
    "picture_size",
    "resize",
    "to_tensor",
]
