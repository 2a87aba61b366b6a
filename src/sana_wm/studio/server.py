"""The page's server: on 127.0.0.1 only, for as long as its command runs."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from nicegui import app as pages
from nicegui import ui

from sana_wm.errors import UsageError
from sana_wm.studio import branch, compare, files, new_video, queue_page, run_page, wall
from sana_wm.studio.desk import Desk
from sana_wm.studio.safety import Guard

LOOPBACK = "127.0.0.1"
ASSETS = Path(__file__).parent / "assets"
#: How long open pages hold up the end of the server.
GOODBYE_S = 1
#: What one message of a page may be; the largest is a prompt.
MOST_MESSAGE_BYTES = 1024**2
SCREENS = (wall, run_page, new_video, branch, compare, queue_page)


def serve(runs: Path, environment: Mapping[str, str], port: int, tell: Callable[[str], None]) -> None:
    """Serve the page until the process is asked to end.

    Args:
        runs: The runs folder.
        environment: This process's environment.
        port: To listen on; 0 takes a free one.
        tell: Given the page's address once it can be opened.

    Raises:
        UsageError: Somebody else listens on that port.
    """
    listener = _listen(port)
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(24)
    server = uvicorn.Server(
        uvicorn.Config(
            Guard(make_app(Desk(runs, environment)), port, token),
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=GOODBYE_S,
            ws_max_size=MOST_MESSAGE_BYTES,
            server_header=False,
        )
    )
    pages.on_startup(lambda: tell(f"http://{LOOPBACK}:{port}/?token={token}"))
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()


def make_app(desk: Desk) -> FastAPI:
    """The page over a runs folder, without its guard."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    files.add_routes(app, desk)
    pages.add_static_files("/studio-assets", ASSETS)
    for screen in SCREENS:
        screen.add_page(desk)
    ui.run_with(app, title="sana-wm studio", favicon=None, dark=None, language="en-US", show_welcome_message=False)
    return app


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()  # so that whoever is told the address finds it open
    except OSError as error:
        listener.close()
        raise UsageError(
            f"port {port} of {LOOPBACK} cannot be taken",
            got=error.strerror,
            expected="a free port",
            next_step="Leave --port out: a free one is taken.",
        ) from error
    return listener
