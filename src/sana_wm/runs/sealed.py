"""JSON files that begin with the SHA-256 of the rest of their own text: one changed bit anywhere shows.

A manifest, a receipt or the metrics cannot be vouched for by another file without a moment in which a crash leaves the
two apart; so each vouches for itself, and what it says vouches for the others.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from sana_wm.durable import write_durably
from sana_wm.errors import HandoffError
from sana_wm.plain_files import open_plain

_HEAD = b'{\n  "content_sha256": "'
_TAIL = b'",\n'
_DIGEST_LENGTH = 64
#: The largest that we write is a manifest with its prompt; what is larger is not ours, and not read into memory.
MAX_BYTES = 16 * 1024**2


def write_sealed(path: Path, text: str) -> None:
    """Write an indented JSON object (`{` and a newline first) durably, sealed.

    Raises:
        HandoffError: It cannot be written.
    """
    write_durably(path, seal(text))


def seal(text: str) -> bytes:
    """The text with its seal as the first entry."""
    rest = f"{text.removeprefix('{').lstrip(chr(10)).rstrip()}\n".encode()
    return _HEAD + hashlib.sha256(rest).hexdigest().encode() + _TAIL + rest


def read_sealed(path: Path, *, next_step: str) -> bytes:
    """The JSON of a sealed file, without the seal.

    Raises:
        HandoffError: It cannot be read, or is not what was written; the message says which.
    """
    try:
        with open_plain(path) as file:
            data = file.read(MAX_BYTES + 1)
        return unseal(data)
    except OSError as error:
        raise HandoffError(f"{path} cannot be read", got=error.strerror or str(error), next_step=next_step) from error
    except ValueError as error:
        raise HandoffError(
            f"{path} is damaged", got=str(error), expected="the text that this package wrote", next_step=next_step
        ) from error


def has_seal(path: Path) -> bool:
    """Whether a file begins as those that this package seals, however damaged the rest of it is."""
    try:
        with open_plain(path) as file:
            return not path.is_symlink() and file.read(len(_HEAD)) == _HEAD
    except OSError:
        return False


def unseal(data: bytes) -> bytes:
    """The JSON that was sealed.

    Raises:
        ValueError: It is another one now; the message says how that shows.
    """
    if not data:
        raise ValueError("an empty file")
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    start = len(_HEAD) + _DIGEST_LENGTH
    if not data.startswith(_HEAD) or data[start : start + len(_TAIL)] != _TAIL:
        raise ValueError("a text that does not begin with its SHA-256")
    rest = data[start + len(_TAIL) :]
    if hashlib.sha256(rest).hexdigest().encode() != data[len(_HEAD) : start]:
        raise ValueError("a text of another SHA-256 than it had when it was written")
    return b"{\n" + rest
