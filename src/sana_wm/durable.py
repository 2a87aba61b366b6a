"""Files that another process will trust: whole under their name, or not there at all.

Write order (after restic's): a temporary name in the same folder, flush, fsync, rename, fsync of the folder. Whoever
names such a file in a receipt does so after this, so that a name never points to less than the whole. All of it goes
through the folder's handle (`sana_wm.held`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO

from sana_wm.errors import HandoffError
from sana_wm.held import UNKNOWN, open_folder, pass_over, sync_folder

#: Temporary names: nobody else makes such, and no two writers the same.
_PART = re.compile(r"\.sana-wm-[0-9a-f]{16}\.part(\..*)?")
#: How a system says that there is no room.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def part_path(path: Path) -> Path:
    """A new name beside `path` for what becomes it; the suffix stays last, because ffmpeg reads the format off it."""
    return path.with_name(f".sana-wm-{secrets.token_hex(8)}.part{path.suffix}")


def is_part(path: Path) -> bool:
    """Whether a name is one that `part_path` gives."""
    return _PART.fullmatch(path.name) is not None


#: Called at every named point of a write with the point and the file's final path; only the tests that kill or fail a
#: process at each of them set it.
on_point: Callable[[str, Path], None] | None = None


def make_part(path: Path) -> Path:
    """Make the empty file in which `path` is written until it is whole, and its folder where that is missing.

    Returns:
        Its path; see `part_path`.

    Raises:
        HandoffError: The held folder that it lies in went away.
        OSError: It cannot be made.
    """
    part = part_path(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open_folder(path.parent, make=True) as folder:
        os.close(os.open(part.name, flags, 0o666, dir_fd=folder))
    return part


def publish(part: Path, path: Path) -> None:
    """Give a finished file its name so that neither a crash nor a power cut leaves half of it under that name.

    Raises:
        HandoffError: The held folder that it lies in went away.
        OSError: It cannot be done.
    """
    _reach("before fsync", path)
    with _naming(path), open_folder(path.parent) as folder:
        file = os.open(part.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            _allow_readers(file)
            _sync_file(file)
        finally:
            os.close(file)
        _reach("after fsync", path)
        _reach("before rename", path)
        os.replace(part.name, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        _reach("after rename", path)
        _reach("before folder fsync", path)
        sync_folder(folder)
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
    part = None
    try:
        part = make_part(path)
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
        if part is not None:
            discard(part)


def discard(part: Path) -> None:
    """Remove a temporary file, if it is still there and so is its volume."""
    with contextlib.suppress(OSError, HandoffError):
        remove_file(part)


def write_durably(path: Path, content: bytes | str) -> None:
    """Write a whole small file durably; see `durable_file`."""
    data = content.encode() if isinstance(content, str) else content
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with (
        durable_file(path, len(data)) as part,
        open_folder(part.parent) as folder,
        os.fdopen(os.open(part.name, flags, dir_fd=folder), "wb") as file,
    ):
        file.write(data)


def open_to_append(path: Path) -> BinaryIO:
    """Open a log, never through a link; it and its folder are made where they are missing.

    Raises:
        HandoffError: The held folder that it lies in went away.
        OSError: It cannot be opened.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open_folder(path.parent, make=True) as folder:
        return os.fdopen(os.open(path.name, flags, 0o666, dir_fd=folder), "ab")


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing.

    Raises:
        HandoffError: The held folder that it lies in went away.
        OSError: It cannot be made.
    """
    with open_folder(folder, make=True):
        pass


def remove_parts_in(folder: Path) -> None:
    """Remove what interrupted writes left in one folder; for the folder's one owner only."""
    if folder.is_dir() and not folder.is_symlink():
        for path in folder.iterdir():
            if is_part(path) and not path.is_dir():
                remove_file(path)  # an orphan that ends now may take its own away


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


