"""What the pairs and groups of a step are drawn from, as a recipe says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from semcorr.data.pairs import Photo
from semcorr.data.pictures import Sizes, list_pictures
from semcorr.errors import DataError
from semcorr.geometry import Size
from semcorr.training.data import TrainingData
from semcorr.training.objectives.joint import Share
from semcorr.training.recipe import TrainingRecipe
from semcorr.training.sampling.pseudo_labels import PseudoLabelSampler
from semcorr.training.sampling.samplers import GroupSampler, KeypointSampler, ListSampler, WarpSampler
from semcorr.training.sampling.views import KeypointView, ViewPair, as_group

_WARP_POINTS = 40  # points of a warp, for the loss on the features

DrawPair = Callable[[int, int], ViewPair]
"""From a step and an index within it to a pair."""

DrawGroup = Callable[[int, int], tuple[KeypointView, ...]]
"""From a step and an index within it to a group of pictures."""


@dataclass(frozen=True)
class GroupDraws:
    """The groups of a step.

    Attributes:
        draws: What draws each group, called with the step and the group's index.
        shares: The weight of each group in the loss.
    """

    draws: list[DrawGroup]
    shares: list[Share]


def pair_draws(recipe: TrainingRecipe, data: TrainingData) -> list[DrawPair]:
    """Return what draws each pair of a step: those with keypoints first, then warps."""
    keypoints = _keypoint_pairs(recipe, data)
    if recipe.loss == "weak":

        def draw(step: int, index: int) -> ViewPair:
            return replace(keypoints(step, index), negative=keypoints(step, (index + 1) % recipe.pairs).source)

        return [draw] * recipe.pairs
    draws = [keypoints] * recipe.pairs
    if recipe.warps:
        warps = WarpSampler(photographs(recipe), recipe.seed, recipe.warp_views, recipe.keypoints)
        draws += [warps.draw] * recipe.warps
    return draws


def group_draws(recipe: TrainingRecipe, data: TrainingData) -> GroupDraws:
    """Return what draws each group of a step: pictures with keypoints first, then warps, then pseudo-labels.

    Groups weigh as many scored pairs as they have. In the contrastive loss, all groups with annotated keypoints
    together weigh as much as all others together.
    """
    if data.pairs:
        annotated: list[DrawGroup] = [_grouped(_keypoint_pairs(recipe, data))] * recipe.pairs
        scored = 1
    else:
        sampler = GroupSampler(data.photos, recipe.seed, recipe.views, recipe.pictures, recipe.together, recipe.mirrors)
        annotated = [sampler.draw] * recipe.groups
        scored = min(recipe.pairs, recipe.pictures * (recipe.pictures - 1) // 2)
    others = [_grouped(draw) for draw in _pairs_without_keypoints(recipe, data.photos)]
    total = scored * len(annotated) + len(others)
    shares = [Share(scored / total, (1 if others else 2) / len(annotated))] * len(annotated)
    shares += [Share(1 / total, 1 / len(others), annotated=False) for _ in others]
    return GroupDraws(annotated + others, shares)


def _keypoint_pairs(recipe: TrainingRecipe, data: TrainingData) -> DrawPair:
    if data.pairs:
        keypoints = 0 if recipe.loss == "weak" else recipe.keypoints
        return ListSampler(data.pairs, recipe.seed, recipe.views, keypoints, recipe.pairs).draw
    return KeypointSampler(
        data.photos, recipe.seed, recipe.views, 0 if recipe.loss == "weak" else recipe.keypoints
    ).draw


def _pairs_without_keypoints(recipe: TrainingRecipe, annotated: Sequence[Photo]) -> list[DrawPair]:
    files = photographs(recipe) if recipe.warps or recipe.pseudo else []
    pairs: list[DrawPair] = []
    if recipe.warps:
        pairs += [WarpSampler(files, recipe.seed, recipe.warp_views, _WARP_POINTS).draw] * recipe.warps
    if recipe.pseudo_labels is not None:
        everything = files + [(photo.path, photo.size) for photo in annotated]
        pseudo_labels = PseudoLabelSampler(
            recipe.pseudo_labels, everything, recipe.seed, recipe.warp_views, recipe.leave_out
        )
        pairs += [pseudo_labels.draw] * recipe.pseudo
    return pairs


def _grouped(draw: DrawPair) -> DrawGroup:
    return partial(_draw_grouped, draw)


def _draw_grouped(draw: DrawPair, step: int, index: int) -> tuple[KeypointView, ...]:
    return as_group(draw(step, index))


def photographs(recipe: TrainingRecipe) -> list[tuple[Path, Size]]:
    """List the photographs without keypoints, and their sizes, without the categories that are left out."""
    assert recipe.photographs is not None
    sizes = Sizes()
    kept = [path for path in list_pictures(recipe.photographs) if path.parent.name not in recipe.leave_out]
    files = [(path, sizes(path, str(path))) for path in kept]
    if not files:
        raise DataError(
            f"{recipe.photographs} holds no photographs category/*.jpg (or .png, .webp …), which warps and pseudo need"
        )
    return files
