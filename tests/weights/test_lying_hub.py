"""A hub that lies, or a network in between: an error of exit 3 or the right file, and never a byte lost."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.weights.quiet import Quiet

from sana_wm.errors import DownloadError
from sana_wm.weights.hub import Hub, Limits
from sana_wm.weights.hub_answers import MAX_ANSWER_BYTES, RemoteFile
from sana_wm.weights.transfer import fetch_file, part_of

REPO = "someone/model"
NAME = "vae/shard.safetensors"
SIZE = 300_000
KEPT = 123_456
QUICK = Limits(answer_s=0.5, window_s=0.3)

Answer = Callable[[Any, bytes, int], bool]


@pytest.fixture
def content(hub: Any, tmp_path: Path) -> bytes:
    content = np.random.default_rng(0).bytes(SIZE)
    (tmp_path / "remote" / "vae").mkdir(parents=True)
    (tmp_path / "remote" / NAME).write_bytes(content)
    hub.repositories[REPO] = tmp_path / "remote"
    return content


class Client:
    """Our side, with few retries."""

    def __init__(self, endpoint: str) -> None:
        self.waits: list[float] = []
        self.said: list[str] = []
        self.hub = Hub(self.said.append, endpoint=endpoint, token=False, sleep=self.waits.append, limits=QUICK)

    def open(self) -> Any:
        return self.hub.open_repository(REPO)

    def fetch(self, destination: Path) -> str:
        repository = self.open()
        return fetch_file(self.hub, repository, repository.files[0], destination, Quiet())


@pytest.fixture
def client(hub: Any, content: bytes) -> Client:
    return Client(hub.endpoint)


@pytest.fixture
def part(client: Client, content: bytes, tmp_path: Path) -> Path:
    """What an earlier download left, and must not lose."""
    part = part_of(tmp_path / "copy", client.open().files[0])
    part.write_bytes(content[:KEPT])
    return part


def send(handler: Any, status: int, headers: dict[str, Any], body: bytes = b"") -> bool:
    """An answer exactly as it is given, and the end of the connection."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True
    return True


def partial(first: Any, last: Any, total: Any) -> dict[str, str]:
    return {"Content-Range": f"bytes {first}-{last}/{total}"}


