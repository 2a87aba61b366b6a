"""The Hugging Face hub: what a repository holds, and a file's bytes from any position on.

`huggingface_hub` does the talking (login, endpoint, offline mode, redirects, errors). Its own downloads start over
after a crash or a Ctrl-C: a partial file carries a random name and is deleted (huggingface_hub pull request
4228). A file of 38 GB wants better, hence `stream`, and `transfer.py` on top of it. Nothing that comes is believed
before it is judged (`hub_answers.py`), and nothing is waited for without end (`clocked.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from huggingface_hub import constants, get_session, hf_hub_url
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from sana_wm import __version__
from sana_wm.weights.clocked import ClockedCalls
from sana_wm.weights.hub_answers import (
    MAX_ANSWER_BYTES,
    NO_MIRROR,
    AnswerError,
    RemoteFile,
    RemoteRepository,
    Span,
    excerpt,
    judge_file_answer,
    parse_listing,
)
from sana_wm.weights.retries import FLOOR_BYTES_PER_S, HUB_ERRORS, Retries

TIMEOUT_S = 20.0  # from byte to byte
#: What an error's type and message are made of. Anything else that comes with a refusal stays outside: its body may
#: have no end, and the client would print a warning header raw.
REFUSAL_HEADERS = ("X-Error-Code", "X-Error-Message", "Retry-After")

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """How long a hub may take.

    Attributes:
        answer_s: For a whole answer of its API, and for the beginning of a file.
        window_s: In this time a file must bring `FLOOR_BYTES_PER_S` times as many bytes.
    """

    answer_s: float = 20.0
    window_s: float = 10.0


class Hub:
    """A connection to the hub.

    Args:
        say: Takes a line for the user: what is waited for.
        endpoint: Its address; None means `HF_ENDPOINT` or the public one.
        token: False to go without the stored login.
        sleep: Waits some seconds.
        limits: How long it may take.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        endpoint: str | None = None,
        token: bool | None = None,
        sleep: Callable[[float], None] = time.sleep,
        limits: Limits | None = None,
    ) -> None:
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._headers = build_hf_headers(token=token, library_name="sana-wm", library_version=__version__)
        self._limits = limits or Limits()
        self.say = say
        self.sleep = sleep

    def open_repository(self, repo_id: str) -> RemoteRepository:
        """What a repository holds now, if the user may read it.

        Raises:
            DownloadError: It is missing, gated, or the hub cannot be reached or believed.
        """
        listed = self._patiently(repo_id, lambda: parse_listing(repo_id, self._ask(f"{repo_id}/revision/main", "true")))
        self._patiently(repo_id, lambda: self._ask(f"{repo_id}/auth-check"))
        return listed

    def retries(self, repo_id: str, name: str | None = None) -> Retries:
        """For one thing that is asked for."""
        return Retries(self.say, self.sleep, repo_id, name)

    def _patiently(self, repo_id: str, ask: Callable[[], T]) -> T:
        retries = self.retries(repo_id)
        while True:
            retries.begin()
            try:
                return ask()
            except HUB_ERRORS as error:
                retries.wait_after(error)

    def _ask(self, path: str, blobs: str | None = None) -> bytes:
        """One answer of the API, whole and of bounded size and time."""
        parameters = {"blobs": blobs} if blobs else None
        url = f"{self._endpoint}/api/models/{path}"
        with ClockedCalls() as calls:
            try:
                return calls.call(lambda: self._read_answer(url, parameters), self._limits.answer_s)
            except TimeoutError as error:
                raise _too_slow(self._limits.answer_s) from error

    def _read_answer(self, url: str, parameters: dict[str, str] | None) -> bytes:
        response = _open(url, self._headers, parameters)
        try:
            asked = response.history[0].url.host if response.history else response.url.host
            if response.url.host != asked:
                raise AnswerError("another host answers for the hub", response.url.host, asked, passing=False)
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    got, right = f"more than {MAX_ANSWER_BYTES} bytes", "a list of files"
                    raise AnswerError("the hub's answer does not end", got, right, next_step=NO_MIRROR, passing=False)
            return bytes(body)
        finally:
            response.close()

    @contextlib.contextmanager
    def stream(
        self, repository: RemoteRepository, file: RemoteFile, position: int
    ) -> Generator[tuple[Span, Iterator[bytes]]]:
        """A file's bytes from a position on, as they arrive; never more than the answer promised.

        Yields:
            Which bytes these are (from 0 from a server that does not do ranges) and the bytes.

        Raises:
            HTTPError: The hub's client gives up; this is one attempt.
            AnswerError: What comes is not this file, or comes too slowly.
        """
        url = hf_hub_url(repository.repo_id, file.name, revision=repository.commit, endpoint=self._endpoint)
        headers = {**self._headers, "Accept-Encoding": "identity"}
        if position:
            headers["Range"] = f"bytes={position}-"
        with ClockedCalls() as calls:
            try:
                response = calls.call(lambda: _open(url, headers), self._limits.answer_s)
            except TimeoutError as error:
                raise _too_slow(self._limits.answer_s) from error
            try:
                said = {name.lower(): value for name, value in response.headers.items()}
                span = judge_file_answer(response.status_code, said, position, file.size_bytes)
                yield span, self._arriving(calls, response.iter_raw(), span.end_bytes - span.start_bytes)
            finally:
                calls.begin(response.close)

    def _arriving(self, calls: ClockedCalls, chunks: Iterator[bytes], most_bytes: int) -> Iterator[bytes]:
        """What arrives, up to a number of bytes, as long as it is more than a drip."""
        began_s, in_window = time.monotonic(), 0
        coming = calls.begin(lambda: next(chunks, None))
        while True:
            left_s = began_s + self._limits.window_s - time.monotonic()
            if left_s <= 0:
                if in_window < FLOOR_BYTES_PER_S * self._limits.window_s:
                    raise _too_slow(self._limits.window_s, in_window)
                began_s, in_window = time.monotonic(), 0
                continue
            try:
                chunk = coming.result(timeout=left_s)
            except TimeoutError:
                continue
            if chunk is None:
                return
            yield chunk[:most_bytes]
            in_window, most_bytes = in_window + len(chunk), most_bytes - len(chunk)
            if most_bytes <= 0:
                return
            coming = calls.begin(lambda: next(chunks, None))


