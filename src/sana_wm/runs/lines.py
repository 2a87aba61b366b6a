"""JSON lines that are read as they grow, never waited for; whatever else stands in them is passed over."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Generic, TypeVar

from sana_wm.plain_files import open_plain

Parsed = TypeVar("Parsed")
#: Enough of a file to know it again.
HEAD_BYTES = 64
#: Read at a time. No line of ours is so long: what has none within it is passed over.
CHUNK_BYTES = 16 * 1024**2


class LineReader(Generic[Parsed]):
    """Reads a file of lines as it grows; half a line stays for the next time.

    Args:
        path: The file; need not be there.
        parse: What a line says, `None` when that is nothing.

    Attributes:
        made_anew: Whether the last `read` began from the beginning, because the file is another one.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], Parsed | None]) -> None:
        self._path, self._parse = path, parse
        self._offset = 0
        self._head = b""
        self.made_anew = False

    def read(self) -> list[Parsed]:
        """What the lines since the last call say; from the beginning again when the file was made anew.

        A log is never a reason to stop: a file that cannot be read says nothing, and neither does a line that a killed
        writer or a full disk cut off.
        """
        self.made_anew = False
        found: list[Parsed] = []
        try:
            with open_plain(self._path) as file:
                self._rewind_if_new(file)
                for line in self._whole_lines(file):
                    if (parsed := self._parse(line)) is not None:
                        found.append(parsed)
        except OSError:
            pass
        return found

    def _whole_lines(self, file: IO[bytes]) -> Generator[bytes]:
        file.seek(self._offset)
        while chunk := file.read(CHUNK_BYTES):
            whole, newline, _ = chunk.rpartition(b"\n")
            if not newline and len(chunk) < CHUNK_BYTES:
                return
            self._offset += len(whole) + 1 if newline else len(chunk)
            file.seek(self._offset)
            yield from whole.split(b"\n")

    def _rewind_if_new(self, file: IO[bytes]) -> None:
        """Know another file by how it begins: the first line's time. A deleted file's inode is soon another's."""
        head = file.read(HEAD_BYTES)
        if not head.startswith(self._head) or not self._head:
            self._offset, self.made_anew = 0, bool(head)
        self._head = head
