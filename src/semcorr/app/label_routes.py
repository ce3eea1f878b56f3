"""The part of the HTTP interface that labels pictures."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from semcorr.annotation.records import ABSENT, SURE, Annotation, Point
from semcorr.annotation.settings import Settings
from semcorr.app.exchange import exported, imported
from semcorr.app.guard import Refused, read_body
from semcorr.app.labelling import Project
from semcorr.app.match_routes import read_choice, read_json
from semcorr.app.matching import Matching
from semcorr.app.pictures import LIMIT, as_jpeg
from semcorr.data.records import Record, as_record
from semcorr.errors import DataError
from semcorr.image import load_image

MOST_PROJECTS = 50
"""Projects of uploaded pictures."""


class Projects:
    """Folders of the command line, and uploaded pictures: each person's are a project with a key of its own.

    Args:
        folders: The folders.
        scratch: Where uploads are kept until the server ends.

    Raises:
        DataError: If a folder is missing or has no pictures, the labels in it are broken, or another server has it.
    """

    def __init__(self, folders: Sequence[Path], scratch: Path) -> None:
        self._scratch = scratch
        self._lock = threading.Lock()
        self._folders: dict[str, Project] = {}
        self._uploaded: dict[str, Project] = {}
        try:
            for number, folder in enumerate(folders, 1):
                if not folder.is_dir():
                    raise DataError(f"{folder} is not a folder; give a folder of pictures")
                self._folders[f"folder-{number}"] = Project(folder, folder.resolve().name)
        except BaseException:
            self.close()  # other servers may open the folders before it
            raise

    def folders(self) -> list[dict[str, str]]:
        """Return key and title of the folders of the command line; those of uploads are known to their owners."""
        return [{"id": key, "title": project.title} for key, project in self._folders.items()]

    def create(self) -> str:
        """Begin a project of uploaded pictures, and return its key."""
        with self._lock:
            if len(self._uploaded) >= MOST_PROJECTS:
                raise Refused(503, "too many people have uploaded pictures: start a server of your own")
            key = secrets.token_urlsafe(16)
            root = self._scratch / secrets.token_hex(8)
            root.mkdir()
            self._uploaded[key] = Project(root, "uploaded pictures", uploaded=True)
        return key

    def get(self, request: Request) -> Project:
        """Return the project that a request's path names."""
        key = request.path_params["project"]
        project = self._folders.get(key) or self._uploaded.get(key)
        if project is None:
            raise Refused(404, "this project is not here any more: begin a new one")
        return project

    def close(self) -> None:
        """Stop all work; what is done stays."""
        projects = [*self._folders.values(), *self._uploaded.values()]
        for project in projects:
            project.stop()  # all at once
        for project in projects:
            project.close()


