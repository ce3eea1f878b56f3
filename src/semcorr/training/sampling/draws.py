"""What the pairs and groups of a step are drawn from, as a recipe says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from semcorr.data.pairs import Photo
from semcorr.data.pictures import Sizes, list_pictures
from semcorr.errors import DataError
from semcorr.geometry import Size
from semcorr.training.recipe import TrainingRecipe
from semcorr.training.sampling.pseudo_labels import PseudoLabelSampler
from semcorr.training.sampling.samplers import GroupSampler, KeypointSampler, WarpSampler
from semcorr.training.sampling.views import KeypointView, ViewPair, as_group

_WARP_POINTS = 40  # points of a warp, for the loss on the features

DrawPair = Callable[[int, int], ViewPair]
"""From a step and an index within it to a pair."""

DrawGroup = Callable[[int, int], tuple[KeypointView, ...]]
"""From a step and an index within it to a group of pictures."""


def pair_draws(recipe: TrainingRecipe, photos: list[Photo]) -> DrawPair:
    """Return the function that draws the pairs of a step: those with keypoints first, then warps."""
    keypoints = KeypointSampler(photos, recipe.seed, recipe.views, 0 if recipe.loss == "weak" else recipe.keypoints)
    if recipe.loss == "weak":
        return lambda step, index: replace(
            keypoints.draw(step, index), negative=keypoints.draw(step, (index + 1) % recipe.pairs).source
        )
    if not recipe.warps:
        return keypoints.draw
    warps = WarpSampler(photographs(recipe), recipe.seed, recipe.warp_views, recipe.keypoints)
    return lambda step, index: (keypoints if index < recipe.pairs else warps).draw(step, index)


def group_draws(recipe: TrainingRecipe, photos: list[Photo]) -> DrawGroup:
    """Return the function that draws the groups of a step: pictures with keypoints, then warps, then pseudo-labels."""
    keypoints = GroupSampler(photos, recipe.seed, recipe.views, recipe.pictures, recipe.together)
    files = photographs(recipe) if recipe.warps or recipe.pseudo else []
    pairs: list[DrawPair] = []
    if recipe.warps:
        pairs += [WarpSampler(files, recipe.seed, recipe.warp_views, _WARP_POINTS).draw] * recipe.warps
    if recipe.pseudo_labels is not None:
        pairs += [PseudoLabelSampler(recipe.pseudo_labels, files, recipe.seed, recipe.warp_views).draw] * recipe.pseudo
    count = 1 + len(pairs)

    def draw(step: int, index: int) -> tuple[KeypointView, ...]:
        if index % count == 0:
            return keypoints.draw(step, index)
        return as_group(pairs[index % count - 1](step, index))

    return draw


def photographs(recipe: TrainingRecipe) -> list[tuple[Path, Size]]:
    """List the photographs without keypoints, and their sizes."""
    assert recipe.photographs is not None
    sizes = Sizes()
    files = [(path, sizes(path, str(path))) for path in list_pictures(recipe.photographs)]
    if not files:
        raise DataError(
            f"{recipe.photographs} holds no photographs category/*.jpg (or .png, .webp …), which warps and pseudo need"
        )
    return files
