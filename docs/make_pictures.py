"""Every picture of README.md and docs/, made from the program itself: `make pictures`, or `... ARGS="preview moves"`.

A picture is one function below: it gets a folder that becomes `docs/`, and leaves its files there. What it shows stands
beside it as sources; `sources.json` keeps their digest, so that a test can say which picture is older than what it
shows. The same sources, on the same machine, make the same bytes.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from sana_wm.camera.moves import MOVES
from sana_wm.drafting.drawn_picture import FIELD_OF_VIEW_DEG, draw_picture

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RECORD = DOCS / "pictures" / "sources.json"
#: All of them together: a clone and a page stay light.
MOST_BYTES = 3_000_000
CHROMIUM = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)


Source = str | Callable[..., object]


@dataclass(frozen=True)
class Picture:
    """Pictures that are made together.

    Attributes:
        files: What is left, below `docs/`.
        sources: What they show, as patterns of files below the top of the source tree; functions of this file.
        draw: Makes them in a folder that stands for `docs/`.
        in_browser: Whether it takes a Chromium; where there is none, the pictures stay as they are.
    """

    files: tuple[str, ...]
    sources: tuple[Source, ...]
    draw: Callable[[Path], None]
    in_browser: bool

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return self.draw.__name__

    def digest(self) -> str:
        """SHA-256 of what it shows: the function that makes it, and the content of its sources."""
        digest = hashlib.sha256(inspect.getsource(self.draw).encode())
        for pattern in self.sources:
            if not isinstance(pattern, str):
                digest.update(inspect.getsource(pattern).encode())
                continue
            found = sorted(ROOT.glob(pattern))
            if not found:
                raise SystemExit(f"{self.name} shows {pattern}, and nothing in the sources is called so")
            for path in found:
                digest.update(path.read_bytes())
        return digest.hexdigest()


PICTURES: list[Picture] = []


def draws(
    *files: str, sources: tuple[Source, ...], in_browser: bool = False
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Enter a function and the files that it makes into the table."""

    def enter(draw: Callable[[Path], None]) -> Callable[[Path], None]:
        PICTURES.append(Picture(files, sources, draw, in_browser))
        return draw

    return enter