PORTAL = b"<html>Please log in to HotelWiFi</html>"
LIES: dict[str, Answer] = {
    "portal": lambda h, b, s: send(h, 200, {"Content-Type": "text/html", "Content-Length": len(PORTAL)}, PORTAL),
    "portal without a length": lambda h, b, s: send(h, 200, {"Content-Type": "text/html; charset=x"}, PORTAL),
    "portal of no type": lambda h, b, s: send(h, 200, {}, PORTAL),
    "portal as another part": lambda h, b, s: send(h, 206, {"Content-Length": len(PORTAL)}, PORTAL),
    "another file": lambda h, b, s: send(h, 200, {"Content-Length": 10}, b[:10]),
    "a longer file": lambda h, b, s: send(h, 200, {"Content-Length": len(b) + 1}, b + b"x"),
    "the same length, other bytes": lambda h, b, s: send(h, 200, {"Content-Length": len(b)}, bytes(len(b))),
    "from elsewhere": lambda h, b, s: send(h, 206, partial(s + 7, len(b) - 1, len(b)), b[s + 7 :]),
    "of a longer file": lambda h, b, s: send(h, 206, partial(s, len(b), len(b) + 1), b[s:] + b"x"),
    "negative": lambda h, b, s: send(h, 206, partial(-s - 1, len(b) - 1, len(b)), b[s:]),
    "garbage": lambda h, b, s: send(h, 206, partial("9" * 5000, 1, 2), b[s:]),
    "backwards": lambda h, b, s: send(h, 206, partial(s, s - 1, len(b)), b""),
    "a length that contradicts": lambda h, b, s: send(
        h, 206, partial(s, len(b) - 1, len(b)) | {"Content-Length": "5"}, b[s : s + 5]
    ),
    "compressed": lambda h, b, s: send(h, 200, {"Content-Encoding": "gzip"}, gzip.compress(b)),
    "no content": lambda h, b, s: send(h, 204, {}),
    "not modified": lambda h, b, s: send(h, 304, {}),
    "range not satisfiable": lambda h, b, s: send(h, 416, {"Content-Range": "bytes */5"}),
    "in a circle": lambda h, b, s: send(h, 302, {"Location": h.path}),
    "to a file": lambda h, b, s: send(h, 302, {"Location": "file:///etc/passwd"}),
    "to nowhere": lambda h, b, s: send(h, 302, {"Location": "http://[broken"}),
    "garbage in chunks": lambda h, b, s: send(h, 200, {"Transfer-Encoding": "chunked"}, b"ZZZ\r\nhello\r\n"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_and_costs_nothing_of_what_is_here(
    hub: Any, client: Client, content: bytes, part: Path, tmp_path: Path, lie: str
):
    hub.answer_file = LIES[lie]
    with pytest.raises(DownloadError) as caught:
        client.fetch(tmp_path / "copy")
    assert caught.value.exit_code == 3
    assert part.read_bytes() == content[:KEPT]
    hub.answer_file = lambda handler, content, start: False
    client.fetch(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert hub.sent[-1].start_bytes == KEPT


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_at_the_beginning_leaves_nothing_behind(
    hub: Any, client: Client, content: bytes, tmp_path: Path, lie: str
):
    hub.answer_file = LIES[lie]
    with pytest.raises(DownloadError):
        client.fetch(tmp_path / "copy")
    assert [path.stat().st_size for path in tmp_path.glob("copy*")] in ([0], [])


def test_a_portal_that_gives_way_is_forgotten(hub: Any, client: Client, content: bytes, part: Path, tmp_path: Path):
    answers = iter([True, True])
    hub.answer_file = lambda h, b, s: next(answers, False) and LIES["portal"](h, b, s)
    client.fetch(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert client.waits == [0, 1]
    assert "a web page came instead of the file, got HTTP 200, text/html, 39 bytes" in client.said[0]


def endless(handler: Any, content: bytes, start: int) -> bool:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    handler.wfile.write(content)
    while True:  # until we are hung up on
        handler.wfile.write(bytes(65536))


@pytest.mark.parametrize("kept", [0, KEPT])
def test_a_body_without_end_stops_at_the_size(
    hub: Any, client: Client, content: bytes, part: Path, tmp_path: Path, kept: int
):
    part.write_bytes(content[:kept])
    hub.answer_file = endless
    client.fetch(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_an_oversize_part_is_cut(hub: Any, client: Client, content: bytes, part: Path, tmp_path: Path):
    part.write_bytes(content + bytes(1000))
    client.fetch(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert hub.sent == []


def test_a_part_that_is_a_link_is_not_written_through(client: Client, part: Path, tmp_path: Path):
    part.unlink()
    (tmp_path / "mine").write_bytes(b"mine")
    part.symlink_to(tmp_path / "mine")
    with pytest.raises(DownloadError, match="cannot be written"):
        client.fetch(tmp_path / "copy")
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_another_etag_at_each_answer_is_nothing_to_us(hub: Any, client: Client, content: bytes, tmp_path: Path):
    def some(handler: Any, body: bytes, start: int) -> bool:
        headers = partial(start, len(body) - 1, len(body)) if start else {}
        headers |= {"Content-Length": str(len(body) - start), "ETag": f'"{start}"'}
        return send(handler, 206 if start else 200, headers, body[start : start + 70_000])

    hub.answer_file = some
    client.fetch(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_ranges_of_a_byte_each_are_no_progress(
    hub: Any, client: Client, content: bytes, part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sana_wm.weights.retries.FLOOR_BYTES_PER_S", 10**6)
    hub.answer_file = lambda h, b, s: send(h, 206, partial(s, s, len(b)) | {"Content-Length": "1"}, b[s : s + 1])
    with pytest.raises(DownloadError, match="ended early"):
        client.fetch(tmp_path / "copy")
    assert part.read_bytes() == content[: KEPT + 6]


def drip(start: bytes, piece: bytes) -> Answer:
    def answer(handler: Any, content: bytes, position: int) -> bool:
        handler.close_connection = True
        handler.wfile.write(start)
        while True:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    "slow",
    [
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE, b"x"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X-More: y\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"x"),
    ],
    ids=["body", "headers", "chunk extension"],
)
def test_what_drips_is_given_up(
    hub: Any, client: Client, content: bytes, tmp_path: Path, slow: Answer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sana_wm.weights.retries.ATTEMPTS", 2)
    hub.answer_file = slow
    with pytest.raises(DownloadError, match="too slow"):
        client.fetch(tmp_path / "copy")


def say(body: bytes, **headers: str) -> Callable[[Any], bool]:
    def answer(handler: Any) -> bool:
        handler.answer(200, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return answer


def listing(**changes: Any) -> Callable[[Any], bool]:
    entry = {"rfilename": "a.json", "size": 5, "blobId": "a" * 40} | changes
    return say(json.dumps({"sha": "0" * 40, "siblings": [entry]}).encode())


def api_endless(handler: Any) -> bool:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65536)


API_LIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "a page": (say(PORTAL, Content_Type="text/html"), "does not answer with a list of files; got '<html>Please log in"),
    "a list": (say(b"[1,2]"), "does not answer with a list"),
    "nothing": (say(b""), "does not answer with a list"),
    "null": (say(b"null"), "does not answer with a list"),
    "deep": (say(b"[" * 200_000), "does not answer with a list"),
    "large": (say(b" " * (MAX_ANSWER_BYTES + 1)), "does not end"),
    "endless": (api_endless, "does not end"),
    "a bomb": (say(gzip.compress(bytes(4 * MAX_ANSWER_BYTES)), Content_Encoding="gzip"), "does not end"),
    "no gzip": (say(b"hello", Content_Encoding="gzip"), "connection to the hub fails"),
    "a drip": (lambda handler: drip(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b" ")(handler, b"", 0), "slow"),
    "no commit": (say(b'{"sha": "../../etc", "siblings": []}'), "sha: String should match"),
    "a name that is none": (listing(rfilename=17), "valid string"),
    "up": (listing(rfilename="vae/../../x"), "leads out of"),
    "absolute": (listing(rfilename="/tmp/x"), "leads out of"),
    "backslashes": (listing(rfilename="vae\\..\\..\\x"), "leads out of"),
    "nul": (listing(rfilename="vae/a\0b"), "control characters; got 'vae/a\\x00b'"),
    "escape": (listing(rfilename="vae/\x1b]0;pwned\x07.json"), "control characters"),
    "c1": (listing(rfilename="vae/\x9b31m.json"), "control characters"),
    "right to left": (listing(rfilename="vae/\u202enosj.json"), "control characters"),
    "two lines": (listing(rfilename="vae/a\nsana-wm: all is well"), "control characters"),
    "a long name": (listing(rfilename="vae/" + "x" * 300), "too long"),
    "negative": (listing(size=-5), "greater than or equal to 0"),
    "huge": (listing(size=10**30), "siblings.0.size"),
    "a fraction": (listing(size=1.5), "valid integer"),
    "true": (listing(size=True), "valid integer"),
    "no size": (listing(size=None), "valid integer"),
    "a hash that leads out": (listing(lfs={"sha256": "../../evil" + "a" * 54}), "lfs.sha256"),
    "a hash that is a number": (listing(lfs={"sha256": 12345}), "valid string"),
    "a blob that is a number": (listing(blobId=1234), "valid string"),
    "no hash": (listing(blobId=None), "gives no hash"),
}


@pytest.mark.parametrize("lie", API_LIES)
def test_any_other_answer_of_the_api_is_an_error_that_shows_it(
    hub: Any, client: Client, lie: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sana_wm.weights.retries.ATTEMPTS", 2)
    hub.answer_api, expected = API_LIES[lie]
    with pytest.raises(DownloadError) as caught:
        client.open()
    text = str(caught.value)
    assert expected in text
    assert caught.value.exit_code == 3
    assert all(char.isprintable() or char == "\n" for char in text)
    assert len(text) < 1500


def test_a_hash_in_capitals_is_the_same_hash(hub: Any, client: Client):
    hub.answer_api = listing(lfs={"sha256": "AB" * 32})
    assert client.open().files == (RemoteFile("a.json", 5, "ab" * 32, "a" * 40),)


def test_another_host_does_not_answer_for_the_hub_and_gets_no_token(hub: Any, content: bytes):
    seen: list[str | None] = []

    def redirect(handler: Any) -> bool:
        seen.append(handler.headers.get("Authorization"))
        if handler.headers["Host"].startswith("127.0.0.1"):
            port = handler.headers["Host"].rpartition(":")[2]
            handler.answer(302, b"", {"Location": f"http://localhost:{port}{handler.path}"})
            return True
        return False

    hub.answer_api = redirect
    ours = Hub(lambda line: None, endpoint=hub.endpoint, token="hf_secret", sleep=lambda _: None)
    with pytest.raises(DownloadError, match=r"another host answers for the hub; got localhost; expected 127\.0\.0\.1"):
        ours.open_repository(REPO)
    assert seen == ["Bearer hf_secret", None]


@pytest.mark.parametrize("value", ["²", "9" * 5000, "-5", "soon", "Fri, 99 Foo 2027", "99999999", "1e3", "٣"])
def test_only_a_sane_wish_to_wait_is_granted(hub: Any, client: Client, tmp_path: Path, value: str):
    hub.refusals[NAME] = [(429, {"Retry-After": value.encode().decode("latin-1")})] * 2
    client.fetch(tmp_path / "copy")
    assert client.waits == [0, 1]


def test_a_date_to_wait_for_is_understood(hub: Any, client: Client, tmp_path: Path):
    hub.refusals[NAME] = (
        503,
        {"Retry-After": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 7200))},
    )
    with pytest.raises(DownloadError):
        client.fetch(tmp_path / "copy")
    assert client.waits == []


def test_a_refusal_without_end_and_with_colours_is_one_line(
    hub: Any, client: Client, capfd: pytest.CaptureFixture[str]
):
    def refuse(handler: Any) -> bool:
        handler.send_response(403)
        handler.send_header("X-Error-Message", "\x1b]0;pwned\x07 no")
        handler.send_header("X-HF-Warning", "all; \x1b[31mred")
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)

    hub.answer_api = refuse
    with pytest.raises(DownloadError, match="your login may not read"):
        client.open()
    assert "\x1b" not in capfd.readouterr().err


def test_a_hub_that_hangs_does_not_hold_up_the_end_of_the_process(
    hub: Any, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sana_wm.weights.retries.ATTEMPTS", 1)
    hub.answer_file = drip(b"HTTP/1.1 200 OK\r\n", b"X-More: y\r\n")
    with pytest.raises(DownloadError):
        client.fetch(tmp_path / "copy")
    assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
