"""The part of the HTTP interface that matches two pictures."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from semcorr.app.guard import Refused, read_body
from semcorr.app.matching import (
    Answer,
    Choice,
    Matching,
    Question,
    flow_colours,
    greyed,
    heat_map,
    same_kind,
    transfer,
    warped,
)
from semcorr.app.recipes import as_command, as_python
from semcorr.app.work import Queue
from semcorr.data.records import Record, as_record
from semcorr.match.result import Match
from semcorr.models.loading import check_name

JSON_LIMIT = 1 << 20
"""Bytes of a JSON request."""

MOST_POINTS = 2000

Endpoint: TypeAlias = "Callable[[Request], Awaitable[Response]]"

VIEWS: dict[str, Callable[[Match], bytes]] = {"flow": flow_colours, "warp": warped, "visible": greyed}
"""Pictures of a whole match, by the name of their file."""


class _MatchHandlers:
    """Handlers of requests that match two pictures."""

    def __init__(self, matching: Matching, queue: Queue) -> None:
        self._matching = matching
        self._queue = queue

    async def answer(self, request: Request) -> tuple[Question, Answer]:
        question = self._matching.question(request.path_params["key"])
        if self._matching.knows(question):
            return question, self._matching.ask(question)
        return question, await self._queue.run(lambda: self._matching.ask(question))

    async def match(self, request: Request) -> Response:
        question = _question(await read_json(request))
        found = await self._queue.run(lambda: self._matching.ask(question))
        return JSONResponse(_summary(self._matching, question, found))

    async def points(self, request: Request) -> Response:
        _, found = await self.answer(request)
        asked = _points(await read_json(request))
        return JSONResponse(transfer(found.match, [xy for _, xy in asked]))

    async def mutual(self, request: Request) -> Response:
        _, found = await self.answer(request)
        count = _number(request, "count", 12, 1, 100)
        best = await run_in_threadpool(found.match.keypoints, int(count))
        return JSONResponse([[round(float(x), 2), round(float(y), 2)] for x, y in best.source])

    async def heat(self, request: Request) -> Response:
        _, found = await self.answer(request)
        point = _number(request, "x"), _number(request, "y")
        content = await run_in_threadpool(heat_map, found, point)
        return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})

    async def view(self, request: Request) -> Response:
        _, found = await self.answer(request)
        name = request.path_params["view"]
        if name not in VIEWS:
            raise Refused(404, f"no view is called {name[:40]!r}: choose from {', '.join(VIEWS)}")
        content = await self._queue.run(lambda: VIEWS[name](found.match))
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    async def download(self, request: Request) -> Response:
        question, found = await self.answer(request)
        asked = _points(await read_json(request))
        kind = request.path_params["kind"]
        if kind not in _WRITERS:
            raise Refused(404, f"no download ends in {kind[:20]!r}: choose from {', '.join(_WRITERS)}")
        names = [picture.name for picture in self._matching.pictures(question)]
        content = await self._queue.run(lambda: _WRITERS[kind](found, asked, names))
        headers = {"Content-Disposition": f'attachment; filename="match.{kind}"'}
        return Response(content, media_type=_TYPES[kind], headers=headers)

    async def recipe(self, request: Request) -> Response:
        question, _ = await self.answer(request)
        asked = _points(await read_json(request))
        source, target = (picture.name for picture in self._matching.pictures(question))
        return JSONResponse(
            {
                "python": as_python(question.choice, source, target, asked),
                "command": as_command(question.choice, source, target, asked),
            }
        )


def match_routes(matching: Matching, queue: Queue) -> list[Route]:
    """Return the routes."""
    serve = _MatchHandlers(matching, queue)
    return [
        Route("/api/match", serve.match, methods=["POST"]),
        Route("/api/match/{key}/points", serve.points, methods=["POST"]),
        Route("/api/match/{key}/recipe", serve.recipe, methods=["POST"]),
        Route("/api/match/{key}/mutual", serve.mutual),
        Route("/api/match/{key}/heat.png", serve.heat),
        Route("/api/match/{key}/{view}.jpg", serve.view),
        Route("/api/match/{key}/download.{kind}", serve.download, methods=["POST"]),
    ]


async def read_json(request: Request) -> Record:
    """Return the JSON object that a request holds.

    Raises:
        Refused: If it holds none (400), is not declared as JSON (415), or too large (413).
    """
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise Refused(415, "send JSON, with the header Content-Type: application/json")
    content = await read_body(request, JSON_LIMIT)
    try:
        return as_record(json.loads(content), "the request")
    except (ValueError, RecursionError):
        raise Refused(400, "the request is not a JSON object") from None


def read_choice(record: Record) -> Choice:
    """Return which model a request chooses.

    Raises:
        ModelError, DataError: If a choice is unknown or out of range.
    """
    usual = Choice()
    given = Record({**vars(usual), **record.values}, record.where)
    check_name(given.text("model"))
    mirror = given.value("mirror")
    if not isinstance(mirror, bool):
        given.fail("mirror", "must be true or false")
    return Choice(given.text("model"), given.integer("grid", 2, 100), given.integer("rotations", 1, 24), mirror)


def _question(record: Record) -> Question:
    return Question(record.text("source"), record.text("target"), read_choice(record))


def _points(record: Record) -> list[tuple[str, tuple[float, float]]]:
    entries = record.sequence("points")
    if len(entries) > MOST_POINTS:
        record.fail("points", f"has {len(entries)} entries, more than {MOST_POINTS}")
    points = []
    for index, entry in enumerate(entries):
        one = as_record(entry, f"the request, points[{index}]")
        x, y = one.numbers("x, y", [one.value("x"), one.value("y")], 2)
        points.append((str(one.values.get("name", ""))[:100], (x, y)))
    return points


def _number(request: Request, name: str, usual: float | None = None, low: float = 0, high: float = 1e6) -> float:
    text = request.query_params.get(name)
    if text is None and usual is not None:
        return usual
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise Refused(400, f"give {name} as a number from {low:g} to {high:g}, got {(text or 'nothing')[:40]!r}")
    return value


def _summary(matching: Matching, question: Question, found: Answer) -> dict[str, Any]:
    match, (source, target) = found.match, matching.pictures(question)
    degrees, mirrored = match.turn
    return {
        "id": question.id,
        "model": match.model,
        "source": source.to_json(),
        "target": target.to_json(),
        "grid": list(match.forward.confidence.shape),
        "similarity": None if match.similarity is None else round(match.similarity, 4),
        "sentence": same_kind(match.similarity),
        "estimates_visibility": match.forward.visibility is not None,
        "turn": {"degrees": degrees, "mirrored": mirrored},
    }


Asked: TypeAlias = "list[tuple[str, tuple[float, float]]]"


def _png(found: Answer, asked: Asked, names: list[str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="semcorr-figure-") as folder:
        path = Path(folder, "match.png")
        found.match.plot(path, [xy for _, xy in asked] or None)
        return path.read_bytes()


def _csv(found: Answer, asked: Asked, names: list[str]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["name", "source_x", "source_y", "target_x", "target_y", "confidence", "visibility"])
    for (name, (x, y)), moved in zip(asked, transfer(found.match, [xy for _, xy in asked]), strict=True):
        seen = "" if moved["visibility"] is None else moved["visibility"]
        writer.writerow([name, x, y, moved["x"], moved["y"], moved["confidence"], seen])
    return stream.getvalue().encode()


def _json(found: Answer, asked: Asked, names: list[str]) -> bytes:
    answers = [
        {
            "name": name,
            "source": list(xy),
            "target": [moved["x"], moved["y"]],
            "confidence": moved["confidence"],
            "visibility": moved["visibility"],
        }
        for (name, xy), moved in zip(asked, transfer(found.match, [xy for _, xy in asked]), strict=True)
    ]
    match = found.match
    content = {
        "source": names[0],
        "target": names[1],
        "model": match.model,
        "similarity": None if match.similarity is None else round(match.similarity, 4),
        "points": answers,
    }
    return json.dumps(content, indent=1).encode()


_WRITERS: dict[str, Callable[[Answer, Asked, list[str]], bytes]] = {"png": _png, "csv": _csv, "json": _json}
_TYPES = {"png": "image/png", "csv": "text/csv; charset=utf-8", "json": "application/json"}
