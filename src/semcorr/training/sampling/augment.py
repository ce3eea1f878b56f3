"""Augmentation: photographs warped by a known thin-plate spline, and recoloured.

A warped photograph comes with correspondences that nobody had to annotate (Rocco et al., Convolutional neural network
architecture for geometric matching, CVPR 2017, trained on synthetic affine and thin-plate warps).
Every view is a function of its seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from semcorr.geometry import Size

_CONTROL = 4  # control points to a side
_LONGEST = 512  # pixels of a warped picture's longer side
_LATTICE = 33  # points to a side at which the spline is evaluated; values in between are interpolated


@dataclass(frozen=True)
class Strength:
    """How strong an augmentation is: standard deviations of normal distributions unless noted otherwise.

    Attributes:
        rotation: Radians.
        scale: Range of the logarithm of the visible share of the photograph, uniform.
        aspect: Of the logarithm of the stretch of x against y.
        perspective: Of the change of scale from the centre to the border.
        bend: Of the displacement of each of 4 × 4 control points, in units of the longer side.
        shift: Range of the displacement of the whole picture, uniform, in units of the longer side.
        colour: Factor of all changes of colour.
    """

    rotation: float
    scale: tuple[float, float]
    aspect: float
    perspective: float
    bend: float
    shift: float
    colour: float


MILD = Strength(0.12, (-0.35, 0.15), 0.08, 0.08, 0.015, 0.08, 0.6)
"""For photographs with keypoints, which should stay in the picture."""

STRONG = Strength(0.30, (-0.45, 0.35), 0.15, 0.25, 0.045, 0.12, 1.0)
"""For photographs that are matched with a warped view of themselves."""


class Warp:
    """A thin-plate spline from the unit square of a warped picture to that of its original.

    Args:
        control: Control points ``(K, 2)`` (x, y) in the warped picture.
        positions: Their positions in the original, ``(K, 2)``.
    """

    def __init__(self, control: Tensor, positions: Tensor) -> None:
        count = len(control)
        self.control = control.double()
        system = torch.zeros(count + 3, count + 3, dtype=torch.float64)
        system[:count] = self._basis(self.control)
        system[count:, :count] = system[:count, count:].T
        wanted = torch.cat([positions.double(), torch.zeros(3, 2, dtype=torch.float64)])
        self.weights = torch.linalg.solve(system, wanted)  # (K + 3, 2)

    def to_original(self, points: Tensor) -> Tensor:
        """Map points of the warped picture to the original; both ``(N, 2)`` in the unit square."""
        positions: Tensor = self._basis(points.double()) @ self.weights
        return positions

    def from_original(self, points: Tensor, iterations: int = 30) -> tuple[Tensor, Tensor]:
        """Map points of the original to the warped picture, by fixed-point iteration.

        Returns:
            ``(N, 2)``, and ``(N,)`` bool: where the iteration has converged.
        """
        offset, linear = self.weights[-3], torch.linalg.inv(self.weights[-2:])
        warped = (points.double() - offset) @ linear
        for _ in range(iterations):
            warped = warped - (self.to_original(warped) - points) @ linear
        return warped, (self.to_original(warped) - points).norm(dim=1) < 1e-3

    def _basis(self, points: Tensor) -> Tensor:
        squared = torch.cdist(points, self.control).square()
        radial = 0.5 * squared * torch.log(squared + 1e-9)  # r² log r
        return torch.cat([radial, torch.ones(len(points), 1, dtype=torch.float64), points], dim=1)


def random_warp(rng: np.random.Generator, size: Size, strength: Strength) -> Warp:
    """Draw a similarity with perspective, and add smooth random displacements."""
    sides = torch.tensor([size[1], size[0]], dtype=torch.float64) / max(size)
    steps = torch.linspace(0, 1, _CONTROL, dtype=torch.float64)
    control = torch.stack([axis.flatten() for axis in torch.meshgrid(steps, steps, indexing="xy")], dim=1)
    angle = rng.normal(0, strength.rotation)
    scale = np.exp(rng.uniform(*strength.scale))
    stretch = np.exp(rng.normal(0, strength.aspect))
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = torch.tensor([[cosine, -sine], [sine, cosine]]) * scale
    centred = (control - 0.5) * sides  # in units of the longer side
    positions = (centred * torch.tensor([stretch, 1 / stretch])) @ turn.T
    depth = torch.tensor(rng.normal(0, strength.perspective, 2))
    positions = positions / (1 + centred @ depth)[:, None].clamp(min=0.4)
    positions = positions + torch.tensor(rng.normal(0, strength.bend, (_CONTROL**2, 2)))
    positions = positions + torch.tensor(rng.uniform(-1, 1, 2) * strength.shift)
    return Warp(control, positions / sides + 0.5)


def warp_picture(image: NDArray[np.uint8], warp: Warp) -> NDArray[np.uint8]:
    """Warp a picture ``(H, W, 3)``, filling with its mean colour; the longer side becomes at most 512 px."""
    height, width = image.shape[:2]
    shrink = min(1.0, _LONGEST / max(height, width))
    size = round(height * shrink), round(width * shrink)
    steps = torch.linspace(0, 1, _LATTICE, dtype=torch.float64)
    lattice = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=2)
    coarse = warp.to_original(lattice.flatten(0, 1)).float().T.reshape(1, 2, _LATTICE, _LATTICE)
    ys, xs = ((torch.arange(n, dtype=torch.float32) + 0.5) / n for n in size)
    positions = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=2)
    fine = F.grid_sample(coarse, positions[None] * 2 - 1, align_corners=True).movedim(1, 3)  # (1, H, W, 2)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    if shrink < 1:
        pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    mean = pixels.mean(dim=(2, 3), keepdim=True)
    warped = F.grid_sample(pixels - mean, fine * 2 - 1, align_corners=False, padding_mode="zeros") + mean
    result: NDArray[np.uint8] = warped[0].permute(1, 2, 0).clamp(0, 255).round().byte().numpy()
    return result


def recolour(rng: np.random.Generator, image: NDArray[np.uint8], strength: Strength) -> NDArray[np.uint8]:
    """Change gamma, white balance, saturation and contrast; occasionally make it grey, blurred or noisy."""
    k = strength.colour
    pixels = (image.astype(np.float32) / 255) ** np.exp(rng.normal(0, 0.25 * k))
    pixels = pixels * (1 + rng.normal(0, 0.15 * k, 3).astype(np.float32))
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + (pixels - grey) * np.float32(max(0, 1 + rng.normal(0, 0.35 * k)))
    if rng.random() < 0.1:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    pixels = np.clip((pixels - 0.5) * np.float32(np.exp(rng.normal(0, 0.2 * k))) + 0.5, 0, 1)
    drawn = rng.random()
    if drawn < 0.25 * k:
        blur = ImageFilter.GaussianBlur(rng.uniform(0.5, 2.2))
        pixels = np.asarray(Image.fromarray((pixels * 255).astype(np.uint8)).filter(blur)).astype(np.float32) / 255
    elif drawn < 0.4 * k:
        pixels = np.clip(pixels + rng.normal(0, 0.04, pixels.shape).astype(np.float32), 0, 1)
    result: NDArray[np.uint8] = (pixels * 255).round().astype(np.uint8)
    return result
