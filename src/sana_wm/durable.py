"""Files that another process will trust: whole under their name, or not there at all.

Write order (after restic's): a temporary name in the same folder, flush, fsync, rename, fsync of the folder. Whoever
names such a file in a receipt does so after this, so that a name never points to less than the whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Generator
from pathlib import Path

from sana_wm.errors import HandoffError

#: What `part_path` names end in, before their suffix: leftovers of interrupted writes, never read.
PART = ".part"
#: How a system says that there is no room.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def part_path(path: Path) -> Path:
    """Where a file is written until it is whole; the suffix stays last, because ffmpeg reads the format off it."""
    return path.with_name(f"{path.stem}{PART}{path.suffix}")


def is_part(path: Path) -> bool:
    """Whether a name is one that `part_path` makes."""
    return f"{PART}." in path.name


#: Called at every named point of a write with the point and the file's final path; only the tests that kill or fail a
#: process at each of them set it.
on_point: Callable[[str, Path], None] | None = None


def publish(part: Path, path: Path) -> None:
    """Give a finished file its name so that neither a crash nor a power cut leaves half of it under that name."""
    part.chmod(0o666 & ~_umask())  # some writers, safetensors among them, leave 0600 whatever the user wants
    _reach("before fsync", path)
    _sync(part)
    _reach("after fsync", path)
    _reach("before rename", path)
    part.replace(path)
    _reach("after rename", path)
    _reach("before folder fsync", path)
    _sync(path.parent)
    _reach("after folder fsync", path)


@contextlib.contextmanager
def durable_file(path: Path, size_bytes: int | None = None) -> Generator[Path]:
    """Yield a temporary path to write; on success it becomes `path`, on failure it is removed.

    Args:
        path: The file.
        size_bytes: What it will hold, as far as that is known before: for the message when there is no space.

    Raises:
        HandoffError: The file cannot be written (no space, read-only, vanished volume).
    """
    part = part_path(path)
    try:
        _make_folder(path.parent)
        _reach("before write", path)
        yield part
        _reach("after write", path)
        publish(part, path)
    except OSError as error:
        if (source := _other_file(error, path, part)) is not None:
            raise HandoffError(
                f"{source} cannot be read", got=error.strerror, next_step="Check its permissions and its volume."
            ) from error
        raise HandoffError(
            f"{path} cannot be written",
            got=error.strerror or str(error),
            expected=_wanted_room(path, part, size_bytes) if error.errno in NO_SPACE else "a folder to write to",
            next_step="Free some space or choose another output_dir; what was written before is untouched.",
        ) from error
    finally:
        with contextlib.suppress(OSError):  # the volume may be gone
            part.unlink(missing_ok=True)


def write_durably(path: Path, content: bytes | str) -> None:
    """Write a whole small file durably; see `durable_file`."""
    data = content.encode() if isinstance(content, str) else content
    with durable_file(path, len(data)) as part:
        part.write_bytes(data)


def remove_parts_under(folder: Path) -> None:
    """Remove what interrupted writes left in a folder and below; for the folder's one owner only."""
    for path in folder.rglob("*"):
        if is_part(path) and not path.is_dir():
            path.unlink(missing_ok=True)  # an orphan that ends now may take its own away


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
        if sys.version_info >= (3, 12):
            shutil.rmtree(path, onexc=_pass_over_the_gone)
        else:
            shutil.rmtree(path, onerror=lambda function, name, found: _pass_over_the_gone(function, name, found[1]))


def _pass_over_the_gone(_function: object, _path: str, error: BaseException) -> None:
    """On volumes without extended attributes macOS keeps `._NAME` beside NAME, and removes it with NAME."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _reach(point: str, path: Path) -> None:
    if on_point is not None:
        on_point(point, path)


def _make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that a power cut does not take the entry that names it."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync(made.parent)


def _other_file(error: OSError, path: Path, part: Path) -> str | None:
    """The file that an error names, where it is none that is written: what is written comes from somewhere."""
    if not isinstance(error.filename, str) or error.filename2 is not None or error.errno in NO_SPACE:
        return None
    named = Path(error.filename)
    return None if named in (path, part, *path.parents) else error.filename


def _wanted_room(path: Path, part: Path, size_bytes: int | None) -> str:
    """How many bytes are needed, in words; at least what was written when it is not known."""
    with contextlib.suppress(OSError):
        free_bytes = shutil.disk_usage(path.parent).free
        written_bytes = part.stat().st_size if part.exists() else 0
        needed = f"{size_bytes} bytes" if size_bytes is not None else f"more than {written_bytes + free_bytes} bytes"
        return f"{needed} of free space, where {written_bytes + free_bytes} are"
    return "free space"


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