def sana_wm(*words: str | Path) -> None:
    """Run the program as a user does."""
    subprocess.run([sys.executable, "-m", "sana_wm", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


@draws(
    *(f"moves/{name}.svg" for name in MOVES),
    sources=("src/sana_wm/camera/move_drawing.py", "src/sana_wm/camera/moves.py", "src/sana_wm/camera/move_path.py"),
)
def moves(docs: Path) -> None:
    """The drawings of the named moves."""
    sana_wm("camera", "moves", "--drawings", docs / "moves")


def street_walk(docs: Path) -> tuple[str | Path, ...]:
    """A walk down the demo's street that looks to both sides, and up at the end; as the command line takes it."""
    draw_picture().save(docs / "street.png")
    action = "w-30,wj-8,wl-18,wj-10,wi-6,i-3,k-9"
    return ("--action", action, "--image", docs / "street.png", "--fov-deg", f"{FIELD_OF_VIEW_DEG:.6f}")


@draws(
    "pictures/preview.webp",
    sources=(
        street_walk,
        "src/sana_wm/camera/motion.py",
        "src/sana_wm/camera/preview.py",
        "src/sana_wm/drafting/camera_preview.py",
        "src/sana_wm/drafting/drawn_picture.py",
        "src/sana_wm/video/animation.py",
        "src/sana_wm/video/overlay.py",
        "src/sana_wm/video/preview_overlay.py",
    ),
)
def preview(docs: Path) -> None:
    """A camera preview of the demo's picture."""
    sana_wm("camera", "preview", *street_walk(docs), "-o", docs / "pictures" / "preview.webp")


@draws(
    *(f"pictures/studio-{name}.webp" for name in ("new", "narrow")),
    sources=(
        *(f"src/sana_wm/studio/{name}.py" for name in ("layout", "new_video", "path_editor")),
        *("src/sana_wm/studio/assets/*", "src/sana_wm/drafting/drawn_picture.py"),
    ),
    in_browser=True,
)
def studio(docs: Path) -> None:
    """The form of a new video in `sana-wm studio`: wide and light, narrow and dark."""
    from playwright.sync_api import Page, sync_playwright  # noqa: PLC0415 (only where it is asked for)

    def fill(page: Page) -> None:
        page.set_input_files("input[type=file]", docs / "street.png")
        page.get_by_text("street.png, ").wait_for()
        page.get_by_label("Prompt").fill("A quiet street in the evening, warm light in the windows.")
        for number, (move, seconds) in enumerate((("push-in", 3), ("pan-left", 2)), 1):
            page.get_by_role("button", name=move, exact=True).click()
            page.get_by_label(f"Seconds of move {number}, {move}").fill(str(seconds))
        page.get_by_text("memory: ").wait_for()
        page.get_by_role("button", name="Preview the camera").click()
        page.locator("video.film").wait_for()
        film = "document.querySelector('video.film')"
        page.evaluate(f"{film}.pause(); {film}.controls = false; {film}.currentTime = 2")
        page.wait_for_function(f"!{film}.seeking")

    draw_picture(1600, 900).save(docs / "street.png")
    sana_wm("weights", "tiny", "--out", docs / "weights")
    command = [sys.executable, "-m", "sana_wm", "studio", "--no-open"]
    with subprocess.Popen(command, cwd=docs, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().removeprefix("studio: ").strip()
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which(CHROMIUM or ""), args=["--no-sandbox"])
            looks: tuple[tuple[str, int, Literal["light", "dark"]], ...] = (
                ("new", 1600, "light"),
                ("narrow", 400, "dark"),
            )
            for name, width, scheme in looks:
                page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
                page.goto(address)
                page.goto(f"{address.split('/?')[0]}/new")
                page.wait_for_function("window.socket && window.socket.connected")
                page.add_style_tag(content=".panel .quiet:last-child { display: none }")  # the weights' folder
                fill(page)
                page.screenshot(path=docs / f"{name}.png", full_page=True)
                with Image.open(docs / f"{name}.png") as shot:
                    shot.convert("RGB").save(docs / f"pictures/studio-{name}.webp", quality=70, method=6)
            browser.close()
        server.terminate()


@draws(
    "pictures/camera-path.png",
    sources=(
        street_walk,
        "src/sana_wm/camera/dialects.py",
        "src/sana_wm/camera/plot.py",
        "src/sana_wm/report/theme.py",
    ),
)
def camera_path(docs: Path) -> None:
    """The same walk, as reports and `camera explain` draw it."""
    sana_wm("camera", "explain", *street_walk(docs), "--png", docs / "pictures" / "camera-path.png")


def make(picture: Picture) -> dict[str, dict[str, str]]:
    """Make a picture's files and put them in their places; returns what to keep in the record, by file."""
    kept: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for file in picture.files:
            (Path(scratch) / file).parent.mkdir(parents=True, exist_ok=True)
        picture.draw(Path(scratch))
        for file in picture.files:
            content = (Path(scratch) / file).read_bytes()
            (DOCS / file).parent.mkdir(parents=True, exist_ok=True)
            (DOCS / file).write_bytes(content)
            kept[file] = {"shows": picture.digest(), "sha256": hashlib.sha256(content).hexdigest()}
            print(f"docs/{file}: {len(content) / 1000:.0f} KB")  # noqa: T201
    return kept


def main(names: list[str]) -> None:
    """Make the pictures that are named, or all."""
    if unknown := set(names) - {picture.name for picture in PICTURES}:
        raise SystemExit(f"no picture is called {', '.join(sorted(unknown))}")
    record: dict[str, dict[str, str]] = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    known = {file for picture in PICTURES for file in picture.files}
    record = {file: kept for file, kept in record.items() if file in known}
    for picture in PICTURES:
        if names and picture.name not in names:
            continue
        if picture.in_browser and CHROMIUM is None:
            print(f"{picture.name}: left as it is, there is no Chromium")  # noqa: T201
            continue
        record |= make(picture)
        RECORD.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")
    total_bytes = sum((DOCS / file).stat().st_size for file in record)
    print(f"{len(record)} pictures, {total_bytes / 1e6:.2f} MB")  # noqa: T201
    if total_bytes > MOST_BYTES:
        raise SystemExit(f"more than {MOST_BYTES / 1e6:g} MB: make some smaller")


if __name__ == "__main__":
    main(sys.argv[1:])
