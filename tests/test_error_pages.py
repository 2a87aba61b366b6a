"""Every error has its section in docs/errors.md and its row in docs/exit-codes.md; what they quote is really said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sana_wm import errors

ROOT = Path(__file__).resolve().parents[1]
#: Never raised themselves.
BASES = {errors.SanaWMError, errors.ProblemListError}
#: Several of the others together, with the exit code of the first.
COLLECTIONS = {errors.RefusedRunError}


def error_classes(base: type[errors.SanaWMError] = errors.SanaWMError) -> Iterator[type[errors.SanaWMError]]:
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__ and kind not in BASES | COLLECTIONS:
            yield kind
        yield from error_classes(kind)


def read_doc(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_error_has_its_section_under_its_exit_code():
    headings = re.findall(r"^## (\d+) · (\w+)$", read_doc("errors.md"), re.MULTILINE)
    assert sorted(headings) == sorted((str(kind.exit_code), kind.__name__) for kind in error_classes())
    assert [int(code) for code, _ in headings] == sorted(int(code) for code, _ in headings)


def test_every_error_stands_in_the_row_of_its_exit_code():
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \|", read_doc("exit-codes.md"), re.MULTILINE)
    named = {(int(code), name) for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert named == {(kind.exit_code, kind.__name__) for kind in error_classes()}


def test_the_messages_that_are_quoted_are_in_the_sources():
    quoted = re.findall(r"^- `([^`]+)`", read_doc("errors.md"), re.MULTILINE)
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert len(quoted) > 40
    assert [message for message in quoted if message not in sources] == []
