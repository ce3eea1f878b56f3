"""MP-100 by its protocol: episodes of a few annotated exemplars and some pictures to find the same points in.

Exemplars and queries are cut to their ground-truth box made square and enlarged 1.25 times, at 256×256 pixels. For each
category, episodes are drawn under a seed. A point counts where the query and all exemplars have it; it is right within
α times the longer side of the query's box. The figure is the mean over pairs; a pair without a common point counts as
wrong in most published code, and is left out in the second figure here.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semcorr.annotation.evidence import Evidence, gather_evidence
from semcorr.annotation.voting import vote
from semcorr.data.pairs import Box, Photo
from semcorr.errors import DataError
from semcorr.files import write_text
from semcorr.image import load_image

if TYPE_CHECKING:
    from semcorr.models.encoded import Encoded
    from semcorr.models.matcher import Matcher

ALPHAS = (0.05, 0.1, 0.15, 0.2, 0.25)
SIDE = 256
ENLARGED = 1.25
EPISODES, QUERIES, SEED = 200, 15, 1


class Episode(NamedTuple):
    """Indices of a category's objects: the exemplars, and those to find points in."""

    supports: tuple[int, ...]
    queries: tuple[int, ...]


class Crop(NamedTuple):
    """An object as the protocol shows it.

    Attributes:
        image: ``(256, 256, 3)`` uint8, black where the square leaves the picture.
        corner: The square's left top corner (x, y) in pixels of the picture.
        scale: Pixels of the crop to a pixel of the picture.
    """

    image: NDArray[np.uint8]
    corner: tuple[float, float]
    scale: float


@dataclass(frozen=True)
class CategoryScores:
    """One category's result.

    Attributes:
        pairs: How many exemplar sets and queries were compared.
        empty: How many of them have no common point.
        right: α to the sum over pairs of the share of right points.
    """

    pairs: int
    empty: int
    right: dict[str, float]

    def pck(self, alpha: float, with_empty: bool = True) -> float:
        """Return the mean over pairs, 0 to 1; pairs without a common point count as wrong, or not at all."""
        count = self.pairs if with_empty else self.pairs - self.empty
        return self.right[f"{alpha:g}"] / count if count else 0.0


def draw_episodes(count: int, shots: int, episodes: int = EPISODES, draw: random.Random | None = None) -> list[Episode]:
    """Draw a category's episodes: exemplars and 15 queries, or all the rest where there are fewer.

    Raises:
        DataError: If there are too few objects for one query.
    """
    if count <= shots:
        raise DataError(f"{shots} exemplars and a query need {shots + 1} objects of a category, and there are {count}")
    draw = draw or random.Random(SEED)
    drawn = [draw.sample(range(count), min(count, shots + QUERIES)) for _ in range(episodes)]
    return [Episode(tuple(one[:shots]), tuple(one[shots:])) for one in drawn]


def crop_square(image: NDArray[np.uint8], box: Box) -> Crop:
    """Cut an object out as the protocol does.

    >>> part = crop_square(np.full((100, 100, 3), 255, np.uint8), (10, 30, 50, 50))
    >>> part.corner, part.scale, int(part.image.min())
    ((5.0, 15.0), 5.12, 255)
    """
    left, top, right, bottom = box
    side = max(right - left, bottom - top) * ENLARGED
    x, y = (left + right) / 2 - side / 2, (top + bottom) / 2 - side / 2
    x0, y0 = math.floor(x), math.floor(y)
    part = Image.fromarray(image).crop((x0, y0, math.ceil(x + side), math.ceil(y + side)))  # black outside
    shrunk = part.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(x - x0, y - y0, x - x0 + side, y - y0 + side))
    return Crop(np.asarray(shrunk), (x, y), SIDE / side)


def evaluate_category(
    model: Matcher, photos: Sequence[Photo], episodes: Sequence[Episode], progress: Callable[[], None] | None = None
) -> CategoryScores:
    """Compare the exemplars of each episode with its queries.

    Args:
        model: The matcher.
        photos: The category's objects, with boxes.
        episodes: From `draw_episodes`.
        progress: Called after each exemplar that was matched with all its queries.

    Returns:
        The scores.
    """
    wanted: dict[int, set[int]] = {}
    for episode in episodes:
        for support in episode.supports:
            wanted.setdefault(support, set()).update(episode.queries)
    crops = {index: _crop(photos[index]) for index in sorted({*wanted, *(q for e in episodes for q in e.queries)})}
    encoded = {index: model.encode(crop.image) for index, crop in crops.items()}
    answers: dict[tuple[int, int], Evidence] = {}
    for support, queries in wanted.items():
        answers |= _answers(model, photos[support], crops, encoded, support, sorted(queries))
        if progress is not None:
            progress()
    right, empty, pairs = np.zeros(len(ALPHAS)), 0, 0
    for episode in episodes:
        for query in episode.queries:
            errors = _errors(photos, crops[query], answers, episode.supports, query)
            pairs += 1
            empty += not len(errors)
            if len(errors):
                right += [(errors <= alpha).mean() for alpha in ALPHAS]
    return CategoryScores(pairs, empty, {f"{a:g}": float(value) for a, value in zip(ALPHAS, right, strict=True)})