def _open(url: str, headers: dict[str, str], parameters: dict[str, str] | None = None) -> Any:
    """Ask, and have the beginning of the answer: status and headers.

    Raises:
        HTTPError: The hub refuses, or cannot be reached.
        AnswerError: It sends us where everybody on the way can change what it says.
    """
    session = get_session()
    try:
        request = session.build_request("GET", url, headers=headers, params=parameters, timeout=TIMEOUT_S)
        response = session.send(request, stream=True)
    except ValueError as error:  # addresses that are none
        raise AnswerError(
            "the address of the hub cannot be used", excerpt(str(error).encode()), passing=False
        ) from error
    try:
        _refuse(response)
    except BaseException:
        response.close()
        raise
    return response


def _refuse(response: Any) -> None:
    if any(hop.url.scheme == "https" for hop in response.history) and response.url.scheme != "https":
        raise AnswerError("the hub sends us to a host without encryption", response.url.host, "https", passing=False)
    if response.status_code >= 400:
        kept = {name: ascii(response.headers[name])[1:-1] for name in REFUSAL_HEADERS if name in response.headers}
        hf_raise_for_status(type(response)(response.status_code, headers=kept, request=response.request))


def _too_slow(limit_s: float, in_bytes: int | None = None) -> AnswerError:
    got = "no whole answer" if in_bytes is None else f"{in_bytes} bytes"
    return AnswerError("the hub is too slow", f"{got} in {limit_s:g} s", next_step="Look at the network.")
