"""What the tab Match asks: a match once for each pair of pictures, everything else from it."""

from __future__ import annotations

import hashlib
import io
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semcorr.app.guard import Refused
from semcorr.app.pictures import Picture, Store, as_jpeg
from semcorr.app.work import Cache
from semcorr.geometry import pixels_to_cells
from semcorr.match.result import Match
from semcorr.match.types import Field, Floats
from semcorr.models.encoded import Encoded, EncodedTurns
from semcorr.models.loading import load
from semcorr.models.matcher import Matcher
from semcorr.models.turning import Turn

VIEW = 640
"""Longer side, in pixels, of the views of a whole match."""

HEAT = 256
"""Longer side, in pixels, of a heat map; the browser enlarges it."""

_SHARES = np.linspace(0, 1, 256)[:, None]
_HEAT_COLOURS = np.rint((1 - _SHARES) * [213, 40, 20] + _SHARES * [255, 214, 64]).astype(np.uint8).tobytes()
_HEAT_ALPHAS = np.rint(215 * _SHARES).astype(np.uint8).tobytes()

_MEMORY = 1 << 30  # bytes of pictures and features that are kept


@dataclass(frozen=True)
class Choice:
    """Which model matches, and how."""

    model: str = "pmnc"
    grid: int = 25
    rotations: int = 1
    mirror: bool = False


@dataclass(frozen=True)
class Question:
    """A pair of pictures to match, by their keys in the store, and how."""

    source: str
    target: str
    choice: Choice

    @property
    def id(self) -> str:
        """What requests call it."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class Answer:
    """A match and the features that it was made of."""

    match: Match
    source: Encoded | EncodedTurns
    target: Encoded

    def heat(self, point: tuple[float, float]) -> NDArray[np.float32]:
        """Return how similar each target cell is to a source point's cell, ``(rows, columns)``, -1…1."""
        at = np.array(point, dtype=np.float32)
        source = self.source
        if isinstance(source, EncodedTurns):
            index = source.turns.index(Turn(*self.match.turn))
            picture, source = source.whole.get(index, (source.pictures[index], source.encoded[index]))
            at = picture.to_turned(at)
        size = source.image.shape[0], source.image.shape[1]
        rows, columns = grid = source.features.grid
        x, y = np.clip(np.rint(pixels_to_cells(at, size, grid)), 0, [columns - 1, rows - 1]).astype(int)
        ours, theirs = (np.asarray(one.features.tensor[0], dtype=np.float32) for one in (source, self.target))
        similar: NDArray[np.float32] = np.einsum("c,cyx->yx", ours[:, y, x], theirs)
        return similar


class Matching:
    """Models, features and matches, each computed once.

    Args:
        store: The pictures.
        device: Device to compute on.
    """

    def __init__(self, store: Store, device: str = "cpu") -> None:
        self.store, self.device = store, device
        self._models: Cache[tuple[str, int], Matcher] = Cache(3)
        self._encoded: Cache[tuple[object, ...], Encoded | EncodedTurns] = Cache(_MEMORY, _bytes)
        self._answers: Cache[Question, Answer] = Cache(_MEMORY, lambda a: _bytes(a.target) + a.match.source.nbytes)
        self._questions: OrderedDict[str, Question] = OrderedDict()

    def model(self, name: str, grid: int) -> Matcher:
        """Return a loaded model."""
        return self._models.get((name, grid), lambda: load(name, grid=grid, device=self.device))

    def ask(self, question: Question) -> Answer:
        """Match a pair, or return its match if it is known."""
        self.store.get(question.source), self.store.get(question.target)
        self._questions[question.id] = question
        while len(self._questions) > 1000:
            self._questions.popitem(last=False)
        return self._answers.get(question, lambda: self._match(question))

    def question(self, key: str) -> Question:
        """Return what was asked under a key.

        Raises:
            Refused: If nothing was (404).
        """
        question = self._questions.get(key)
        if question is None:
            raise Refused(404, "this match is not here any more: match the pictures again")
        return question

    def pictures(self, question: Question) -> tuple[Picture, Picture]:
        """Return source and target."""
        return self.store.get(question.source), self.store.get(question.target)

    def knows(self, question: Question) -> bool:
        """Whether `ask` answers at once."""
        return self._answers.has(question)

    def _match(self, question: Question) -> Answer:
        choice = question.choice
        model = self.model(choice.model, choice.grid)
        source, target = self._encode(question.source, choice), self._encode(question.target, choice, plain=True)
        assert isinstance(target, Encoded)
        return Answer(model.match(source, target), source, target)

    def _encode(self, key: str, choice: Choice, plain: bool = False) -> Encoded | EncodedTurns:
        model, path = self.model(choice.model, choice.grid), self.store.get(key).path
        if plain or (choice.rotations == 1 and not choice.mirror):
            return self._encoded.get((key, choice.model, choice.grid), lambda: model.encode(path))
        turns = lambda: model.encode_turns(path, choice.rotations, choice.mirror)  # noqa: E731
        return self._encoded.get((key, *astuple(choice)), turns)


