"""Files that another process will trust: whole under their name, or not there at all.

Write order (after restic's): a temporary name in the same folder, flush, fsync, rename, fsync of the folder. Whoever
names such a file in a receipt does so after this, so that a name never points to less than the whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

from sana_wm.errors import HandoffError

#: What `part_path` names end in, before their suffix: leftovers of interrupted writes, never read.
PART = ".part"


def part_path(path: Path) -> Path:
    """Where a file is written until it is whole; the suffix stays last, because ffmpeg reads the format off it."""
    return path.with_name(f"{path.stem}{PART}{path.suffix}")


def publish(part: Path, path: Path) -> None:
    """Give a finished file its name so that neither a crash nor a power cut leaves half of it under that name."""
    part.chmod(0o666 & ~_umask())  # some writers, safetensors among them, leave 0600 whatever the user wants
    _sync(part)
    part.replace(path)
    _sync(path.parent)


@contextlib.contextmanager
def durable_file(path: Path) -> Generator[Path]:
    """Yield a temporary path to write; on success it becomes `path`, on failure it is removed.

    Raises:
        HandoffError: The file cannot be written (no space, read-only, vanished volume).
    """
    part = part_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        publish(part, path)
    except OSError as error:
        raise HandoffError(
            f"{path} cannot be written",
            got=error.strerror or str(error),
            expected="a writable folder with free space",
            next_step="Free some space or choose another output_dir; what was written before is untouched.",
        ) from error
    finally:
        with contextlib.suppress(OSError):  # the volume may be gone
            part.unlink(missing_ok=True)


def write_durably(path: Path, content: bytes | str) -> None:
    """Write a whole small file durably; see `durable_file`."""
    with durable_file(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_parts_under(folder: Path) -> None:
    """Remove what interrupted writes left in a folder and below; for the folder's one owner only."""
    for leftover in folder.rglob(f"*{PART}.*"):
        leftover.unlink()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, streamed.

    Raises:
        HandoffError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise HandoffError(f"{path} cannot be read", got=error.strerror or str(error)) from error


def remove_tree(path: Path) -> None:
    """Remove a file or folder if it is there; a link is removed, never followed."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if sys.platform == "darwin":  # there fsync leaves the drive's own cache as it is
            with contextlib.suppress(OSError):  # not every file system knows it
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The user's file mode mask; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
