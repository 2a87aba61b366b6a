"""Every picture of README.md and docs/ is made by `make pictures`, is shown somewhere, and shows what there is now."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SUFFIXES = {".png", ".webp", ".gif", ".svg", ".jpg", ".jpeg", ".mp4"}


def load_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", DOCS / "make_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


TABLE = load_table()
FILES = {file: picture for picture in TABLE.PICTURES for file in picture.files}
RECORD: dict[str, dict[str, str]] = json.loads(TABLE.RECORD.read_text())


def shown() -> dict[Path, list[str]]:
    """The pictures that pages show, by file, with the pages."""
    found: dict[Path, list[str]] = {}
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"!\[[^\]]*\]\(([^)\s]+)", text) + re.findall(r"(?:src|srcset)=\"([^\"\s]+)", text)
        for link in links:
            if "://" not in link:
                found.setdefault((page.parent / link).resolve(), []).append(page.name)
    return found


def test_each_picture_that_a_page_shows_is_made_by_make_pictures() -> None:
    made = {(DOCS / file).resolve() for file in FILES}
    assert {str(path.relative_to(ROOT)): pages for path, pages in shown().items() if path not in made} == {}


def test_each_picture_in_docs_is_in_the_table_and_on_a_page() -> None:
    on_disk = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*") if path.suffix.lower() in SUFFIXES}
    assert on_disk == set(FILES)
    on_pages = {path.relative_to(DOCS).as_posix() for path in shown() if path.is_relative_to(DOCS)}
    assert set(FILES) - on_pages == set()


@pytest.mark.parametrize("file", FILES)
def test_no_picture_is_older_than_what_it_shows(file: str) -> None:
    again = f"make it again, and look at it: make pictures ARGS={FILES[file].name}"
    assert RECORD.get(file, {}).get("shows") == FILES[file].digest(), again
    content = (DOCS / file).read_bytes()
    assert RECORD[file]["sha256"] == hashlib.sha256(content).hexdigest(), again


def test_they_are_light() -> None:
    assert sum((DOCS / file).stat().st_size for file in FILES) < TABLE.MOST_BYTES == 3_000_000


@pytest.mark.long
def test_they_come_out_the_same_again(tmp_path: Path) -> None:
    """On the machine that made them, with what constraints.txt pins; another Pillow may pack pixels otherwise."""
    differing: list[str] = []
    for picture in TABLE.PICTURES:
        if picture.in_browser:
            continue
        first, second = tmp_path / "first", tmp_path / "second"
        for folder in (first, second):
            for file in picture.files:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
            picture.draw(folder)
        differing += [one for one in picture.files if (first / one).read_bytes() != (second / one).read_bytes()]
    assert differing == []


def test_a_change_of_what_a_picture_shows_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(docs: Path) -> None: ...

    monkeypatch.setattr(TABLE, "ROOT", tmp_path)
    (tmp_path / "code.py").write_text("COLOUR = 1")
    picture: Any = TABLE.Picture(("a.png",), ("code.py",), draw, in_browser=False)
    before = picture.digest()
    (tmp_path / "code.py").write_text("COLOUR = 2")
    assert picture.digest() != before
    (tmp_path / "code.py").unlink()
    with pytest.raises(SystemExit, match=r"draw shows code\.py"):
        picture.digest()