def _bytes(encoded: Encoded | EncodedTurns) -> int:
    if isinstance(encoded, EncodedTurns):
        return encoded.image.nbytes + 2 * sum(map(_bytes, encoded.encoded))  # those chosen are encoded once more
    return int(encoded.image.nbytes + 4 * math.prod(encoded.features.tensor.shape))


def transfer(match: Match, points: Sequence[tuple[float, float]]) -> list[dict[str, object]]:
    """Return where points of the source are in the target, and how sure that is, in figures and in words."""
    if not points:
        return []
    moved, confidence = match.transfer(points)
    seen = match.visible(points) if match.forward.visibility is not None else None
    return [
        {
            "x": round(float(xy[0]), 2),
            "y": round(float(xy[1]), 2),
            "confidence": round(float(sure), 4),
            "visibility": None if seen is None else round(float(seen[i]), 4),
            "words": in_words(float(sure), None if seen is None else float(seen[i])),
        }
        for i, (xy, sure) in enumerate(zip(moved, confidence, strict=True))
    ]


def in_words(confidence: float, visibility: float | None) -> str:
    """Say how sure an answer is.

    >>> in_words(0.91, 0.2)
    '91 % sure, probably hidden'
    """
    sure = f"{min(99, round(100 * confidence))} % sure"
    if visibility is None or visibility >= 0.75:
        return sure
    return f"{sure}, probably hidden" if visibility < 0.5 else f"{sure}, perhaps hidden"


def same_kind(similarity: float | None) -> str:
    """Answer in one sentence whether two pictures show the same kind of thing."""
    if similarity is None:
        return "This model does not estimate whether both pictures show the same kind of thing."
    percent = f"({min(99, max(1, round(100 * similarity)))} %)"
    if similarity >= 0.5:
        sure = "very probably" if similarity >= 0.9 else "probably"
        return f"Yes, these {sure} show the same kind of thing {percent}."
    sure = "very probably do not" if similarity < 0.1 else "probably do not"
    return f"No, these {sure} show the same kind of thing {percent}."


def heat_map(answer: Answer, point: tuple[float, float]) -> bytes:
    """Return the similarity of a source point with the target as a PNG to lay over the target.

    Raises:
        ValueError: If the point is not in the source.
    """
    answer.match.transfer([point])  # checks it
    similar = answer.heat(point)
    low, high = float(np.median(similar)), float(similar.max())
    strength = np.clip((similar - low) / max(high - low, 1e-6), 0, 1) ** 2
    small = Image.fromarray(np.rint(255 * strength).astype(np.uint8))
    scale = HEAT / max(small.size)
    picture = small.resize((round(small.width * scale), round(small.height * scale)), Image.Resampling.BICUBIC)
    picture.putpalette(_HEAT_COLOURS)
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=1, transparency=_HEAT_ALPHAS)
    return stream.getvalue()


def flow_colours(match: Match) -> bytes:
    """Return the displacement of each source pixel as colours: the hue is its direction, the strength its length."""
    flow = _small(match).flow
    angle, length = np.arctan2(flow[..., 1], flow[..., 0]), np.hypot(flow[..., 0], flow[..., 1])
    strength = np.clip(length / max(float(np.quantile(length, 0.98)), 1e-6), 0, 1)
    full = np.full_like(strength, 255)
    hsv = np.stack([(angle / (2 * math.pi) % 1) * 255, 255 * strength, full], axis=2)
    return as_jpeg(np.asarray(Image.fromarray(np.rint(hsv).astype(np.uint8), "HSV").convert("RGB")))


def warped(match: Match) -> bytes:
    """Return the target warped to the source, as JPEG."""
    return as_jpeg(_small(match).warp())


def greyed(match: Match) -> bytes:
    """Return the source with what has no counterpart in the target greyed, as JPEG."""
    small = _small(match)
    grey = 150 + 0.35 * small.source.mean(axis=2, keepdims=True)
    share = np.clip((small.visibility[..., None] - 0.3) / 0.4, 0, 1)
    return as_jpeg(np.rint(share * small.source + (1 - share) * grey).astype(np.uint8))


def _small(match: Match) -> Match:
    """Return a match of the same pictures in small, so that views of large photographs are quick."""
    source, source_scale = _shrunk(match.source)
    target, target_scale = _shrunk(match.target)

    def scaled(field: Field, scale: Floats) -> Field:
        return field._replace(points=field.points * scale)

    forward, backward = scaled(match.forward, target_scale), scaled(match.backward, source_scale)
    return replace(match, source=source, target=target, forward=forward, backward=backward)


def _shrunk(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Floats]:
    picture = Image.fromarray(image)
    picture.thumbnail((VIEW, VIEW), Image.Resampling.BILINEAR, reducing_gap=3)
    scale = np.array([picture.width / image.shape[1], picture.height / image.shape[0]], dtype=np.float32)
    return np.array(picture), scale
