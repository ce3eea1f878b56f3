"""The server: its HTTP interface, which docs/app.md describes, and the page's files."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from semcorr import __version__
from semcorr.annotation.formats import FORMATS
from semcorr.app.guard import Guard, Refused, read_body
from semcorr.app.label_routes import Projects, label_routes
from semcorr.app.labelling import MOST
from semcorr.app.match_routes import match_routes
from semcorr.app.matching import Matching
from semcorr.app.pictures import LIMIT, PIXELS, Store, as_jpeg
from semcorr.app.work import Busy, Queue
from semcorr.errors import SemcorrError
from semcorr.files import one_line
from semcorr.image import load_image
from semcorr.models.loading import MODEL_NAMES

STATIC = Path(__file__).parent / "static"

Endpoint: TypeAlias = "Callable[[Request], Awaitable[Response]]"


def create_app(folders: Sequence[Path] = (), device: str = "cpu", queue: Queue | None = None) -> Starlette:
    """Return the server as an ASGI application.

    Args:
        folders: Folders of pictures that the page may label; no other file of this machine is read.
        device: Device to compute on.
        queue: What runs matches; by default two at once, and eight that wait.

    Raises:
        DataError: If a folder is missing or has no pictures, the labels in it are broken, or another server has it.
    """
    scratch = tempfile.TemporaryDirectory(prefix="semcorr-app-")
    store = Store(_folder(scratch, "match"))
    matching = Matching(store, device)
    projects = Projects(folders, _folder(scratch, "label"))
    tasks = queue or Queue()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        projects.close()
        tasks.close()
        scratch.cleanup()

    app = Starlette(
        routes=[
            Route("/", _page),
            Route("/api", _about(projects)),
            Route("/api/examples", _examples(store)),
            Route("/api/pictures", _add_picture(store), methods=["POST"]),
            Route("/api/pictures/{key}", _show_picture(store)),
            *match_routes(matching, tasks),
            *label_routes(projects, matching),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard)],
        exception_handlers={
            Refused: _refused,
            HTTPException: _not_found,
            Busy: _busy,
            SemcorrError: _wrong,
            ValueError: _wrong,
            OSError: _wrong,
        },
        lifespan=lifespan,
    )
    app.state.projects, app.state.scratch = projects, scratch
    return app


def _folder(scratch: tempfile.TemporaryDirectory[str], name: str) -> Path:
    path = Path(scratch.name, name)
    path.mkdir()
    return path


async def _page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


def _about(projects: Projects) -> Endpoint:
    async def about(request: Request) -> Response:
        content: dict[str, Any] = {
            "version": __version__,
            "models": dict(MODEL_NAMES),
            "formats": {name: kind.title for name, kind in FORMATS.items()},
            "projects": projects.folders(),
            "limits": {"bytes": LIMIT, "pixels": PIXELS, "pictures": MOST},
        }
        return JSONResponse(content)

    return about


def _examples(store: Store) -> Endpoint:
    async def examples(request: Request) -> Response:
        found = await run_in_threadpool(store.examples)
        return JSONResponse([picture.to_json() for picture in found])

    return examples


def _add_picture(store: Store) -> Endpoint:
    async def add_picture(request: Request) -> Response:
        content = await read_body(request, LIMIT)
        name = request.query_params.get("name", "picture")
        picture = await run_in_threadpool(store.add, name, content)
        return JSONResponse(picture.to_json(), 201)

    return add_picture


def _show_picture(store: Store) -> Endpoint:
    async def show_picture(request: Request) -> Response:
        path = store.get(request.path_params["key"]).path
        content = await run_in_threadpool(lambda: as_jpeg(load_image(path)))
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    return show_picture


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    headers = {"Retry-After": "5"} if error.status == 503 else {}
    return JSONResponse({"error": error.reason}, error.status, headers)


def _busy(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": one_line(error)}, 503, {"Retry-After": "5"})


def _wrong(request: Request, error: Exception) -> Response:
    text = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error, 300)
    return JSONResponse({"error": text}, 500 if isinstance(error, OSError) else 400)


def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": f"{request.method} {request.url.path[:80]}: {error.detail}"}, error.status_code)
