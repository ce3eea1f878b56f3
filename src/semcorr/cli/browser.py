"""The command ``app``: the page in the browser."""

from __future__ import annotations

import ipaddress
import socket
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from semcorr.cli.options import Device
from semcorr.errors import SemcorrError, need_extra


def app(
    folder: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder of pictures to label; may be repeated. The page reads no other folder.", show_default=False
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen on. 127.0.0.1 keeps other machines out; 0.0.0.0 lets them use the page."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 chooses a free one.", min=0, max=65535)] = 7860,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page in a browser.")] = False,
    device: Device = "cpu",
) -> None:
    """Open a page in the browser: match two photographs, or label a folder of them.

    Pictures stay on this machine, and labels are saved at every change. Stop it with Ctrl+C.
    """
    need_extra("app", "starlette", "uvicorn")
    import uvicorn

    from semcorr.app.server import create_app

    page = create_app(folder or [], device)
    listener = _listen(host, port)
    at = listener.getsockname()[1]
    address = f"http://{f'[{host}]' if ':' in host else host}:{at}/{'#label' if folder else ''}"
    if not _is_loopback(host):
        typer.echo(
            f"warning: listening on {host}: whoever reaches this machine can use the page and its folders", err=True
        )
    typer.echo(f"semcorr is at {address} (stop it with Ctrl+C)", err=True)
    if not no_browser:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    server = uvicorn.Server(uvicorn.Config(page, log_level="warning", timeout_graceful_shutdown=5))
    server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)  # requests wait until the server runs
    except OSError as error:
        listener.close()
        raise SemcorrError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port") from None
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
