"""The Hugging Face hub: what a repository holds, and a file's bytes from any position on.

`huggingface_hub` does the talking (login, endpoint, offline mode, redirects, errors). Its own downloads start over
after a crash or a Ctrl-C: a partial file carries a random name and is deleted (huggingface_hub pull request
4228). A file of 38 GB wants better, hence `stream`, and `transfer.py` on top of it.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

from huggingface_hub import HfApi, get_session, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  httpx's or httpx2's, whichever it uses
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from sana_wm import __version__
from sana_wm.errors import DownloadError, Problem

ATTEMPTS = 6  # in vain, one after the other: waits of 0, 1, 2, 4, 8 s; then the user is asked
LONGEST_WAIT_S = 600
PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
TIMEOUT_S = 30.0
HUB_ERRORS = (HTTPError, OfflineModeIsEnabled)  # what asking the hub can raise
GO_ON = "Run the same command again: it goes on where it stopped."

T = TypeVar("T")


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


class Hub:
    """A connection to the hub.

    Args:
        say: Takes a line for the user: what is waited for.
        endpoint: Its address; None means `HF_ENDPOINT` or the public one.
        token: False to go without the stored login.
        sleep: Waits some seconds.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        endpoint: str | None = None,
        token: bool | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = HfApi(endpoint=endpoint, token=token, library_name="sana-wm", library_version=__version__)
        self._headers = build_hf_headers(token=token, library_name="sana-wm", library_version=__version__)
        self.say = say
        self.sleep = sleep

    def open_repository(self, repo_id: str) -> RemoteRepository:
        """What a repository holds now, if the user may read it.

        Raises:
            DownloadError: It is missing, gated, or the hub cannot be reached.
        """
        info = self._patiently(repo_id, lambda: self._api.model_info(repo_id, revision="main", files_metadata=True))
        self._patiently(repo_id, lambda: self._api.auth_check(repo_id))
        files = tuple(
            RemoteFile(entry.rfilename, entry.size or 0, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
            for entry in info.siblings or ()
        )
        if problems := [problem for file in files for problem in _distrust(repo_id, file)]:
            raise DownloadError(problems)
        return RemoteRepository(repo_id, info.sha or "main", files)

    def _patiently(self, repo_id: str, ask: Callable[[], T]) -> T:
        patience = Patience(self, repo_id)
        while True:
            try:
                return ask()
            except HUB_ERRORS as error:
                patience.bear(error)

    @contextlib.contextmanager
    def stream(
        self, repository: RemoteRepository, name: str, start_bytes: int
    ) -> Generator[tuple[int, Iterator[bytes]]]:
        """A file's bytes from a position on, as they arrive.

        Yields:
            The position that the server really starts at (0 from one that does not do ranges) and the bytes.

        Raises:
            HTTPError: The hub's client gives up; this is one attempt.
        """
        url = hf_hub_url(repository.repo_id, name, revision=repository.commit, endpoint=self._api.endpoint)
        headers = {**self._headers, "Accept-Encoding": "identity"}
        if start_bytes:
            headers["Range"] = f"bytes={start_bytes}-"
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as response:
            hf_raise_for_status(response)
            position = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            yield int(position[1]) if position else 0, response.iter_bytes()


class Patience:
    """How long to go on in vain: every failure without progress waits longer, progress forgives all.

    Args:
        hub: Waits and speaks.
        repo_id: For messages.
        name: The file that is fetched, if any.
    """

    def __init__(self, hub: Hub, repo_id: str, name: str | None = None) -> None:
        self._hub, self._repo_id, self._name = hub, repo_id, name
        self._failures, self._furthest = 0, 0

    def progressed(self, position: int) -> None:
        """Forget failures if this is further than ever."""
        if position > self._furthest:
            self._failures, self._furthest = 0, position

    def bear(self, error: Exception) -> None:
        """Wait for the next attempt.

        Raises:
            DownloadError: It would be in vain, or has been too often.
        """
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        passing = status in PASSING_STATUS if status else not isinstance(error, OfflineModeIsEnabled)
        asked_s = _retry_after_s(error)
        self._failures += 1
        if not passing or self._failures >= ATTEMPTS or asked_s > LONGEST_WAIT_S:
            raise DownloadError([explain(error, self._repo_id, self._name)]) from error
        wait_s = max(asked_s, 0 if self._failures == 1 else 2 ** (self._failures - 2))
        if wait_s:
            self._hub.say(f"{self._name or self._repo_id}: {_reason(error)}; next attempt in {wait_s} s")
        self._hub.sleep(wait_s)


def explain(error: Exception, repo_id: str, name: str | None = None) -> Problem:
    """What a failure of the hub means for the user, and what to do."""
    where = f"{repo_id}/{name}" if name else repo_id
    page = f"https://huggingface.co/{repo_id}"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    got = _reason(error)
    match error:
        case OfflineModeIsEnabled():
            what, got = "offline mode forbids asking the hub", "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set"
            step = "Unset it, or copy the files from another machine and run `sana-wm weights verify`."
        case GatedRepoError():
            what = "this repository asks you to accept its terms first"
            step = f"Accept them on {page}, then log in: `hf auth login` (or set HF_TOKEN), and run this again."
        case RevisionNotFoundError():
            what, step = "the repository has no branch main", f"See {page}/commits and report this message."
        case RemoteEntryNotFoundError():
            what, step = "the repository has no such file", f"See {page}/tree; it may have been moved or renamed."
        case RepositoryNotFoundError():
            what = "there is no such repository, or your login may not see it"
            step = f"Open {page}; if you can see it there, log in: `hf auth login` (or set HF_TOKEN)."
        case _ if status in (401, 403):
            what = "the hub does not accept your login" if status == 401 else "your login may not read this repository"
            step = (
                "Log in anew: `hf auth login`, or correct HF_TOKEN; the token needs the right to read this repository."
            )
        case _ if status == 429:
            asked_s = _retry_after_s(error)
            what, got = "the hub asks for fewer requests", f"{got}, wait {asked_s} s" if asked_s else got
            step = f"Wait, or log in for a higher limit: `hf auth login`. {GO_ON}"
        case _:
            what = "the hub fails" if status else "the connection to the hub fails"
            step = f"Look at the network and https://status.huggingface.co. {GO_ON}"
    return Problem(where, what, got, next_step=step)


def _distrust(repo_id: str, file: RemoteFile) -> Iterator[Problem]:
    """What the public hub never says, but a mirror could."""
    step = "HF_ENDPOINT points to a mirror that does not speak the hub's language: use another."
    if any(part in ("", ".", "..") for part in file.name.split("/")):
        yield Problem(repo_id, "a file's name leads out of its repository", got=file.name, next_step=step)
    if file.sha256 is None and file.git_sha1 is None:
        yield Problem(f"{repo_id}/{file.name}", "the hub gives no hash for this file", next_step=step)


def _retry_after_s(error: Exception) -> int:
    if not isinstance(error, HfHubHTTPError):
        return 0
    value = error.response.headers.get("Retry-After", "")
    return int(value) if value.isdigit() else 0


def _reason(error: Exception) -> str:
    """A short reason without addresses: those of the hub's storage are signed, and logs are shown around."""
    if isinstance(error, HfHubHTTPError):
        return f"HTTP {error.response.status_code}"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
