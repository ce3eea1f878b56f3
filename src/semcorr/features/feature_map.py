"""The feature map that a backbone passes to a matcher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcorr.geometry import Size


@dataclass(frozen=True)
class FeatureMap:
    """Features of a batch of images, on a grid of cells that covers the whole of each image.

    Attributes:
        tensor: A torch tensor or NumPy array ``(B, C, rows, columns)``, floating point, L2-normalised over C.
        image_sizes: Height and width in pixels of each of the B images, before any resizing.
        fine: Fine descriptors ``(B, D, h, w)``, float32, L2-normalised over D; None if the model has none.

    Raises:
        ValueError: If the tensor has another shape, or the number of sizes differs from B.
    """

    tensor: Any
    image_sizes: tuple[Size, ...]
    fine: Any = None

    def __post_init__(self) -> None:
        if self.tensor.ndim != 4 or len(self.image_sizes) != self.tensor.shape[0]:
            raise ValueError(
                f"a FeatureMap takes a (B, C, rows, columns) tensor and B image sizes; got {tuple(self.tensor.shape)} "
                f"and {len(self.image_sizes)} sizes"
            )

    def row(self, index: int) -> FeatureMap:
        """Return the features of one image, as a batch of one."""
        part = slice(index, index + 1)
        return FeatureMap(self.tensor[part], self.image_sizes[part], None if self.fine is None else self.fine[part])

    @property
    def grid(self) -> Size:
        """Rows and columns of cells."""
        return self.tensor.shape[2], self.tensor.shape[3]

    @property
    def strides(self) -> tuple[tuple[float, float], ...]:
        """Height and width of a cell in pixels, for each image."""
        return tuple((height / self.grid[0], width / self.grid[1]) for height, width in self.image_sizes)


def array_of(values: Any) -> NDArray[np.float32]:
    """Return a torch tensor on any device, or a NumPy array, as a float32 array."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float32, copy=False)
    found: NDArray[np.float32] = values.detach().float().cpu().numpy()
    return found
