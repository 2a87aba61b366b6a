"""The one reader of text that a user made: prompts, manifests, poses.

A byte order mark is no part of a text, UTF-16 is read by it, line ends become LF; what is no text is refused by what it
is. Whatever is done is said.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from sana_wm.errors import UsageError
from sana_wm.plain_files import SpecialFileError, open_plain
from sana_wm.text.characters import BYTE_ORDER_MARK, position
from sana_wm.text.kinds import PLAIN, OtherKind, binary_kind, marked_up_kind

#: The longest mark first: UTF-16's is the beginning of UTF-32's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
#: Of UTF-16 text in a European script every second byte is NUL.
_NUL_SHARE = 0.3


@dataclass(frozen=True)
class UserText:
    """A text as it is used.

    Attributes:
        content: Without a byte order mark, lines ended by LF.
        notes: What was done to it, in words.
    """

    content: str
    notes: tuple[str, ...] = ()


class NotTextError(ValueError):
    """Bytes that are no text that can be used.

    Attributes:
        kind: What they are, and what to do.
        got: What shows it, where that is not said by the kind.
    """

    def __init__(self, kind: OtherKind, got: str | None = None) -> None:
        self.kind, self.got = kind, got
        super().__init__(kind.name)


def read_text(path: Path, *, holds: str, limit_bytes: int) -> UserText:
    """Read a text file.

    Args:
        path: The file.
        holds: What it should hold, for messages: `a prompt`.
        limit_bytes: A longer file is another one.

    Raises:
        UsageError: It is not there, is no file, may not be read, is too long, or is no text.
    """
    try:
        with open_plain(path) as file:
            content = file.read(limit_bytes + 1)
    except FileNotFoundError as error:
        raise UsageError(f"no file {path}", got=error.strerror, expected=holds, next_step="Check the path.") from None
    except SpecialFileError as error:
        raise UsageError(
            f"{path} is {error.kind}", expected=f"a file with {holds}", next_step="Save it to a file."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a path that no system takes
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        step = "Check the path and its permissions."
        raise UsageError(
            f"{path} cannot be read", got=reason, expected=f"a file with {holds}", next_step=step
        ) from None
    if len(content) > limit_bytes:
        got, expected = f"more than {limit_bytes} bytes", f"{limit_bytes} bytes at most"
        raise UsageError(f"{path} is too long for {holds}", got=got, expected=expected, next_step="Check the path.")
    try:
        return decode(content)
    except NotTextError as error:
        what, step = f"{path} is {error.kind.name}", error.kind.next_step
        raise UsageError(what, got=error.got, expected=f"plain text with {holds}", next_step=step) from None


def decode(content: bytes) -> UserText:
    """Text in UTF-8 or, with a byte order mark, UTF-16 or UTF-32.

    Raises:
        NotTextError: It is something else.
    """
    if kind := binary_kind(content):
        raise NotTextError(kind)
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    try:
        text = content.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        raise NotTextError(*_undecodable(content, encoding, error)) from None
    if "\0" in text:
        raise NotTextError(*_with_nul(content, text))
    if kind := marked_up_kind(text):
        raise NotTextError(kind)
    tidied = tidy(text)
    return UserText(tidied.content, ((f"read as {encoding}",) if encoding else ()) + tidied.notes)


def tidy(text: str) -> UserText:
    """Text without a byte order mark, its lines ended by LF, as any reader of text gives them."""
    content, notes = text.lstrip(BYTE_ORDER_MARK), []
    if content != text:
        notes.append("its byte order mark is left out")
    if "\r" in content:
        content = content.replace("\r\n", "\n").replace("\r", "\n")
        notes.append("its carriage returns are read as line ends")
    return UserText(content, tuple(notes))


def _undecodable(content: bytes, encoding: str | None, error: UnicodeDecodeError) -> tuple[OtherKind, str]:
    if encoding is not None:
        return OtherKind(f"damaged {encoding} text", PLAIN), f"{len(content)} bytes, {error.reason} at {error.start}"
    before = content[: error.start].decode()
    got = f"byte 0x{content[error.start]:02X} in {position(before, len(before))}"
    if any(byte < 9 for byte in content):
        return OtherKind("binary data", "This is another file: check the path."), got
    advice = "Save it as UTF-8; of a Western text: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE."
    return OtherKind("text in another encoding than UTF-8", advice), got


def _with_nul(content: bytes, text: str) -> tuple[OtherKind, str]:
    got = f"a NUL in {position(text, text.index(chr(0)))}"
    few, many = sorted(content[start::2].count(0) / max(len(content) // 2, 1) for start in (0, 1))
    if many > _NUL_SHARE and few < _NUL_SHARE:
        return OtherKind("text in UTF-16 without a byte order mark", PLAIN), got
    return OtherKind("binary data", "This is another file: check the path."), got
