"""How long to go on with a hub that fails, and what its failures mean."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  httpx's or httpx2's, whichever it uses
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sana_wm.errors import DownloadError, Problem, printable
from sana_wm.weights.hub_answers import AnswerError

ATTEMPTS = 6  # in vain, one after the other: waits of 0, 1, 2, 4, 8 s; then the user is asked
LONGEST_VAIN_S = 60.0  # of attempts without progress, however few
LONGEST_WAIT_S = 600
LONGEST_SANE_WAIT_S = 7 * 24 * 3600  # what asks for more than a week does not mean it
FLOOR_BYTES_PER_S = 1024  # 103 GB would take three years
PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
LASTING_ERRORS = ("TooManyRedirects", "UnsupportedProtocol")  # of the HTTP client; both go through httpx and httpx2
HUB_ERRORS = (HTTPError, OfflineModeIsEnabled, AnswerError)  # what asking the hub can raise
GO_ON = "Run the same command again: it goes on where it stopped."


class Retries:
    """How long to go on in vain: every failure without progress waits longer, progress forgives all.

    Args:
        say: Takes a line for the user.
        sleep: Waits some seconds.
        repo_id: For messages.
        name: The file that is fetched, if any.
    """

    def __init__(
        self, say: Callable[[str], None], sleep: Callable[[float], None], repo_id: str, name: str | None = None
    ) -> None:
        self._say, self._sleep, self._repo_id, self._name = say, sleep, repo_id, name
        self._failures, self._vain_s = 0, 0.0
        self._began_s = time.monotonic()

    def begin(self) -> None:
        """An attempt begins now."""
        self._began_s = time.monotonic()

    def wait_after(self, error: Exception, gained_bytes: int = 0) -> None:
        """Wait for the next attempt.

        Args:
            error: How the attempt ended.
            gained_bytes: What it brought; forgives what was before unless it was a drip.

        Raises:
            DownloadError: Going on would be in vain, or has been too long.
        """
        took_s = time.monotonic() - self._began_s
        if gained_bytes > FLOOR_BYTES_PER_S * took_s:
            self._failures, self._vain_s = 0, 0.0
        else:
            self._vain_s += took_s
        self._failures += 1
        asked_s = retry_after_s(error)
        is_over = self._failures >= ATTEMPTS or self._vain_s >= LONGEST_VAIN_S
        if not _is_passing(error) or is_over or asked_s > LONGEST_WAIT_S:
            raise DownloadError([explain(error, self._repo_id, self._name)]) from error
        wait_s = max(asked_s, 0 if self._failures == 1 else 2 ** (self._failures - 2))
        if wait_s:
            self._say(f"{self._name or self._repo_id}: {_reason(error)}; next attempt in {wait_s} s")
        self._sleep(wait_s)


def _is_passing(error: Exception) -> bool:
    if isinstance(error, AnswerError):
        return error.passing
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING_STATUS
    return not isinstance(error, OfflineModeIsEnabled) and type(error).__name__ not in LASTING_ERRORS


def explain(error: Exception, repo_id: str, name: str | None = None) -> Problem:
    """What a failure of the hub means for the user, and what to do."""
    where = f"{repo_id}/{name}" if name else repo_id
    page = f"https://huggingface.co/{repo_id}"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    got, expected = _reason(error), None
    match error:
        case AnswerError():
            what, got, expected, step = error.what, error.got, error.expected, f"{error.next_step} {GO_ON}"
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
            asked_s = retry_after_s(error)
            what, got = "the hub asks for fewer requests", f"{got}, wait {asked_s} s" if asked_s else got
            step = f"Wait, or log in for a higher limit: `hf auth login`. {GO_ON}"
        case _ if type(error).__name__ in LASTING_ERRORS:
            what, step = "the hub sends us somewhere that cannot be reached", "Look at HF_ENDPOINT and the proxies."
        case _:
            what = "the hub fails" if status else "the connection to the hub fails"
            step = f"Look at the network and https://status.huggingface.co. {GO_ON}"
    return Problem(where, what, got, expected, next_step=step)


def retry_after_s(error: Exception) -> int:
    """The seconds that a refusal asks to wait for, as a number or a date; 0 where it asks for nothing sane.

    Source: RFC 9110, section 10.2.3.
    """
    if not isinstance(error, HfHubHTTPError) or error.response.status_code not in PASSING_STATUS:
        return 0
    text = error.response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        asked_s = int(text)
    else:
        try:
            date = parsedate_to_datetime(text)
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            asked_s = round((date - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError, OverflowError, IndexError):
            return 0
    return asked_s if 0 < asked_s <= LONGEST_SANE_WAIT_S else 0


def _reason(error: Exception) -> str:
    """A short reason without addresses: those of the hub's storage are signed, and logs are shown around."""
    if isinstance(error, HfHubHTTPError):
        return f"HTTP {error.response.status_code}"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return printable(lines[0][:200]) if lines else type(error).__name__
