"""What the page asks for besides its screens: pictures in, pictures and videos out, each by a name that was listed."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from urllib.parse import unquote

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sana_wm.drafting.camera_view import ActionPath, view_of_motion
from sana_wm.drafting.live_frame import draw_last_frame, view_with_size
from sana_wm.durable import durable_file, make_folder
from sana_wm.errors import SanaWMError, UsageError
from sana_wm.report.facts import gather_run_facts
from sana_wm.report.memory_plot import draw_memory
from sana_wm.report.page import render_report
from sana_wm.report.timeline import read_timeline
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.studio.branch_frame import branch_view
from sana_wm.studio.desk import Desk
from sana_wm.studio.pictures import as_jpeg, find_picture, keep_picture, shown_picture
from sana_wm.studio.safety import UPLOAD_PATH

Endpoint = Callable[..., Response]
Degrees = Annotated[float, Query(gt=0, lt=180)]
Pixels = Annotated[int, Query(ge=64, le=8192)]
Share = Annotated[float, Query(ge=0, le=1)]
#: What of a run may be asked for; nothing else in its directory has an address.
RUN_FILES: dict[str, Callable[[RunDirectory], Path]] = {
    "video": lambda run: run.video_file,
    "preview": lambda run: run.preview_file,
    "growing": lambda run: run.growing_file,
    "sheet": lambda run: run.contact_sheet_file,
}


def add_routes(app: FastAPI, desk: Desk) -> None:
    """Answer such requests."""

    async def upload(request: Request) -> Response:
        """Take a picture as the body of a request; its length was held against the limit before (`safety.py`)."""
        make_folder(desk.own)
        with TemporaryDirectory(dir=desk.own) as folder:
            part = Path(folder) / "picture"
            with durable_file(part) as growing, growing.open("r+b") as file:
                async for piece in request.stream():
                    file.write(piece)
            name = unquote(request.headers.get("x-file-name", "picture"))
            try:
                dropped = await run_in_threadpool(keep_picture, desk, part, name)
            except SanaWMError as error:
                return _refused(error)
        return JSONResponse({"key": dropped.key})

    app.add_api_route(UPLOAD_PATH, upload, methods=["POST"])
    for path, endpoint in {**_picture_routes(desk), **_run_routes(desk)}.items():
        app.add_api_route(path, endpoint, methods=["GET"])


def _picture_routes(desk: Desk) -> dict[str, Endpoint]:
    """Of pictures that were dropped, and of paths that are being made."""

    def picture(key: str) -> Response:
        return _answer(lambda: Response(shown_picture(find_picture(desk, key)), media_type="image/jpeg"))

    def live(
        action: str, picture: str, fov_deg: Degrees, width: Pixels, height: Pixels, left: Share, top: Share
    ) -> Response:
        def draw() -> Response:
            path = find_picture(desk, picture).path
            view = view_of_motion(ActionPath(action, "pr379"), path, fov_deg, crop=(left, top))
            sized = view_with_size(view, width=width, height=height)
            return Response(as_jpeg(draw_last_frame(sized)), media_type="image/jpeg")

        return _answer(draw)

    def live_branch(action: str, run: str, frame: int) -> Response:
        def draw() -> Response:
            view = branch_view(desk, run, frame, ActionPath(action, "pr379"))
            return Response(as_jpeg(draw_last_frame(view)), media_type="image/jpeg")

        return _answer(draw)

    def camera_preview(key: str) -> Response:
        return _answer(lambda: FileResponse(_listed(desk.own / "previews", f"{key}.mp4")))

    return {"/picture": picture, "/live": live, "/live-branch": live_branch, "/camera-preview": camera_preview}


def _run_routes(desk: Desk) -> dict[str, Endpoint]:
    """Of the runs that the page shows."""

    def run_file(run: str, what: str) -> Response:
        def find() -> Response:
            if what not in RUN_FILES:
                raise UsageError("a run has no such file here", got=repr(what), expected=", ".join(RUN_FILES))
            path = RUN_FILES[what](desk.run(run))
            return FileResponse(_listed(path.parent, path.name))

        return _answer(find)

    def step_picture(run: str, step: int) -> Response:
        return _answer(lambda: FileResponse(_listed(desk.run(run).path / "previews", f"{step:04d}.png")))

    def chart(run: str) -> Response:
        return _answer(lambda: Response(_draw_memory(desk.run(run)), media_type="image/png"))

    def report(run: str) -> Response:
        def render() -> Response:
            facts = gather_run_facts(desk.run(run))
            return HTMLResponse(render_report(facts, read_timeline(facts.run, facts.manifest.memory.cap_bytes), []))

        return _answer(render)

    return {"/run-file": run_file, "/step-picture": step_picture, "/chart": chart, "/report": report}


def _listed(folder: Path, name: str) -> Path:
    """A file that lies in a folder, and nothing that its name or a link would lead to.

    Raises:
        UsageError: There is none.
    """
    path = folder / name
    if path.parent == folder and path.is_file() and not path.is_symlink():
        return path
    raise UsageError("there is no such file", got=repr(name), expected="one that the page shows")


def _draw_memory(run: RunDirectory) -> bytes:
    figure = draw_memory(read_timeline(run, run.read_manifest().memory.cap_bytes))
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _answer(make: Callable[[], Response]) -> Response:
    try:
        return make()
    except SanaWMError as error:
        return _refused(error)


def _refused(error: SanaWMError) -> Response:
    return JSONResponse({"error": str(error)}, 404 if isinstance(error, UsageError) else 422)
