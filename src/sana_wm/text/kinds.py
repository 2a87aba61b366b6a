"""What a file is that was given for text, by its content, and what to do with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

PLAIN = "Save it as plain text in UTF-8."
POINTER = "Fetch the file itself: git lfs pull."


@dataclass(frozen=True)
class OtherKind:
    """What was found in place of text.

    Attributes:
        name: What it is.
        next_step: What to do with it.
    """

    name: str
    next_step: str


_EXPORT = "Export it as plain text in UTF-8 from the program that wrote it."
_ANOTHER = "This is another file: check the path."
_BINARY: tuple[tuple[bytes, OtherKind], ...] = (
    (b"\x89PNG", OtherKind("a PNG picture", _ANOTHER)),
    (b"\xff\xd8\xff", OtherKind("a JPEG picture", _ANOTHER)),
    (b"GIF8", OtherKind("a GIF picture", _ANOTHER)),
    (b"%PDF", OtherKind("a PDF document", _EXPORT)),
    (b"PK\3\4", OtherKind("a ZIP archive, as .docx, .odt and .pages are", _EXPORT)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OtherKind("an old Office document", _EXPORT)),
    (b"\x1f\x8b", OtherKind("a gzip archive", "Unpack it: gunzip FILE.")),
    (b"BZh", OtherKind("a bzip2 archive", "Unpack it: bunzip2 FILE.")),
    (b"\xfd7zXZ\0", OtherKind("an xz archive", "Unpack it: unxz FILE.")),
    (b"\x93NUMPY", OtherKind("a numpy array", _ANOTHER)),
    (b"bplist0", OtherKind("a binary property list, as web archives and iCloud placeholders are", PLAIN)),
    (b"book\0\0\0\0mark", OtherKind("a Finder alias", "Name the file that it leads to.")),
    (b"SQLite format 3\0", OtherKind("an SQLite database", _ANOTHER)),
    (b"\x7fELF", OtherKind("a program", _ANOTHER)),
    (b"\xcf\xfa\xed\xfe", OtherKind("a program", _ANOTHER)),
    (b"\xca\xfe\xba\xbe", OtherKind("a program", _ANOTHER)),
)
_HTML_TAGS = "html|head|body|meta|title|div|span|p|br|script|style|table|article|section|main|h[1-6]|ul|ol|img"
_RAW = "Copy its text into a file of its own, or download the raw file instead of the page that shows it."
_TEXT: tuple[tuple[str, OtherKind], ...] = (
    (r"\{\\rtf", OtherKind("RTF, formatted text", "In TextEdit: Format > Make Plain Text; then save it as UTF-8.")),
    (r"version https?://(git-lfs|hawser|git-media)", OtherKind("a Git LFS pointer, not the file itself", POINTER)),
    (rf"<!doctype html|<(?:{_HTML_TAGS})(?:\s[^<>]*)?/?>", OtherKind("a web page, HTML", _RAW)),
    (r"<!--|<\?xml|<!doctype|<(?:svg|plist|rss)\b", OtherKind("XML, or a web page", _RAW)),
    (r"\[InternetShortcut\]", OtherKind("a web link, not a text", "Open it and save what it leads to.")),
    (r"%!PS|\\documentclass", OtherKind("a typesetter's source", _EXPORT)),
)
_SHAPES = tuple((re.compile(pattern, re.IGNORECASE), kind) for pattern, kind in _TEXT)


def binary_kind(content: bytes) -> OtherKind | None:
    """The kind of a file that is no text in any encoding; `None` where no signature is known."""
    if content[4:8] == b"ftyp":
        return OtherKind("a video, or a HEIC picture", _ANOTHER)
    if content[8:9] == b"{" and 0 < int.from_bytes(content[:8], "little") < 2**32:
        return OtherKind("a safetensors file", _ANOTHER)
    return next((kind for signature, kind in _BINARY if content.startswith(signature)), None)


def marked_up_kind(text: str) -> OtherKind | None:
    """The kind of a text that is written for a program, not to be read; `None` for any other text."""
    start = text[:1000].lstrip("\ufeff \t\r\n")
    return next((kind for shape, kind in _SHAPES if shape.match(start)), None)
