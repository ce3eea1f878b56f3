"""What a backbone hands to a matcher."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from semcorr.geometry import Size


@dataclass(frozen=True)
class FeatureMap:
    """Features of pictures on a grid of cells that covers each picture whole.

    Attributes:
        tensor: ``(B, C, rows, columns)``, floating point, L2-normalised over C.
        image_sizes: Height and width in pixels of each of the B pictures, as they were before any resizing.
    """

    tensor: Tensor
    image_sizes: tuple[Size, ...]

    def __post_init__(self) -> None:
        if self.tensor.ndim != 4 or len(self.image_sizes) != self.tensor.shape[0]:
            raise ValueError(
                f"a FeatureMap takes a (B, C, rows, columns) tensor and B image sizes; got {tuple(self.tensor.shape)} "
                f"and {len(self.image_sizes)} sizes"
            )

    @property
    def grid(self) -> Size:
        """Rows and columns of cells."""
        return self.tensor.shape[2], self.tensor.shape[3]

    @property
    def strides(self) -> tuple[tuple[float, float], ...]:
        """Height and width of one cell in pixels, for each picture."""
        return tuple((height / self.grid[0], width / self.grid[1]) for height, width in self.image_sizes)
