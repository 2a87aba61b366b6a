"""The commands of the README and the pages: what stands in their shell blocks, and what they are given to read."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from tests.conftest import draw_picture, tiny_manifest

TOP = Path(__file__).resolve().parents[2]
PAGES = (TOP / "README.md", *sorted((TOP / "docs").glob("*.md")))
#: What follows these is written by the command, or is no file.
NAMES_NO_INPUT = ("-o", "--out", "--output-dir", "--prompt", "--negative-prompt", "--in", "--frames-dir", "--as")


@dataclass(frozen=True)
class Command:
    """One command of a page.

    Args:
        page: Name of the page's file.
        line: Its line there, counted from 1.
        text: As it stands there, without the remark behind it; continued lines are one.
        exit_code: What the remark says that it ends with, else 0.
    """

    page: str
    line: int
    text: str
    exit_code: int

    @property
    def words(self) -> list[str]:
        """Its words, as the shell splits them; the program by its name alone."""
        program, *arguments = shlex.split(self.text)
        return [program.rpartition("/")[2], *arguments]

    @property
    def is_ours(self) -> bool:
        """Whether it runs `sana-wm`."""
        return self.words[0] == "sana-wm"

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def commands_of(page: Path) -> Iterator[Command]:
    """The commands of a page's shell blocks, in order."""
    inside, begun, parts = False, 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```"):
            inside = line.removeprefix("```").strip() == "sh"
            continue
        if not inside or not line.strip():
            continue
        text, _, remark = line.partition(" #") if not line.startswith("#") else ("", "", line)
        begun = begun if parts else number
        parts.append(text.strip().removesuffix("\\").strip())
        if text.rstrip().endswith("\\"):
            continue
        code = re.search(r"exit code (\d+)", remark)
        for command in " ".join(parts).split(" && "):
            if command:
                yield Command(page.name, begun, command, int(code[1]) if code else 0)
        parts = []


def draw_photograph(path: Path) -> Path:
    """A picture that says, as a phone's does, what lens it was taken with."""
    drawn = draw_picture(path.with_name("drawn.png"))
    with Image.open(drawn) as picture:
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
        picture.save(path, format="PNG" if path.suffix == ".png" else "JPEG", exif=exif)
    drawn.unlink()
    return path


def give_inputs(command: Command, work: Path, finished_run: Path, model: dict[str, Any]) -> list[Path]:
    """Put in place what a command reads and nobody wrote before it: a picture, a manifest, a run, a video.

    Returns:
        What was put there.
    """
    given: list[Path] = []
    before = ""
    for word in command.words[1:]:
        if before not in NAMES_NO_INPUT and not (work / word.partition("@")[0]).exists():
            given += _give(word, work, finished_run, model)
        before = word
    return given


def _give(word: str, work: Path, finished_run: Path, model: dict[str, Any]) -> list[Path]:
    """What a word names, as far as it can be made."""
    path = work / word.partition("@")[0]
    if word.startswith("-") or len(word.split()) != 1:
        return []
    if run_name := re.match(r"runs/([^./]+)(/|$)", word.partition("@")[0]):
        shutil.copytree(finished_run, work / "runs" / run_name[1])
        return [work / "runs" / run_name[1]]
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".jpg" | ".jpeg" | ".png" | ".heic":
            draw_photograph(path)
        case ".json":
            manifest = tiny_manifest(draw_picture(work / "drawn.png"), model)
            manifest["output_dir"] = f"runs/{path.stem}"
            manifest["video"]["num_frames"] = 17
            del manifest["preview"]
            path.write_text(json.dumps(manifest))
        case ".mp4":
            shutil.copy(finished_run / "video.mp4", path)
        case ".txt":
            path.write_text("A quiet street in the morning.")
        case _:
            return []
    return [path]
