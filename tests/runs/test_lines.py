"""Logs that grow while they are read, and what else may lie under their name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sana_wm.runs import lines
from sana_wm.runs.lines import LineReader


def reader_of(path: Path) -> LineReader[bytes]:
    return LineReader(path, lambda line: line if line.startswith(b"line") else None)


def test_half_a_line_waits_and_a_new_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    reader = reader_of(path)
    assert reader.read() == []
    path.write_bytes(b"line one\nline tw")
    assert reader.read() == [b"line one"]
    with path.open("ab") as file:
        file.write(b"o\nno such\n\n")
    assert reader.read() == [b"line two"]
    assert not reader.made_anew
    other = tmp_path / "other"
    other.write_bytes(b"line anew, and longer than what was there before\n")
    other.replace(path)
    assert reader.read() == [b"line anew, and longer than what was there before"]
    assert reader.made_anew


def test_lines_longer_than_any_of_ours_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "CHUNK_BYTES", 16)
    path = tmp_path / "log"
    path.write_bytes(b"line 1\nline 2\n" + b"x" * 100 + b"\nline 3\nline 4")
    reader = reader_of(path)
    assert reader.read() == [b"line 1", b"line 2", b"line 3"]
    with path.open("ab") as file:
        file.write(b"\n")
    assert reader.read() == [b"line 4"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop"])
def test_what_is_no_file_is_not_waited_for_and_says_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case _:
            path.symlink_to(path)
    assert reader_of(path).read() == []
