from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sana_wm.errors import DownloadError
from sana_wm.weights.hub import Hub
from sana_wm.weights.hub_answers import RemoteFile, RemoteRepository
from sana_wm.weights.transfer import fetch_file, part_of

REPO = "someone/model"
NAME = "vae/shard.safetensors"
SIZE = 2_000_000


class Watcher:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def began(self, verb: str, name: str, total_bytes: int, here_bytes: int = 0) -> None:
        self.seen.append((verb, name, total_bytes))

    def at(self, position_bytes: int) -> None:
        self.seen.append(position_bytes)

    def ended(self) -> None:
        self.seen.append("ended")


@pytest.fixture
def content(hub: Any, tmp_path: Path) -> bytes:
    content = np.random.default_rng(0).bytes(SIZE)
    (tmp_path / "remote" / "vae").mkdir(parents=True)
    (tmp_path / "remote" / NAME).write_bytes(content)
    hub.repositories[REPO] = tmp_path / "remote"
    return content


class Client:
    """Our side: the waits are kept instead of slept."""

    def __init__(self, endpoint: str) -> None:
        self.waits: list[float] = []
        self.said: list[str] = []
        self.hub = Hub(self.said.append, endpoint=endpoint, token=False, sleep=self.waits.append)

    def open(self) -> tuple[RemoteRepository, RemoteFile]:
        repository = self.hub.open_repository(REPO)
        return repository, repository.files[0]

    def fetch(self, destination: Path, watcher: Watcher | None = None) -> str:
        repository, file = self.open()
        return fetch_file(self.hub, repository, file, destination, watcher or Watcher())


@pytest.fixture
def client(hub: Any, content: bytes) -> Client:
    return Client(hub.endpoint)


@pytest.mark.parametrize("reset", [False, True], ids=["orderly-end", "tcp-reset"])
def test_fifty_cut_connections_end_in_a_whole_copy_and_no_byte_comes_twice(
    hub: Any, client: Client, content: bytes, tmp_path: Path, reset: bool
):
    hub.cut_after_bytes, hub.cuts_left, hub.reset = 37_123, 50, reset
    watcher = Watcher()
    assert client.fetch(tmp_path / "copy", watcher) == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "copy").read_bytes() == content
    assert hub.cuts_left == 0
    assert len(hub.sent) == 51
    positions = [0, *(seen for seen in watcher.seen if isinstance(seen, int))]
    assert positions == sorted(positions)
    # What had arrived is never asked for again. A reset makes the system throw away what it had not handed over yet,
    # which no client can help; after an orderly end nothing at all is sent twice.
    assert {entry.start_bytes for entry in hub.sent} <= set(positions)
    if not reset:
        assert hub.sent_bytes_of(NAME) == SIZE
        assert set(client.waits) == {0}