def _crop(photo: Photo) -> Crop:
    assert photo.bbox is not None
    return crop_square(load_image(photo.path), photo.bbox)


def _answers(
    model: Matcher,
    photo: Photo,
    crops: Mapping[int, Crop],
    encoded: Mapping[int, Encoded],
    support: int,
    queries: Sequence[int],
) -> Iterator[tuple[tuple[int, int], Evidence]]:
    crop = crops[support]
    points = (np.array(list(photo.keypoints.values())) - crop.corner) * crop.scale
    inside = np.clip(points, 0, SIDE).astype(np.float32)
    matches = model.match_each(encoded[support], [encoded[query] for query in queries])
    for query, match in zip(queries, matches, strict=True):
        yield (support, query), gather_evidence(match, inside)


def _errors(
    photos: Sequence[Photo],
    crop: Crop,
    answers: Mapping[tuple[int, int], Evidence],
    supports: Sequence[int],
    query: int,
) -> NDArray[np.float64]:
    """Return the distances of the common points, as shares of the longer side of the query's box."""
    target = photos[query]
    names = [n for n in target.keypoints if all(n in photos[support].keypoints for support in supports)]
    if not names or target.bbox is None:
        return np.zeros(0)
    points = np.zeros((len(names), len(supports), 2))
    confidence, visibility = np.zeros(points.shape[:2]), np.zeros(points.shape[:2])
    for column, support in enumerate(supports):
        listed = list(photos[support].keypoints)
        rows, answer = [listed.index(name) for name in names], answers[support, query]
        points[:, column] = answer.points[rows]
        confidence[:, column], visibility[:, column] = answer.confidence[rows], answer.visibility[rows]
    voted = vote(points, confidence, visibility, SIDE / ENLARGED)
    found = voted.points / crop.scale + crop.corner
    truth = np.array([target.keypoints[name] for name in names])
    left, top, right, bottom = target.bbox
    distances: NDArray[np.float64] = np.linalg.norm(found - truth, axis=1) / max(right - left, bottom - top)
    return distances


def evaluate_mp100(
    model: Matcher,
    categories: Mapping[str, Sequence[Photo]],
    shots: int,
    out: Path,
    episodes: int = EPISODES,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, CategoryScores]:
    """Evaluate a model on the categories of a split; each is kept on disk when it is done, and not done again.

    Args:
        model: The matcher.
        categories: From `semcorr.data.formats.mp100.load_mp100`.
        shots: How many exemplars there are; the protocol has 1 and 5.
        out: The folder for results; it belongs to one model and split.
        episodes: How many episodes there are for each category.
        progress: Told about each category that is done, and how many pairs it had.

    Raises:
        DataError: If a category has too few objects.
        ImageError: If a picture cannot be read.
    """
    draw, scores = random.Random(SEED), {}
    for name, photos in categories.items():
        drawn = draw_episodes(len(photos), shots, episodes, draw)
        file = out / f"{shots}-shot-{episodes}-episodes" / f"{name}.json"
        known = _read(file)
        if known is None:
            known = evaluate_category(model, photos, drawn)
            write_text(file, json.dumps(known.__dict__))
        scores[name] = known
        if progress is not None:
            progress(name, known.pairs)
    return scores


def _read(file: Path) -> CategoryScores | None:
    try:
        values = json.loads(file.read_text())
        scores = CategoryScores(int(values["pairs"]), int(values["empty"]), dict(values["right"]))
        return scores if {f"{alpha:g}" for alpha in ALPHAS} == set(scores.right) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def to_markdown(scores: Mapping[str, CategoryScores], title: str) -> str:
    """Return a table of the categories, their mean over all pairs, and the mean over thresholds, in per cent."""
    pairs, empty = sum(one.pairs for one in scores.values()), sum(one.empty for one in scores.values())
    everything = CategoryScores(
        pairs, empty, {f"{a:g}": sum(one.right[f"{a:g}"] for one in scores.values()) for a in ALPHAS}
    )
    lines = [f"## {title}", "", "| category | pairs | " + " | ".join(f"{alpha:g}" for alpha in ALPHAS) + " | mean |"]
    lines.append("|---|" + "---|" * (len(ALPHAS) + 2))
    rows = [*((name, one, True) for name, one in scores.items()), ("all pairs", everything, True)]
    rows.append(("all pairs with a common point", everything, False))
    for name, one, with_empty in rows:
        values = [100 * one.pck(alpha, with_empty) for alpha in ALPHAS]
        count = one.pairs if with_empty else one.pairs - one.empty
        cells = " | ".join(f"{value:.1f}" for value in [*values, float(np.mean(values))])
        lines.append(f"| {name} | {count} | {cells} |")
    return "\n".join(lines) + "\n"