class _LabelHandlers:
    """Handlers of requests that label pictures."""

    def __init__(self, projects: Projects, matching: Matching) -> None:
        self._projects = projects
        self._matching = matching

    async def create(self, _: Request) -> Response:
        return JSONResponse({"id": self._projects.create()}, 201)

    async def show(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._projects.get(request).to_json))

    async def add_picture(self, request: Request) -> Response:
        project = self._projects.get(request)
        content = await read_body(request, LIMIT)
        name = await run_in_threadpool(project.add_picture, request.query_params.get("name", ""), content)
        return JSONResponse({"name": name}, 201)

    async def show_picture(self, request: Request) -> Response:
        path = self._projects.get(request).file(request.query_params.get("name", ""))
        content = await run_in_threadpool(lambda: as_jpeg(load_image(path)))
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    async def size(self, request: Request) -> Response:
        project, name = self._projects.get(request), request.query_params.get("name", "")
        height, width = await run_in_threadpool(project.size, name)
        return JSONResponse({"width": width, "height": height})

    async def rename(self, request: Request) -> Response:
        project, record = self._projects.get(request), await read_json(request)
        old, new = record.text("old"), _name(record, record.text("new"))
        await run_in_threadpool(project.rename, old, new)
        return JSONResponse({"name": new})

    async def get_labels(self, request: Request) -> Response:
        project, name = self._projects.get(request), request.query_params.get("picture", "")
        project.file(name)
        return JSONResponse(_as_json(project.labels.get(name)))

    async def put_labels(self, request: Request) -> Response:
        project, name = self._projects.get(request), request.query_params.get("picture", "")
        project.file(name)
        record = await read_json(request)
        points, confirmed = _points(record), record.values.get("confirmed") is True
        return JSONResponse(_as_json(await run_in_threadpool(project.set_points, name, points, confirmed)))

    async def start(self, request: Request) -> Response:
        project, record = self._projects.get(request), await read_json(request)
        choice = read_choice(record)
        settings = Settings(rotations=choice.rotations, mirror=choice.mirror)
        project.start(lambda: self._matching.model(choice.model, choice.grid), settings)
        return JSONResponse(vars(project.work), 202)

    async def stop(self, request: Request) -> Response:
        project = self._projects.get(request)
        project.stop()
        return JSONResponse(vars(project.work), 202)

    async def export(self, request: Request) -> Response:
        project = self._projects.get(request)
        kind = request.query_params.get("format", "coco")
        name, content = await run_in_threadpool(exported, project.labelled(), kind, project.root)
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def take(self, request: Request) -> Response:
        project = self._projects.get(request)
        content = await read_body(request, LIMIT)
        name = request.query_params.get("name", "")
        labels = await run_in_threadpool(imported, content, name, project.root)
        taken, kept = await run_in_threadpool(project.take, labels)
        return JSONResponse({"taken": taken, "kept": kept})


def label_routes(projects: Projects, matching: Matching) -> list[Route]:
    """Return the routes."""
    serve = _LabelHandlers(projects, matching)
    base = "/api/projects/{project}"
    return [
        Route("/api/projects", serve.create, methods=["POST"]),
        Route(base, serve.show),
        Route(f"{base}/pictures", serve.add_picture, methods=["POST"]),
        Route(f"{base}/picture", serve.show_picture),
        Route(f"{base}/size", serve.size),
        Route(f"{base}/rename", serve.rename, methods=["POST"]),
        Route(f"{base}/labels", serve.get_labels),
        Route(f"{base}/labels", serve.put_labels, methods=["PUT"]),
        Route(f"{base}/start", serve.start, methods=["POST"]),
        Route(f"{base}/stop", serve.stop, methods=["POST"]),
        Route(f"{base}/export", serve.export),
        Route(f"{base}/import", serve.take, methods=["POST"]),
    ]


def _as_json(label: Annotation | None) -> dict[str, Any]:
    if label is None:
        return {"points": {}, "confirmed": False, "similarity": None, "exemplar": "", "error": ""}
    points = {name: asdict(point) for name, point in label.points.items()}
    return {
        "points": points,
        "confirmed": label.confirmed,
        "similarity": label.similarity,
        "exemplar": label.exemplar,
        "error": label.error,
    }


def _points(record: Record) -> dict[str, Point]:
    points = {}
    given = as_record(record.value("points"), "the request, points")
    for name, value in given.values.items():
        _name(given, name)
        one = as_record(value, f"the request, point {name[:40]!r}")
        v = one.integer("v", ABSENT, SURE) if "v" in one.values else SURE
        x, y, confidence, visibility = one.numbers(
            "x, y, confidence, visibility",
            [one.value("x"), one.value("y"), one.values.get("confidence", 1), one.values.get("visibility", 1)],
            4,
        )
        points[name] = Point(x, y, v, confidence, visibility) if v else Point(0, 0, ABSENT, confidence, visibility)
    return points


def _name(record: Record, name: str) -> str:
    """Return a point's name, stripped, if formats can hold it."""
    if not name.strip() or len(name) > 100 or not name.isprintable():
        record.fail(ascii(name)[:40], "is no name for a point: use 1 to 100 printable characters")
    return name.strip()
