"""Fit what tells visibility, confidence and similarity from the evidence of a match; see `semcorr.matchers.evidence`.

python scripts/fit_judge.py runs/joined.safetensors runs/judged.safetensors FOLDER PHOTOGRAPHS PSEUDO_LABELS

It learns on points that both pictures of a pair have, right and wrong ones; on places between them, and in the middle
of pictures of one category without keypoints; on pseudo-labels of things that have no keypoints; on points that the
other picture lacks; on background of the source, outside its box; and on pairs of unlike things. Half of the pairs with
keypoints are of validation photographs: the features were trained on the training photographs, where the evidence is
better than elsewhere. So what the judge says of validation photographs is no test of it. FOLDER and PHOTOGRAPHS are as
for scripts/join_untouched.py, PSEUDO_LABELS is a file of `semcorr data pseudo-labels`. Weights that have a judge get
the new one.

This takes about 12 minutes of one core and 4 GB of memory.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from torch import Tensor, nn

import semcorr
from semcorr.data.formats.keypoints import load_photos
from semcorr.data.pairs import Photo
from semcorr.features.feature_map import array_of
from semcorr.geometry import pixels_to_cells
from semcorr.matchers.decode import decode
from semcorr.matchers.evidence import NAMES, Decoded, gather_evidence, nearest_cells, summarise
from semcorr.models.configs import JUDGE
from semcorr.models.encoded import Encoded
from semcorr.models.matcher import Matcher
from semcorr.weights import Weights, expanded, read_weights, write_weights

UNSEEN = "airplanes helicopter revolver chair windsor_chair wheelchair faces nautilus butterfly inline_skate"
ABSENT, BACKGROUND, UNLIKE, PRESENT, BETWEEN, PSEUDO = range(6)
IMPORTANCE = {BACKGROUND: 0.25, UNLIKE: 0.5, BETWEEN: 0.35, PSEUDO: 0.5}  # of all points that both pictures have
RIGHT = 0.1  # of both sides of the target
SPLITS = ("train", "val")
MOST = 150  # photographs of each category with keypoints, at most
HIDDEN, KINDS = 32, 64
STEPS, RATE, BATCH = 2500, 2e-3, 1024
DECAY, DROPPED = 1.0, 0.5
NOISE = 1.0  # of the mean variance within a category, added to each direction's

Points = NDArray[np.float64]


class Seen(NamedTuple):
    """What a pair teaches: evidence of points ``(N, K)`` and tuned features ``(N, T)`` of both cells in half precision,
    what they are, whether matched right, and of the pair.
    """

    evidence: NDArray[np.float32]
    cells: NDArray[np.float16]
    matches: NDArray[np.float16]
    kind: NDArray[np.int64]
    right: NDArray[np.bool_]
    summary: NDArray[np.float32]
    pictures: tuple[NDArray[np.float32], NDArray[np.float32]]
    categories: tuple[str, str]


def main() -> None:
    """Match, gather, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("weights", "out", "folder", "photographs", "pseudo_labels"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--pairs", type=int, default=200, help="of each kind")
    parser.add_argument("--leave-out", nargs="*", default=UNSEEN.split(), metavar="CATEGORY")
    arguments = parser.parse_args()
    stored = read_weights(arguments.weights)
    tensors = {key: value for key, value in expanded(stored.tensors).items() if not key.startswith(JUDGE)}
    unjudged = stored.metadata | {"model": stored.metadata["model"] | {"judge": 0, "rescaling": None}}
    with TemporaryDirectory() as folder:
        write_weights(Path(folder) / "unjudged.safetensors", Weights(tensors, unjudged))
        model = semcorr.load("pmnc", weights=Path(folder) / "unjudged.safetensors")
    rng = np.random.default_rng(0)
    pairs = list(draw(arguments.folder, arguments.photographs, set(arguments.leave_out), arguments.pairs, rng))
    pairs += pseudo(arguments.pseudo_labels, arguments.photographs, set(arguments.leave_out), 2 * arguments.pairs, rng)
    encode = lru_cache(maxsize=400)(model.encode)
    seen = [look(model, encode(a.path), encode(b.path), a, b, rng) for a, b in track(pairs, "matching")]
    judge = fit(seen)
    tensors |= {f"{JUDGE}{key}": value for key, value in judge.items()}
    metadata = stored.metadata | {"model": stored.metadata["model"] | {"judge": HIDDEN}}
    write_weights(arguments.out, Weights(tensors, metadata))
    print(arguments.out)


def draw(
    folder: Path, photographs: Path, leave_out: set[str], count: int, rng: np.random.Generator
) -> Iterator[tuple[Photo, Photo]]:
    """Draw pairs of every kind, of one category and of unlike ones; photographs without keypoints have none."""
    others = {
        path.name: [Photo(file, (0, 0), {}, None, path.name) for file in sorted(path.glob("*.jpg"))[:8]]
        for path in sorted(photographs.iterdir())
        if path.is_dir() and path.name not in leave_out
    }
    names = list(others)

    def one(members: list[Photo]) -> Photo:
        return members[rng.integers(len(members))]

    for split in SPLITS:
        known: dict[str, list[Photo]] = {}
        photos = load_photos(folder, split)
        for index in rng.permutation(len(photos)):
            members = known.setdefault(photos[index].category, [])
            if len(members) < MOST:
                members.append(photos[index])
        animals = [name for name in known if name != "person"]
        for members in known.values():
            for _ in range(count):
                first, second = rng.choice(len(members), 2, replace=False)
                yield members[first], members[second]
        for number in range(count):
            yield one(known[list(known)[number % len(known)]]), one(others[names[rng.integers(len(names))]])
        for number in range(count // 2):
            yield one(known[animals[number % len(animals)]]), one(known["person"])
    for _ in range(count):
        first, second = (others[names[i]] for i in rng.choice(len(names), 2, replace=False))
        yield one(first), one(second)
        yield one(first), one(first)


def pseudo(
    file: Path, photographs: Path, leave_out: set[str], count: int, rng: np.random.Generator
) -> Iterator[tuple[Photo, Photo]]:
    """Draw pairs with pseudo-labels: photographs without a box whose keypoints are the points that models matched."""
    labelled = [pair for pair in json.loads(file.read_text()) if "category" not in pair]  # the others have keypoints
    listed = [pair for pair in labelled if Path(pair["source"]).parent.name not in leave_out]
    for index in rng.permutation(len(listed))[:count]:
        photos = []
        for side in ("source", "target"):
            path = photographs / listed[index][side]
            with Image.open(path) as image:
                width, height = image.size
            points = {str(n): (x * width, y * height) for n, (x, y) in enumerate(listed[index][f"{side}_points"][:12])}
            photos.append(Photo(path, (height, width), points, None, path.parent.name))
        yield photos[0], photos[1]


def look(model: Matcher, a: Encoded, b: Encoded, first: Photo, second: Photo, rng: np.random.Generator) -> Seen:
    """Match a pair and gather the evidence of its points, both ways."""
    features = [array_of(one.features.tensor)[0] for one in (a, b)]
    ways = [Decoded(matches.cells, matches.peak) for matches in decode(model.method(*features), model.decode_radius)]
    tuned = model.features.channels
    evidence = gather_evidence(features[0], features[1], tuned, *ways)
    match, known = model.match(a, b), []
    unit = [part[:tuned] / np.maximum(np.linalg.norm(part[:tuned], axis=0), 1e-9) for part in features]
    for own, other, columns, way in ((*unit, evidence[0], ways[0]), (*unit[::-1], evidence[1], ways[1])):
        x, y = nearest_cells(way.cells, other.shape[1:])
        parts = (columns, np.moveaxis(own, 0, 2), np.moveaxis(other[:, y, x], 0, 2))
        known.append(np.concatenate(parts, axis=2).astype(np.float32))
    rows: list[tuple[NDArray[np.float32], int, bool]] = []
    for own, found, one, other in ((known[0], match, first, second), (known[1], match.inverse(), second, first)):
        size = found.source_size
        for kind, points, truth in points_of(one, other, size, rng):
            if len(points) == 0:
                continue
            points = np.clip(points, 0, size[::-1])
            errors = np.full(len(points), np.inf)
            if truth is not None:
                errors = np.linalg.norm((found.transfer(points).points - truth) / found.target_size[::-1], axis=1)
            rows += [(row, kind, bool(e <= RIGHT)) for row, e in zip(read(own, points, size), errors, strict=True)]
    untouched = [part[tuned:] / np.maximum(np.linalg.norm(part[tuned:], axis=0), 1e-9) for part in features]
    read_at = np.array([row for row, _, _ in rows], np.float32).reshape(-1, len(NAMES) + 2 * tuned)
    columns, of_cells = read_at[:, : len(NAMES)].copy(), read_at[:, len(NAMES) :].astype(np.float16)
    return Seen(
        columns,
        *np.split(of_cells, 2, axis=1),
        np.array([kind for _, kind, _ in rows], np.int64),
        np.array([right for _, _, right in rows], bool),
        (summarise(evidence[0]) + summarise(evidence[1])) / 2,
        (untouched[0].mean((1, 2)), untouched[1].mean((1, 2))),
        (first.category, second.category),
    )


def points_of(
    one: Photo, other: Photo, size: tuple[int, int], rng: np.random.Generator
) -> Iterator[tuple[int, Points, Points | None]]:
    """Yield points of a picture: what kind they are, where, and, of those that both have, where they belong."""
    sides = np.array(size[::-1], float)
    if one.category != other.category:
        somewhere = np.clip(rng.normal(0.5, 0.18, (8, 2)), 0.1, 0.9) * sides
        yield UNLIKE, np.array(list(one.keypoints.values())[:10] or somewhere, float), None
        return
    if one.bbox is None and one.keypoints:
        yield PSEUDO, _array(one.keypoints.values()), None
        return
    shared = [name for name in one.keypoints if name in other.keypoints]
    lacking = [point for name, point in one.keypoints.items() if name not in other.keypoints]
    yield PRESENT, _array(one.keypoints[n] for n in shared), _array(other.keypoints[n] for n in shared)
    if one.bbox is None:
        yield BETWEEN, rng.normal(0.5, 0.1, (6, 2)) * sides, None
        return
    if len(shared) > 2:
        corners = [rng.choice(len(shared), 3, replace=False) for _ in range(8)]
        known = _array(one.keypoints[n] for n in shared)
        yield BETWEEN, np.stack([rng.dirichlet([1, 1, 1]) @ known[three] for three in corners]), None
    yield ABSENT, _array(lacking), None
    box, margin = np.array(one.bbox).reshape(2, 2), 0.04 * sides
    drawn = rng.uniform([0, 0], sides, (200, 2))
    outside = ((drawn < box[0] - margin) | (drawn > box[1] + margin)).any(axis=1)
    yield BACKGROUND, drawn[outside][:6], None


def _array(points: object) -> Points:
    return np.array(list(points), float).reshape(-1, 2)  # type: ignore[call-overload]


def read(evidence: NDArray[np.float32], points: Points, size: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate evidence ``(h, w, K)`` bilinearly at points in pixels: ``(N, K)``."""
    rows, columns = evidence.shape[:2]
    cells = torch.from_numpy(pixels_to_cells(points.astype(np.float32), size, (rows, columns)))
    places = (cells + 0.5) * 2 / torch.tensor([columns, rows]) - 1
    known = torch.from_numpy(evidence).permute(2, 0, 1)[None]
    found = F.grid_sample(known, places[None, None].float(), align_corners=False, padding_mode="border")
    return found[0, :, 0].T.numpy()


class Network(nn.Module):
    """One hidden layer over evidence and both cells' features; log-odds of both probabilities."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = channels**0.5 / 3  # brings the values of L2-normalised features to a third of the evidence's
        self.enter = nn.Linear(len(NAMES) + 2 * channels, HIDDEN)
        self.leave = nn.Linear(HIDDEN, 2)

    def forward(self, evidence: Tensor, cells: Tensor, matches: Tensor) -> Tensor:
        """Return log-odds ``(N, 2)`` of visibility and confidence."""
        read_of = torch.cat([evidence, self.norm * cells.float(), self.norm * matches.float()], dim=1)
        left: Tensor = self.leave(F.dropout(self.enter(read_of).relu(), DROPPED))
        return left


def fit(seen: list[Seen]) -> dict[str, Tensor]:
    """Fit the judge's arrays."""
    evidence, cells, matches = (
        torch.from_numpy(np.concatenate([getattr(one, name) for one in seen]))
        for name in ("evidence", "cells", "matches")
    )
    kind = torch.from_numpy(np.concatenate([one.kind for one in seen]))
    right = torch.from_numpy(np.concatenate([one.right for one in seen]))
    mean, scale = evidence.mean(0), 1 / evidence.std(0).clamp(min=1e-6)
    torch.manual_seed(0)
    network = Network(cells.shape[1])
    learn(network, ((evidence - mean) * scale, cells, matches), kind, right)
    enter = network.enter.weight.T.split([len(NAMES), *[cells.shape[1]] * 2])
    found = {"mean": mean, "scale": scale, "enter_evidence": enter[0], "enter_bias": network.enter.bias}
    found |= {"enter_cell": network.norm * enter[1], "enter_match": network.norm * enter[2]}
    found |= {"leave": network.leave.weight.T, "leave_bias": network.leave.bias}
    found |= dict(zip(("kind_mean", "kind"), directions(seen), strict=True))
    return {key: value.detach().contiguous() for key, value in (found | {"pair": of_pairs(seen, found)}).items()}


def learn(network: Network, rows: tuple[Tensor, ...], kind: Tensor, right: Tensor) -> None:
    """Fit the network in batches drawn at random: visibility on all points, confidence on those that both have."""
    present, importance = kind == PRESENT, torch.ones(len(kind))
    for number, share in IMPORTANCE.items():
        importance[kind == number] = share * present.sum() / (kind == number).sum().clamp(min=1)
    shown = present | (kind == BETWEEN) | (kind == PSEUDO)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        drawn = torch.randint(len(kind), (BATCH,))
        weights, both = importance[drawn], present[drawn]
        visible, sure = network(*(part[drawn] for part in rows)).unbind(1)
        loss = F.binary_cross_entropy_with_logits(visible, shown[drawn].float(), weights, reduction="sum")
        loss = loss / weights.sum() + F.binary_cross_entropy_with_logits(sure[both], right[drawn][both].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def directions(seen: list[Seen]) -> tuple[Tensor, Tensor]:
    """Find the directions in which the mean features of categories differ most, by linear discriminants."""
    members: dict[str, list[NDArray[np.float32]]] = {}
    for one in seen:
        for category, picture in zip(one.categories, one.pictures, strict=True):
            members.setdefault(category, []).append(picture)
    groups = [np.unique(np.stack(pictures), axis=0) for pictures in members.values()]
    groups = [group for group in groups if len(group) > 1]
    middle = np.mean([group.mean(0) for group in groups], axis=0)
    within = np.mean([np.cov(group.T, bias=True) for group in groups], axis=0)
    between = np.mean([np.outer(d, d) for d in (group.mean(0) - middle for group in groups)], axis=0)
    values, vectors = np.linalg.eigh(within)
    white = vectors / np.sqrt(values + NOISE * values.mean()) @ vectors.T
    _, apart = np.linalg.eigh(white @ between @ white)
    return torch.from_numpy(middle).float(), torch.from_numpy(white @ apart[:, -KINDS:]).float()


def of_pairs(seen: list[Seen], found: dict[str, Tensor]) -> Tensor:
    """Fit the logistic regression that tells like pairs from unlike ones."""
    scale = (found["mean"].repeat(2), found["scale"].repeat(2))
    summaries = (torch.from_numpy(np.stack([one.summary for one in seen])) - scale[0]) * scale[1]
    pictures = torch.from_numpy(np.stack([one.pictures for one in seen]))  # (N, 2, C)
    kinds = F.normalize((pictures - found["kind_mean"]) @ found["kind"], dim=2).prod(1).sum(1, keepdim=True)
    known = torch.cat([summaries, kinds], dim=1)
    alike = torch.tensor([float(one.categories[0] == one.categories[1]) for one in seen])
    weights = torch.zeros(known.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(known @ weights[:-1] + weights[-1], alike)
        loss = loss + 5e-3 * weights[:-2].square().sum() + 5e-4 * weights[-2] ** 2
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


if __name__ == "__main__":
    main()
