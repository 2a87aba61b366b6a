"""What a hub may answer: judged before it is believed. Bytes and headers in, typed objects or an error out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sana_wm.errors import DownloadError, Problem, printable

#: A listing of 200 files has 50 kB.
MAX_ANSWER_BYTES = 16 * 1024**2
MAX_NAME_BYTES, MAX_PART_BYTES = 1024, 200  # a part of a path; `.HASH.part` must still fit into the 255 of a volume
MAX_FILE_BYTES = 2**48
SHOWN_CHARACTERS = 80
NO_MIRROR = "HF_ENDPOINT points to a mirror that does not speak the hub's language, or the network stands in between."
PORTAL = "Open any page in a browser: a hotel's or a company's network may want a login first. Then run it again."


class AnswerError(Exception):
    """An answer that is not what was asked for.

    Attributes:
        what: What is wrong.
        got: What came.
        expected: What would have been right.
        next_step: What the user can do.
        passing: Whether asking again may help.
    """

    def __init__(
        self, what: str, got: str, expected: str | None = None, *, next_step: str = PORTAL, passing: bool = True
    ) -> None:
        self.what, self.got, self.expected, self.next_step, self.passing = what, got, expected, next_step, passing
        super().__init__(f"{what}, got {got}")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: large ones have a SHA-256, small ones git's SHA-1 of the blob."""

    name: str
    size_bytes: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class RemoteRepository:
    """A repository at one commit."""

    repo_id: str
    commit: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True)
class Span:
    """The bytes of a file that an answer holds.

    Attributes:
        start_bytes: Where they begin.
        end_bytes: Where they end.
        is_measured: Whether the answer says its length; without one, its end does not show whether it is whole.
    """

    start_bytes: int
    end_bytes: int
    is_measured: bool


class _Said(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Lfs(_Said):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class _Sibling(_Said):
    rfilename: str
    size: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]
    blob_id: Annotated[str | None, Field(alias="blobId", pattern=r"^[0-9a-fA-F]{40}$")] = None
    lfs: _Lfs | None = None


class _Listing(_Said):
    sha: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    siblings: list[_Sibling]


def parse_listing(repo_id: str, body: bytes) -> RemoteRepository:
    """The files of a repository, as the hub lists them.

    Raises:
        AnswerError: It is not such a list.
        DownloadError: It is one and cannot be trusted; every problem is named.
    """
    try:
        listing = _Listing.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        got = f"{excerpt(body)} ({f'{where}: ' if where else ''}{first['msg']})"
        raise AnswerError(
            "the hub does not answer with a list of files", got, next_step=f"{NO_MIRROR} {PORTAL}", passing=False
        ) from error
    files = tuple(
        RemoteFile(
            entry.rfilename,
            entry.size,
            entry.lfs.sha256.lower() if entry.lfs else None,
            entry.blob_id.lower() if entry.blob_id else None,
        )
        for entry in listing.siblings
    )
    if problems := [problem for problem in _distrust(repo_id, files) if problem]:
        raise DownloadError(problems)
    return RemoteRepository(repo_id, listing.sha, files)


def _distrust(repo_id: str, files: tuple[RemoteFile, ...]) -> list[Problem | None]:
    """What the public hub never says, but a mirror could."""
    names = [file.name for file in files]
    twice = len(names) - len(set(names))
    return [
        *(_distrust_name(repo_id, name) for name in names),
        *(
            Problem(f"{repo_id}/{file.name}", "the hub gives no hash for this file", next_step=NO_MIRROR)
            for file in files
            if file.sha256 is None and file.git_sha1 is None
        ),
        Problem(repo_id, "the hub names a file twice", got=f"{twice} names", next_step=NO_MIRROR) if twice else None,
    ]


def _distrust_name(repo_id: str, name: str) -> Problem | None:
    shown = repr(name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}…")
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in name:
        return Problem(repo_id, "a file's name leads out of its repository", got=shown, next_step=NO_MIRROR)
    if printable(name) != name or "\n" in name:
        return Problem(repo_id, "a file's name has control characters", got=shown, next_step=NO_MIRROR)
    if len(name.encode()) > MAX_NAME_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        return Problem(repo_id, "a file's name is too long", got=shown, next_step=NO_MIRROR)
    return None


def judge_file_answer(status: int, headers: Mapping[str, str], position: int, size_bytes: int) -> Span:
    """Which bytes of a file an answer holds, held against what is known of the file before one is written.

    Args:
        status: Of HTTP.
        headers: By name in lower case.
        position: From where the file was asked for.
        size_bytes: The file's size as the hub lists it.

    Raises:
        AnswerError: It is not this file, or not from there.
    """
    kind = headers.get("content-type", "")[:SHOWN_CHARACTERS]
    encoding = headers.get("content-encoding", "identity")[:SHOWN_CHARACTERS].strip().lower()
    length = None if "transfer-encoding" in headers else _whole_number(headers.get("content-length"))
    got = f"HTTP {status}{f', {kind}' if kind else ''}, {'length unknown' if length is None else f'{length} bytes'}"
    if "html" in kind.lower():
        raise AnswerError("a web page came instead of the file", got, f"{size_bytes - position} bytes")
    if encoding not in ("", "identity"):
        raise AnswerError("the file came compressed, though it was asked for as it is", f"{got}, {encoding}")
    if status == 206:
        return _judge_range(headers.get("content-range"), length, position, size_bytes)
    if status != 200:
        raise AnswerError("the answer is no file", got, "HTTP 200 or 206")
    if length not in (None, size_bytes):
        raise AnswerError("the answer has not the file's size", got, f"{size_bytes} bytes")
    return Span(0, size_bytes, length is not None)


def _judge_range(said: str | None, length: int | None, position: int, size_bytes: int) -> Span:
    got, right = f"HTTP 206, Content-Range {said!r:.80}", f"bytes {position}-{size_bytes - 1}/{size_bytes}"
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", (said or "").strip(), re.ASCII)
    if found is None:
        raise AnswerError("the answer does not say which part of the file it is", got, right)
    first, last = int(found[1]), int(found[2])
    if first != position or not first <= last < size_bytes or found[3] not in ("*", str(size_bytes)):
        raise AnswerError("the answer is another part of the file", got, right)
    if length not in (None, last + 1 - first):
        raise AnswerError("the answer contradicts itself", f"{got}, {length} bytes", right)
    return Span(first, last + 1, length is not None)


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,18}", text) else None


def excerpt(body: bytes) -> str:
    """The beginning of an answer, for a message."""
    text = " ".join(printable(body[: 4 * SHOWN_CHARACTERS].decode(errors="replace")).split())
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…")