def test_a_download_goes_on_in_another_process_where_the_first_one_stopped(
    hub: Any, client: Client, content: bytes, tmp_path: Path
):
    """What the first process left is a partial file; nothing else is handed over."""
    _, file = client.open()
    part_of(tmp_path / "copy", file).write_bytes(content[:1_234_567])
    client.fetch(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert [(entry.start_bytes, entry.sent_bytes) for entry in hub.sent] == [(1_234_567, SIZE - 1_234_567)]
    assert list(tmp_path.glob("*.part")) == []


def test_a_whole_partial_file_is_only_hashed(hub: Any, client: Client, content: bytes, tmp_path: Path):
    _, file = client.open()
    part_of(tmp_path / "copy", file).write_bytes(content)
    client.fetch(tmp_path / "copy")
    assert hub.sent == []


def test_a_damaged_partial_file_does_not_become_a_copy(hub: Any, client: Client, content: bytes, tmp_path: Path):
    _, file = client.open()
    part = part_of(tmp_path / "copy", file)
    part.write_bytes(b"\0" * 1000)
    with pytest.raises(DownloadError, match="not what the hub says"):
        client.fetch(tmp_path / "copy")
    assert not part.exists()
    assert not (tmp_path / "copy").exists()
    client.fetch(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_the_rest_of_an_older_version_is_removed(hub: Any, client: Client, content: bytes, tmp_path: Path):
    (tmp_path / "copy.0000deadbeef.part").write_bytes(b"of last week")
    client.fetch(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "remote"]


def test_content_with_a_wrong_hash_is_refused(hub: Any, client: Client, tmp_path: Path):
    hub.corrupt.add(NAME)
    with pytest.raises(DownloadError, match="not what the hub says") as caught:
        client.fetch(tmp_path / "copy")
    assert caught.value.problems[0].field == NAME
    assert [path.name for path in tmp_path.iterdir()] == ["remote"]


def test_a_server_without_ranges_sends_all_again_and_nothing_is_lost(
    hub: Any, client: Client, content: bytes, tmp_path: Path
):
    hub.ranges, hub.cut_after_bytes, hub.cuts_left = False, 500_000, 1
    client.fetch(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert client.said == [f"{NAME}: the server sends all of it again; what is here is held against that"]


def test_a_server_that_never_gets_further_is_given_up(hub: Any, client: Client, tmp_path: Path):
    """Without ranges, every answer begins anew: that is no progress."""
    hub.ranges, hub.cut_after_bytes, hub.cuts_left = False, 500_000, 100
    with pytest.raises(DownloadError, match="connection to the hub fails"):
        client.fetch(tmp_path / "copy")
    assert client.waits == [0, 1, 2, 4, 8]


def test_too_many_requests_are_answered_with_the_wait_that_is_asked_for(hub: Any, client: Client, tmp_path: Path):
    hub.refusals[NAME] = [(429, {"Retry-After": "17"}), (429, {"Retry-After": "5"}), (503, {})]
    client.fetch(tmp_path / "copy")
    assert client.waits == [17, 5, 2]
    assert client.said[0] == f"{NAME}: HTTP 429; next attempt in 17 s"


def test_an_hour_of_waiting_is_left_to_the_user(hub: Any, client: Client, tmp_path: Path):
    hub.refusals[NAME] = (429, {"Retry-After": "3600"})
    with pytest.raises(DownloadError, match="wait 3600 s"):
        client.fetch(tmp_path / "copy")
    assert client.waits == []


@pytest.mark.parametrize(
    ("status", "headers", "what", "step"),
    [
        (403, {"X-Error-Code": "GatedRepo"}, "accept its terms", "hf auth login"),
        (401, {"X-Error-Code": "GatedRepo"}, "accept its terms", f"https://huggingface.co/{REPO}"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, "does not accept your login", "HF_"),
        (403, {}, "may not read", "token needs the right"),
        (404, {"X-Error-Code": "EntryNotFound"}, "no such file", "moved or renamed"),
        (404, {"X-Error-Code": "RepoNotFound"}, "no such repository", "log in"),
    ],
)
def test_a_refusal_is_explained_at_once(
    hub: Any, client: Client, tmp_path: Path, status: int, headers: dict[str, str], what: str, step: str
):
    hub.refusals[NAME] = (status, headers)
    with pytest.raises(DownloadError) as caught:
        client.fetch(tmp_path / "copy")
    (problem,) = caught.value.problems
    assert problem.field == f"{REPO}/{NAME}"
    assert what in problem.what
    assert step in (problem.next_step or "")
    assert client.waits == []


def test_a_hub_that_is_not_there_is_given_up_with_advice(tmp_path: Path):
    client = Client("http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="goes on where it stopped"):
        client.open()
    assert client.waits == [0, 1, 2, 4, 8]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda files: files[0].update(rfilename="vae/../../elsewhere"), "leads out of its repository"),
        (lambda files: (files[0].pop("lfs"), files[0].pop("blobId")), "gives no hash"),
    ],
    ids=["name", "hash"],
)
def test_a_mirror_that_cannot_be_trusted_is_refused(hub: Any, client: Client, tmp_path: Path, change: Any, what: str):
    hub.listing = change
    with pytest.raises(DownloadError, match=what):
        client.open()


def test_two_downloads_of_one_file_do_not_mix(hub: Any, client: Client, content: bytes, tmp_path: Path):
    begun, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        begun.set()
        go_on.wait(10)
        go_on.set()

    hub.pause = pause
    first = threading.Thread(target=client.fetch, args=(tmp_path / "copy",))
    first.start()
    begun.wait(10)
    while not list(tmp_path.glob("*.part")):
        time.sleep(0.01)
    with pytest.raises(DownloadError, match="another process"):
        client.fetch(tmp_path / "copy")
    go_on.set()
    first.join()
    assert (tmp_path / "copy").read_bytes() == content


def test_a_folder_that_cannot_be_written_is_named(hub: Any, client: Client, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DownloadError, match="cannot be written"):
        client.fetch(tmp_path / "file" / "copy")
