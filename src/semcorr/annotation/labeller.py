"""One picture in, one annotation out: what every engine runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semcorr.annotation.evidence import Evidence, gather_evidence
from semcorr.annotation.exemplars import Exemplar, crop
from semcorr.annotation.pictures import Target
from semcorr.annotation.records import ABSENT, SURE, UNSURE, Annotation, Point
from semcorr.annotation.settings import Settings
from semcorr.annotation.voting import vote
from semcorr.errors import DataError, ImageError
from semcorr.geometry import Size
from semcorr.threads import always_alone

if TYPE_CHECKING:
    from semcorr.match.result import Match
    from semcorr.models.encoded import Encoded, EncodedTurns
    from semcorr.models.matcher import Matcher


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A target whose picture was read, or the reason why it could not be."""

    target: Target
    image: NDArray[np.uint8] | None = None
    size: Size | None = None
    corner: tuple[int, int] = (0, 0)
    error: str = ""


class Labeller:
    """Moves the points of exemplars to other pictures.

    Args:
        model: The matcher.
        exemplars: One or more; their features are computed once.
        settings: What the user chose.
    """

    def __init__(self, model: Matcher, exemplars: Sequence[Exemplar], settings: Settings) -> None:
        self.model, self.exemplars, self.settings = model, exemplars, settings
        self.names = list(dict.fromkeys(name for one in exemplars for name in one.names))
        self._encoded = always_alone(self._encode, exemplars)  # the same file for any number of threads and workers
        self._made_by = made_by(model.name)

    def label(self, targets: Iterable[Target]) -> Iterator[tuple[Target, Annotation]]:
        """Label targets, several at once, in their order.

        Yields:
            Each target with its annotation; one with an ``error`` where its picture could not be read.
        """
        waiting: deque[_Loaded] = deque()

        def images() -> Iterator[NDArray[np.uint8]]:
            for target in targets:
                loaded = self._load(target)
                waiting.append(loaded)
                if loaded.image is not None:
                    yield loaded.image

        for matches in self.model.match_all(self._encoded, images()):
            while waiting[0].image is None:
                yield _failed(waiting.popleft())
            loaded = waiting.popleft()
            yield loaded.target, self._annotate(loaded, matches)
        yield from map(_failed, waiting)

    def _encode(self, exemplar: Exemplar) -> Encoded | EncodedTurns:
        rotations, mirror = self.settings.rotations, self.settings.mirror
        if rotations == 1 and not mirror:
            return self.model.encode(exemplar.image)
        return self.model.encode_turns(exemplar.image, rotations, mirror, exemplar.points)

    def _load(self, target: Target) -> _Loaded:
        try:
            image = target.load()
            size = image.shape[0], image.shape[1]
            corner = 0, 0
            if target.box is not None:
                image, corner = crop(image, target.box, self.settings.margin)
        except (ImageError, DataError, OSError) as error:
            said = str(error).replace(repr(str(target.source)), target.picture)  # the same text from every folder
            return _Loaded(target, error=" ".join(said.removeprefix(target.picture).split()))
        return _Loaded(target, image, size, corner)

    def _annotate(self, loaded: _Loaded, matches: Sequence[Match]) -> Annotation:
        assert loaded.image is not None
        answers = [gather_evidence(m, one.points) for m, one in zip(matches, self.exemplars, strict=True)]
        points, confidence, visibility = self._table(answers)
        side = max(loaded.image.shape[:2])
        if loaded.target.box is not None:
            left, top, right, bottom = loaded.target.box
            side = max(right - left, bottom - top)
        voted = vote(points, confidence, visibility, side)
        place = voted.points + loaded.corner
        labels = {}
        for i, name in enumerate(self.names):
            score, seen = round(float(voted.confidence[i]), 4), round(float(voted.visibility[i]), 4)
            x, y = round(float(place[i, 0]), 2), round(float(place[i, 1]), 2)
            if score < self.settings.min_confidence or seen < self.settings.min_visibility:
                labels[name] = Point(0, 0, ABSENT, score, seen)
            else:
                labels[name] = Point(x, y, SURE if score * seen >= self.settings.sure else UNSURE, score, seen)
        says = np.bincount(voted.winner, minlength=len(self.exemplars))
        return Annotation(
            loaded.target.picture,
            loaded.size,
            labels,
            loaded.target.box,
            self.exemplars[0].annotation.category,
            exemplar=self.exemplars[int(says.argmax())].annotation.picture,
            similarity=round(max(answer.similarity for answer in answers), 4),
            model=self._made_by,
        )

    def _table(self, answers: Sequence[Evidence]) -> tuple[NDArray[np.float64], ...]:
        """Return points ``(N, E, 2)``, confidence and visibility ``(N, E)`` of all names; NaN where one is missing."""
        points = np.full((len(self.names), len(answers), 2), np.nan)
        confidence, visibility = np.zeros(points.shape[:2]), np.zeros(points.shape[:2])
        rows = {name: row for row, name in enumerate(self.names)}
        for column, (answer, exemplar) in enumerate(zip(answers, self.exemplars, strict=True)):
            index = [rows[name] for name in exemplar.names]
            points[index, column] = answer.points
            confidence[index, column], visibility[index, column] = answer.confidence, answer.visibility
        return points, confidence, visibility


def made_by(model: str) -> str:
    """Return name and version, as they are recorded with every label."""
    from semcorr import __version__

    return f"{model} of semcorr {__version__}"


def _failed(loaded: _Loaded) -> tuple[Target, Annotation]:
    return loaded.target, Annotation(loaded.target.picture, None, error=loaded.error)
