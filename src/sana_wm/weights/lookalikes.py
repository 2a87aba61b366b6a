"""What stands in the place of a weight file: by its first bytes, and by what its downloader left beside it."""

from __future__ import annotations

from pathlib import Path

from sana_wm.errors import Problem, WeightsError
from sana_wm.weights.reading import REPAIR, is_file, open_plain

POINTER = "Fetch the file itself: `git lfs pull` in that checkout, or sana-wm weights download (docs/weights.md)."
PAGE = "A login page or an error was saved in its place. Log in (`hf auth login`), then: sana-wm weights download."
#: Beginnings of files, in lower case: what it is, and what to do.
BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it points to", POINTER),
    (b"# xet version", "a Xet pointer, not the file that it points to", POINTER),
    (
        b"/annex/objects/",
        "a git-annex pointer, not the file that it points to",
        "Fetch the file itself: git annex get.",
    ),
    (b"<!doctype", "a web page", PAGE),
    (b"<html", "a web page", PAGE),
    (b"<?xml", "a message of a web server", PAGE),
    (b"pk\x03\x04", "a zip archive or a pickle of torch", "Only safetensors files are read: sana-wm weights download."),
    (b"gguf", "a GGUF file", "Only safetensors files are read: sana-wm weights download."),
    (b"\x1f\x8b", "compressed with gzip", "Unpack it: gunzip, or fetch it again: sana-wm weights download."),
)
#: What downloaders leave beside a file until it is whole: aria2, hub clients and browsers.
COMPANIONS = (".aria2", ".incomplete", ".part", ".crdownload", ".download", ".filepart", ".partial", ".!qB", ".st")


def recognise(path: Path) -> Problem | None:
    """What a file is that is not what it should be, if it is one of the usual things."""
    try:
        with open_plain(path) as file:
            beginning = file.read(512)
    except (WeightsError, OSError):
        return None
    if not beginning:
        return Problem(str(path), "this file is empty", next_step=REPAIR)
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for start, what, step in BEGINNINGS:
        if text.startswith(start):
            return Problem(str(path), f"this is {what}", next_step=step)
    return None


def find_unfinished(path: Path) -> Problem | None:
    """A sign beside a file, or beside what it links to, that its download was not finished."""
    for place in dict.fromkeys((path, path.resolve())):
        for ending in COMPANIONS:
            companion = place.with_name(place.name + ending)
            if is_file(companion):
                step = f"Let that downloader finish. If you know the file to be whole, remove {companion.name}."
                what = "the download of this file was not finished"
                return Problem(str(path), what, f"{companion.name} beside it", next_step=step)
    return None
