"""Whatever a hub answers, and whatever stands in a weight file: an error of ours or a result, within seconds.

`make test-long` tries FUZZ_CASES of each kind and writes its part of reports/fuzzing.json; `make test` a handful.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_tensors
from tests.fuzzing.record import record_series
from tests.weights.quiet import Quiet

from sana_wm.errors import DownloadError, SanaWMError
from sana_wm.weights.headers import identity_digest, read_header
from sana_wm.weights.hub import Hub, Limits
from sana_wm.weights.hub_answers import AnswerError, judge_file_answer, parse_listing
from sana_wm.weights.samples import sample_numbers
from sana_wm.weights.transfer import fetch_file

CASES = int(os.environ.get("FUZZ_CASES", "5000"))
SEED = int(os.environ.get("FUZZ_SEED", "20261129"))
DEADLINE_MS = 20_000
CONTENT = bytes(range(256)) * 4
COMMIT = "0" * 40

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("\x1b[31m\u202e"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
ENTRY = {"rfilename": "a.safetensors", "size": len(CONTENT), "blobId": "a" * 40, "lfs": {"sha256": "b" * 64}}
HEADER = {
    "__metadata__": {"a": "b"},
    "x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "y": {"dtype": "BF16", "shape": [4, 2], "data_offsets": [16, 32]},
}


@st.composite
def edited(draw: st.DrawFn, original: dict[str, Any]) -> bytes:
    """JSON in which some values, at any depth, are others."""
    data = json.loads(json.dumps(original))
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = data
        key: Any = draw(st.sampled_from(sorted(holder)))
        while isinstance(holder[key], dict | list) and holder[key] and draw(st.integers(0, 3)):
            holder = holder[key]
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        value = draw(json_values)
        for _ in range(draw(st.sampled_from([0] * 9 + [300, 5000]))):
            value = [value]
        holder[key] = value
    try:
        text = json.dumps(data)
    except (ValueError, RecursionError):
        return b"[" * 100_000
    return text.replace("Infinity", draw(st.sampled_from(["1e999", "Infinity", "-1e999"]))).encode()


@st.composite
def damaged(draw: st.DrawFn, original: bytes) -> bytes:
    """Bytes changed, put in, cut out, or the end gone."""
    data = bytearray(original)
    for _ in range(draw(st.integers(0, 4))):
        position = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["change", "put in", "cut", "end"])):
            case "change" if position < len(data):
                data[position] = draw(st.integers(0, 255))
            case "put in":
                data[position:position] = draw(st.binary(max_size=12))
            case "cut":
                del data[position : position + draw(st.integers(1, 8))]
            case _ if draw(st.booleans()):
                del data[position:]
            case _:
                pass
    return bytes(data)


#: Text as it may stand in a header; the pieces are those that parsers trip over.
PIECES = st.sampled_from(
    ["bytes ", "0", "5", "512", "1023", "1024", "-", "/", "*", " ", ",", "²", "9" * 30, "text/html", "gzip", "identity"]
)
VALUES = st.lists(PIECES, max_size=8).map("".join) | st.text(alphabet=st.characters(max_codepoint=255), max_size=30)
RANGES = st.builds(
    "bytes {}-{}/{}".format,
    st.sampled_from([0, 5, 512, -1, 1023]),
    st.sampled_from([1023, 1024, 0, 700]),
    st.sampled_from([1024, "*", 1023, 0]),
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-length": st.sampled_from(["1024", "512", "0", "-5", "1" * 30]) | VALUES,
        "content-range": RANGES | VALUES,
        "content-type": VALUES,
        "content-encoding": VALUES,
        "transfer-encoding": st.just("chunked"),
        "retry-after": st.sampled_from(["5", "-5", "²", "9" * 5000, "Fri, 31 Dec 2027 23:59:59 GMT"]) | VALUES,
        "location": st.sampled_from(["/", "file:///etc/passwd", "http://[", "//", "http://0:0"]) | VALUES,
    },
)
STATUS = st.sampled_from([200, 206, 206, 206, 204, 301, 302, 304, 400, 401, 403, 404, 416, 429, 500, 503, 599])


def use_listing(body: bytes, folder: Path) -> None:
    try:
        listed = parse_listing("some/model", body)
    except AnswerError as error:
        raise DownloadError([]) from error
    for file in listed.files:
        assert file.name.isprintable()
        assert ".." not in file.name.split("/")
        assert 0 <= file.size_bytes < 2**63


def use_headers(case: tuple[int, dict[str, str], int], folder: Path) -> None:
    status, headers, position = case
    try:
        span = judge_file_answer(status, headers, position, len(CONTENT))
    except AnswerError as error:
        raise DownloadError([]) from error
    assert span.start_bytes in (0, position)
    assert span.start_bytes < span.end_bytes <= len(CONTENT)


def use_weight_file(content: bytes, folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(content)
    header = read_header(path)
    identity_digest(path)
    if sample_numbers(header, str).problem:
        raise DownloadError([])


class RawServer:
    """Sends whatever bytes it is given to whoever connects, and hangs up."""

    def __init__(self) -> None:
        self.answer = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(5)
                try:
                    while b"\r\n\r\n" not in (got := connection.recv(65536)) and got:
                        pass
                    connection.sendall(self.answer)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    continue


@pytest.fixture(scope="module")
def server() -> RawServer:
    return RawServer()


def as_answer(case: tuple[int, dict[str, str], bytes]) -> bytes:
    status, headers, body = case
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body


def ask(server: RawServer, said: list[str]) -> Hub:
    endpoint = f"http://127.0.0.1:{server.port}"
    limits = Limits(answer_s=5, window_s=5)
    return Hub(said.append, endpoint=endpoint, token=False, sleep=lambda _: None, limits=limits)


def use_api_answer(server: RawServer) -> Callable[[bytes, Path], None]:
    def use(answer: bytes, folder: Path) -> None:
        server.answer = answer
        said: list[str] = []
        told = ""
        try:
            ask(server, said).open_repository("some/model")
        except DownloadError as error:
            told = str(error)
            raise
        finally:
            assert all(char.isprintable() or char == "\n" for char in "".join([told, *said]))

    return use


def use_file_answer(server: RawServer) -> Callable[[bytes, Path], None]:
    remote = parse_listing("some/model", json.dumps({"sha": COMMIT, "siblings": [ENTRY]}).encode())

    def use(answer: bytes, folder: Path) -> None:
        """The hash is never right: what counts is that what is here stays, and ends in an error."""
        server.answer = answer
        part = folder / f"a.safetensors.{'b' * 12}.part"
        part.write_bytes(CONTENT[:512])
        try:
            fetch_file(ask(server, []), remote, remote.files[0], folder / "a.safetensors", Quiet())
        finally:
            kept = part.read_bytes() if part.exists() else CONTENT
            assert kept[:512] == CONTENT[:512]
            assert len(kept) <= len(CONTENT)
            assert not (folder / "a.safetensors").exists()

    return use


def safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(range(32))


TENSORS = {"x": np.arange(60, dtype=np.float32).reshape(6, 10), "y": np.full((4, 3), np.nan, np.float16)}
LISTING = {"sha": COMMIT, "siblings": [ENTRY, ENTRY | {"rfilename": "vae/config.json"}]}
BODIES = edited(LISTING) | damaged(json.dumps(LISTING).encode()) | st.binary(max_size=60)
FILE_BODIES = st.sampled_from([CONTENT, CONTENT[512:], CONTENT[5:], CONTENT * 3, b"<html>Log in</html>", b""])
KINDS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "listing": (BODIES, use_listing),
    "headers of a file": (st.tuples(STATUS, HEADERS, st.sampled_from([0, 5, 512, 1023])), use_headers),
    "weight file": (
        edited(HEADER).map(safetensors)
        | damaged(safetensors(json.dumps(HEADER).encode()))
        | damaged(save_tensors(TENSORS)),
        use_weight_file,
    ),
    "answer of the API": (
        (st.tuples(STATUS, HEADERS, BODIES).map(as_answer) | st.binary(max_size=80)).flatmap(damaged),
        use_api_answer,
    ),
    "answer with a file": (
        (st.tuples(STATUS, HEADERS, FILE_BODIES).map(as_answer) | st.binary(max_size=80)).flatmap(damaged),
        use_file_answer,
    ),
}
OVER_A_SOCKET = ("answer of the API", "answer with a file")


def try_kind(name: str, cases: int, folder: Path, server: RawServer) -> Counter[str]:
    strategy, use = KINDS[name]
    use = use(server) if name in OVER_A_SOCKET else use
    outcomes: Counter[str] = Counter()

    @seed(SEED)
    @settings(max_examples=cases, deadline=DEADLINE_MS, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def attempt(case: Any) -> None:
        try:
            use(case, folder)
            outcomes["accepted"] += 1
        except SanaWMError:
            outcomes["refused"] += 1

    attempt()
    return outcomes


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two attempts: a third would see the same."""
    monkeypatch.setattr("sana_wm.weights.retries.ATTEMPTS", 2)


@pytest.mark.parametrize("name", KINDS)
def test_a_handful_of_each_kind(name: str, tmp_path: Path, server: RawServer, impatient: None) -> None:
    assert sum(try_kind(name, 40, tmp_path, server).values()) >= 30


@pytest.mark.long
def test_thousands_of_each_kind(tmp_path: Path, server: RawServer, impatient: None) -> None:
    counts = {name: dict(try_kind(name, CASES, tmp_path, server)) for name in KINDS}
    record_series(
        "hub answers",
        "answers of a hub, and weight files: an error of ours or a result",
        f"FUZZ_CASES={CASES} FUZZ_SEED={SEED} pytest -m long tests/fuzzing/test_fuzzing_hub.py",
        SEED,
        sum(sum(outcomes.values()) for outcomes in counts.values()),
        counts,
    )
