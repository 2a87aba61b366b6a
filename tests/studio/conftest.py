"""A studio that really runs, over a tiny checkpoint, and a browser to drive it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("nicegui", reason="the extra `studio` is not installed")

BEGIN_S = 60


@dataclass
class Studio:
    """A server in a process of its own.

    Attributes:
        folder: Its working folder: `weights` and `runs` lie there.
        process: The command.
        address: The page's, with the token.
    """

    folder: Path
    process: subprocess.Popen[str]
    address: str

    @property
    def root(self) -> str:
        return self.address.split("/?")[0]

    @property
    def port(self) -> int:
        return int(self.root.rsplit(":", 1)[1])

    @property
    def token(self) -> str:
        return self.address.split("token=")[1]

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@contextlib.contextmanager
def serving(folder: Path) -> Generator[Studio]:
    command = [sys.executable, "-m", "sana_wm", "studio", "--no-open"]
    with (folder / "studio.log").open("a") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("studio: http://127.0.0.1:"), (line, (folder / "studio.log").read_text())
        yield Studio(folder, process, line.removeprefix("studio: ").strip())
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def make_workplace(
    tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, dict[str, Any]]
) -> Callable[[], Path]:
    """A working folder with weights and a picture."""

    def make() -> Path:
        import pillow_heif
        from tests.conftest import draw_picture

        folder = tmp_path_factory.mktemp("studio")
        (folder / "weights").symlink_to(tiny_models["original"]["root"])
        picture = draw_picture(folder / "road.png")
        pillow_heif.from_pillow(Image.open(picture)).save(folder / "phone.heic")
        (folder / "runs").mkdir()
        for name in ("SANA_WM_MODEL_ROOT", "SANA_GEMMA_2_2B_IT_ROOT"):
            os.environ.pop(name, None)
        return folder

    return make


@pytest.fixture(scope="session")
def copy_run(finished_run: Path, edit_run_manifest: Callable[..., None]) -> Callable[[Path], Path]:
    """Put the finished run into a runs folder under some name."""

    def copy(out: Path) -> Path:
        shutil.copytree(finished_run, out)
        edit_run_manifest(out, name=out.name, output_dir=str(out))
        return out

    return copy


@pytest.fixture(scope="module")
def studio(make_workplace: Callable[[], Path]) -> Generator[Studio]:
    """One for all tests of a module."""
    with serving(make_workplace()) as one:
        yield one


@pytest.fixture(scope="session")
def start_studio() -> Callable[[Path], contextlib.AbstractContextManager[Studio]]:
    """`serving`, for tests that start their own."""
    return serving


def find_chromium() -> str | None:
    """As the report's tests find it."""
    path = Path(__file__).parents[1] / "report" / "chromium.py"
    spec = importlib.util.spec_from_file_location("chromium", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.find_chromium()


@dataclass
class Tab:
    """A page and all that its console was told.

    Attributes:
        page: Playwright's.
        complaints: Errors and warnings of the console, and exceptions.
        requests: Addresses that were asked for.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def axe(self) -> list[str]:
        """Serious findings of axe-core, each with where."""
        import axe_core_python

        source = Path(axe_core_python.__file__).parent / "axe.min.js"
        self.page.evaluate(source.read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run()")["violations"]
        return [
            f"{one['id']}: {node['html'][:160]}: {node.get('failureSummary', '')[:200]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]


@pytest.fixture(scope="session")
def chromium() -> Generator[Any]:
    """A headless browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if (executable := find_chromium()) is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_tab(chromium: Any) -> Generator[Callable[..., Tab]]:
    """Open a tab at an address, with the token of a studio."""
    contexts: list[Any] = []

    def open_one(studio: Studio, path: str = "/", *, width: int = 1600, dark: bool = False) -> Tab:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        tab = Tab(context.new_page())
        tab.page.on("console", lambda one: one.type in ("error", "warning") and tab.complaints.append(one.text))
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.page.on("request", lambda one: tab.requests.append(one.url))
        tab.page.set_default_timeout(20_000)
        tab.page.goto(studio.address)
        if path != "/":
            tab.page.goto(studio.root + path)
        tab.page.wait_for_function("window.socket && window.socket.connected")
        return tab

    yield open_one
    for context in contexts:
        context.close()
