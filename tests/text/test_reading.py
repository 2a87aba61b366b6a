"""One reader for user text: what it takes, and what it refuses by name."""

from __future__ import annotations

import codecs
import os
import socket
from pathlib import Path

import pytest

from sana_wm.errors import UsageError
from sana_wm.text.characters import hidden_characters, is_blank
from sana_wm.text.reading import UserText, decode, read_text


def read(path: Path) -> UserText:
    return read_text(path, holds="a prompt", limit_bytes=1000)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfA road.\nAt dawn \xc3\xa9.",
        codecs.BOM_UTF16_LE + "A road.\r\nAt dawn é.".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "A road.\rAt dawn é.".encode("utf-16-be"),
        codecs.BOM_UTF32_LE + "A road.\nAt dawn é.".encode("utf-32-le"),
        b"\xef\xbb\xbf\xef\xbb\xbfA road.\r\nAt dawn \xc3\xa9.",
    ],
)
def test_every_spelling_of_a_text_is_one_text_and_said(content: bytes) -> None:
    text = decode(content)
    assert text.content == "A road.\nAt dawn é."
    assert text.notes


def test_a_plain_text_has_no_note() -> None:
    assert decode("Ein Weg, “so” sagt man. 🚶‍♀️".encode()) == UserText("Ein Weg, “so” sagt man. 🚶‍♀️")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{\\rtf1\\ansi A road.}", "RTF, formatted text.*Make Plain Text"),
        (b"\xef\xbb\xbf {\\rtf1 A road.}", "RTF"),
        (b"\n<!doctype HTML><p>A road.", "a web page"),
        (b"<p>A road.</p>", "a web page"),
        (b'<?xml version="1.0"?><plist/>', "XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer.*git lfs pull"),
        ("A road.".encode("utf-16-le"), "text in UTF-16 without a byte order mark"),
        ("A road.".encode("utf-16-be"), "text in UTF-16 without a byte order mark"),
        (b"A road.\nAt\0dawn.", "binary data; got a NUL in line 2, column 3"),
        (b"Caf\xe9 on a road", "another encoding than UTF-8; got byte 0xE9 in line 1, column 4.*iconv"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"PK\3\4word/document.xml", "a ZIP archive, as .docx"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
        (b"bplist00\xd1", "a binary property list"),
        (b"\x89PNG\r\n", "a PNG picture"),
        (codecs.BOM_UTF16_LE + b"A\0r", "damaged UTF-16"),
        (b"x" * 1001, "too long for a prompt"),
    ],
)
def test_what_is_no_text_is_refused_by_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "prompt.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"(?s){said}"):
        read(path)


def test_pipes_devices_folders_and_sockets_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path, kind in (
            (tmp_path / "pipe", "a named pipe"),
            (Path("/dev/zero"), "a device"),
            (tmp_path, "a folder"),
            (tmp_path / "socket", "a socket"),
        ):
            with pytest.raises(UsageError, match=kind):
                read(path)


def test_a_path_that_no_system_takes_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read(Path("a\0b"))


def test_text_that_nobody_sees_is_blank() -> None:
    assert is_blank("\u200b\ufeff \u00a0\u2060\u3164\n\u2800")
    assert not is_blank("\u200b.")
    assert list(hidden_characters("a\u200bb c\u00a0d")) == [1, 5]
    assert list(hidden_characters("👩‍🚀 ❤️ नमस्ते")) == []
