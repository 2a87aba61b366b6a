"""A hub on this machine: a real HTTP server that speaks the hub's protocol, and misbehaves when told to."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_SUFFIXES = (".safetensors", ".model", ".pt")
CHUNK_BYTES = 16 * 1024


@dataclass
class Sent:
    """One answer with a file's bytes."""

    name: str
    start_bytes: int
    sent_bytes: int


@dataclass
class LocalHub:
    """What the server serves and how it misbehaves; tests change it while it runs.

    Attributes:
        repositories: Folders by repository id.
        refusals: Status and headers to answer with, by path suffix; a list is used up one by one.
        cut_after_bytes: Bytes after which an answer breaks off; None for whole answers.
        cuts_left: How many answers still break off.
        reset: Break off with a TCP reset instead of an orderly end.
        ranges: Whether Range is honoured.
        corrupt: Names whose first byte is served wrong.
        listing: Changes the list of files before it is sent.
        answer_api: Answers in place of the list of files where it returns True.
        answer_file: Answers in place of a file's bytes from a position on where it returns True.
        sent: Every answer with a file's bytes.
        requests: Every request line.
    """

    repositories: dict[str, Path] = field(default_factory=dict)
    refusals: dict[str, list[tuple[int, dict[str, str]]] | tuple[int, dict[str, str]]] = field(default_factory=dict)
    cut_after_bytes: int | None = None
    cuts_left: int = 0
    reset: bool = False
    ranges: bool = True
    corrupt: set[str] = field(default_factory=set)
    listing: Callable[[list[dict[str, Any]]], None] = lambda siblings: None
    answer_api: Callable[[Handler], bool] = lambda handler: False
    answer_file: Callable[[Handler, bytes, int], bool] = lambda handler, content, start: False
    sent: list[Sent] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    pause: Callable[[], None] = lambda: None
    endpoint: str = ""

    def sent_bytes_of(self, name: str) -> int:
        """How many bytes of a file went out in all."""
        return sum(entry.sent_bytes for entry in self.sent if entry.name == name)


def describe_file(root: Path, path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    entry: dict[str, Any] = {
        "rfilename": path.relative_to(root).as_posix(),
        "size": len(content),
        "blobId": hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest(),
    }
    if path.suffix in LFS_SUFFIXES:
        entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two small writes: 40 ms of waiting otherwise
    hub: LocalHub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {self.path}")
        for suffix, refusal in self.hub.refusals.items():
            if path.endswith(suffix) and refusal:
                status, headers = refusal.pop(0) if isinstance(refusal, list) else refusal
                return self.answer(status, b"{}", headers)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(auth-check|revision/main)", path):
            return self._describe(match[1], match[2])
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", path):
            # As on the hub: the address redirects to where the content lies.
            return self.answer(302, b"", {"Location": f"/cdn/{match[1]}/{match[3]}", "X-Repo-Commit": match[2]})
        if match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            return self._send_file(self.hub.repositories[match[1]] / match[2], match[2])
        return self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def _describe(self, repo_id: str, what: str) -> None:
        root = self.hub.repositories.get(repo_id)
        if root is None:
            return self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        if what == "auth-check":
            return self.answer(200, b"{}", {})
        if self.hub.answer_api(self):
            return None
        siblings = [describe_file(root, path) for path in sorted(root.rglob("*")) if path.is_file()]
        self.hub.listing(siblings)
        content = {"id": repo_id, "modelId": repo_id, "sha": COMMIT, "siblings": siblings, "tags": []}
        return self.answer(200, json.dumps(content).encode(), {})

    def _send_file(self, path: Path, name: str) -> None:
        if not path.is_file():
            self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        content = path.read_bytes()
        if name in self.hub.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        start = 0
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if self.hub.answer_file(self, content, int(asked[1]) if asked else 0):
            return
        if asked and self.hub.ranges:
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if "Content-Range" in headers else 200)
        for key, value in {**headers, "Content-Length": str(len(content) - start)}.items():
            self.send_header(key, value)
        self.end_headers()
        entry = Sent(name, start, 0)
        self.hub.sent.append(entry)
        end = len(content)
        if self.hub.cuts_left and self.hub.cut_after_bytes is not None and end - start > self.hub.cut_after_bytes:
            self.hub.cuts_left -= 1
            end = start + self.hub.cut_after_bytes
        while start + entry.sent_bytes < end:
            self.hub.pause()
            position = start + entry.sent_bytes
            chunk = content[position : min(position + CHUNK_BYTES, end)]
            self.wfile.write(chunk)
            entry.sent_bytes += len(chunk)
        if end < len(content):
            self._cut()

    def _cut(self) -> None:
        if self.hub.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body)), "Content-Type": "application/json"} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        return  # clients that go away are what these tests are about


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    """A hub without repositories, running."""
    state = LocalHub()
    server = Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": state}))
    state.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