def remove_file(path: Path) -> None:
    """Remove a file if it is there; a link is removed, never followed.

    Raises:
        HandoffError: The held folder that it lies in went away.
        OSError: It cannot be removed.
    """
    with contextlib.suppress(FileNotFoundError), _naming(path), open_folder(path.parent) as folder:
        os.unlink(path.name, dir_fd=folder)


def remove_tree(path: Path) -> None:
    """Remove a file or folder if it is there; as `remove_file`."""
    if path.is_symlink() or not path.is_dir():
        remove_file(path)
        return
    with _naming(path), open_folder(path.parent) as folder:
        if sys.version_info >= (3, 12):
            shutil.rmtree(path.name, onexc=_pass_over_the_gone, dir_fd=folder)
        else:
            shutil.rmtree(
                path.name,
                onerror=lambda function, name, found: _pass_over_the_gone(function, name, found[1]),
                dir_fd=folder,
            )


def remove_empty_folder(path: Path) -> None:
    """Remove a folder in which nothing lies; one that is not empty, no folder, or gone stays as it is.

    Raises:
        HandoffError: The held folder that it lies in went away.
        OSError: It cannot be removed.
    """
    with open_folder(path.parent) as folder:
        try:
            os.rmdir(path.name, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.ENOENT):
                raise


def move_folder(source: Path, target: Path) -> None:
    """Move a folder within a volume to where there is none; the folder above is made where it is missing.

    Raises:
        HandoffError: The held folder that it lies in went away.
        OSError: It cannot be moved.
    """
    with open_folder(source.parent) as here, open_folder(target.parent, make=True) as there:
        os.rename(source.name, target.name, src_dir_fd=here, dst_dir_fd=there)


def _pass_over_the_gone(_function: object, _path: str, error: BaseException) -> None:
    """On volumes without extended attributes macOS keeps `._NAME` beside NAME, and removes it with NAME."""
    if not isinstance(error, FileNotFoundError):
        raise error


@contextlib.contextmanager
def _naming(path: Path) -> Generator[None]:
    """Say the whole path in an error: below a handle it holds the name alone."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _reach(point: str, path: Path) -> None:
    if on_point is not None:
        on_point(point, path)


def _other_file(error: OSError, path: Path, part: Path | None) -> str | None:
    """The file that an error names, where it is none that is written: what is written comes from somewhere."""
    if not isinstance(error.filename, str) or error.filename2 is not None or error.errno in NO_SPACE:
        return None
    named = Path(error.filename)  # a name alone is one below a handle: of what is written
    return None if not named.is_absolute() or named in (path, part, *path.parents) else error.filename


def _wanted_room(path: Path, part: Path | None, size_bytes: int | None) -> str:
    """How many bytes are needed, in words; at least what was written when it is not known."""
    with contextlib.suppress(OSError):
        free_bytes = shutil.disk_usage(path.parent).free
        written_bytes = part.stat().st_size if part is not None and part.exists() else 0
        needed = f"{size_bytes} bytes" if size_bytes is not None else f"more than {written_bytes + free_bytes} bytes"
        return f"{needed} of free space, where {written_bytes + free_bytes} are"
    return "free space"


def _allow_readers(file: int) -> None:
    """Some writers, safetensors among them, put a file of mode 0600 in its place, whatever the user wants."""
    if stat.S_IMODE(os.fstat(file).st_mode) == 0o600:
        refusals = (*UNKNOWN, errno.EPERM)
        pass_over(refusals, "let others read: files stay yours alone", lambda: os.fchmod(file, 0o666 & ~_umask()))


def _sync_file(file: int) -> None:
    os.fsync(file)
    if sys.platform == "darwin":  # there fsync leaves the drive's own cache as it is
        what = "empty its drive's cache: a power cut may damage the newest files"
        pass_over(UNKNOWN, what, lambda: fcntl.fcntl(file, fcntl.F_FULLFSYNC))


def _umask() -> int:
    """The user's file mode mask; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
