"""Whatever stands in the files that a run leaves: each reader says something, within seconds.

`make test-long` tries FUZZ_STATES run directories and writes its part of reports/fuzzing.json; `make test` a handful.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fuzzing.record import record_series
from tests.fuzzing.test_fuzzing import at_most_one_gib_more

from sana_wm.cli.progress_view import describe_end, describe_run
from sana_wm.errors import SanaWMError
from sana_wm.planning.past_runs import find_past_runs
from sana_wm.preflight.checks import current_weights
from sana_wm.progress.status import StatusReader
from sana_wm.report.facts import gather_run_facts
from sana_wm.report.page import render_report
from sana_wm.report.timeline import read_timeline
from sana_wm.runs.decisions import decide
from sana_wm.runs.prepare import check_receipts
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import seal, unseal
from sana_wm.runs.verify import verify

STATES = int(os.environ.get("FUZZ_STATES", "3000"))
SEED = int(os.environ.get("FUZZ_SEED", "20261130"))
DEADLINE_S = 20
#: Pages take a second each.
PAGE_EVERY = 60

VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 1e308, float("inf"), float("-inf"), float("nan")),
    *("", "x", "\x1b[31m", "\u202e", "\ud800", [], {}, [1], {"a": 1}, "a" * 3000, "2026-11-29T19:00:00"),
    *("2026-11-29T19:00:00+00:00", "0001-01-01T00:00:00+14:00", "99999-01-01", "stage1", "run", "done", "error"),
    *("../../x", "/etc/passwd", "a\0b", "x" * 300),
]
WHOLE = [b"[" * 100_000, b"", b"null", b"[]", b"\xff\xfe", b'{"a":' * 50_000, b"9" * 5000, b"\0" * 100, b"Infinity"]
FILES = [
    *("events/stage1.jsonl", "events/refiner.jsonl", "events/vae_decode.jsonl", "events/memory.jsonl"),
    *("events/start.json", "events/end.json", "events/asked.json", ".lock", "metrics.json", "manifest.json"),
    *("receipts/stage1.json", "receipts/refiner.json", "receipts/vae_decode.json"),
    *("latents/stage1.safetensors", "checkpoints/stage1/beginning.json"),
]
#: What no file is: read in vain, waited for, or followed for ever.
ODD_PLACES: list[Callable[[Path], None]] = [
    lambda path: path.mkdir(),
    os.mkfifo,
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.touch(0o000),
]


def places(data: Any, way: tuple[Any, ...] = ()) -> Generator[tuple[Any, ...]]:
    keys = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    for key in keys:
        yield (*way, key)
        yield from places(data[key], (*way, key))


def edit(data: Any, chance: random.Random) -> Any:
    """JSON with one value or two taken away, or another."""
    for _ in range(chance.choice([1, 1, 2])):
        ways = list(places(data))
        if not ways or chance.random() < 0.08:
            return chance.choice(VALUES)
        *way, last = chance.choice(ways)
        holder = data
        for key in way:
            holder = holder[key]
        if chance.random() < 0.2:
            del holder[last]
        else:
            holder[last] = json.loads(json.dumps(chance.choice(VALUES)))
    return data


def damage(content: bytes, name: str, chance: random.Random) -> bytes:
    """A file of a run as a disk, an editor or a stranger may leave it."""
    if chance.random() < 0.12 or not content:
        return chance.choice(WHOLE)
    if name.endswith(".safetensors") or chance.random() < 0.1:
        at = chance.randrange(len(content))
        return content[:at] + bytes(chance.randrange(256) for _ in range(chance.randrange(9))) + content[at + 3 :]
    if name.endswith("jsonl"):
        lines = [json.loads(line) for line in content.splitlines()]
        at = chance.randrange(len(lines))
        lines[at] = edit(lines[at], chance)
        return "\n".join(map(json.dumps, lines)).encode() + b"\n"
    if name.startswith(("receipts", "manifest", "metrics")):
        text = json.dumps(edit(json.loads(unseal(content)), chance), indent=2)
        return seal(text) if text.startswith("{") else text.encode()
    return json.dumps(edit(json.loads(content), chance)).encode()


@contextmanager
def at_most(seconds: int) -> Generator[None]:
    def give_up(*_: object) -> None:
        raise AssertionError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def look(run: RunDirectory) -> None:
    snapshot = StatusReader(run).look()
    assert "\x1b" not in "\n".join([*describe_run(snapshot), *describe_end(snapshot)])
    assert snapshot.elapsed_s is None or snapshot.elapsed_s >= 0
    json.dumps(snapshot.as_json())


def make_plan(run: RunDirectory) -> None:
    manifest = run.read_manifest()
    check_receipts(run, manifest)
    decide(run, manifest, current_weights(manifest))


def make_page(run: RunDirectory) -> None:
    facts = gather_run_facts(run)
    page = render_report(facts, read_timeline(run, facts.manifest.memory.cap_bytes), [])
    assert "\x1b" not in page
    assert "\u202e" not in page


READERS: dict[str, Callable[[RunDirectory], Any]] = {
    "status": look,
    "verify": verify,
    "facts": gather_run_facts,
    "timeline": lambda run: read_timeline(run, 10**9),
    "resume": make_plan,
}


def try_states(finished: Path, folder: Path, states: int) -> Counter[str]:
    """Damage one file after another of a finished run, and have it read by all readers, its neighbours' too."""
    whole, damaged = folder / "whole", RunDirectory(folder / "damaged")
    shutil.copytree(finished, whole)
    shutil.copytree(finished, damaged.path)
    (damaged.path / "events" / "asked.json").write_text('{"state": "stopping", "note": "x"}')
    contents = {name: path.read_bytes() for name in FILES if (path := damaged.path / name).is_file()}
    owner = json.loads(contents[".lock"]) | {"pid": 1, "since": "2030-01-01T00:00:00+00:00"}
    manifest = RunDirectory(whole).read_manifest()
    chance, outcomes = random.Random(SEED), Counter[str]()
    readers = READERS | {"neighbour": lambda _: list(find_past_runs(RunDirectory(whole), manifest))}
    for number in range(states):
        name = chance.choice(FILES)
        path = damaged.path / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        told = None
        if chance.random() < 0.1:
            chance.choice(ODD_PLACES)(path)
        else:
            told = damage(contents.get(name, b""), name, chance)
            path.write_bytes(told)
        if name != ".lock" and chance.random() < 0.5:  # as if it were running
            (damaged.path / ".lock").write_text(json.dumps(owner))
            if name != "events/end.json":
                damaged.end_file.unlink(missing_ok=True)
        wanted = readers | ({"page": make_page} if number % PAGE_EVERY == 0 else {})
        for reader, read in wanted.items():
            try:
                with at_most(DEADLINE_S):
                    read(damaged)
                outcomes[f"{reader}: said"] += 1
            except SanaWMError:
                outcomes[f"{reader}: refused"] += 1
            except BaseException as error:
                error.add_note(f"state {number}: {name} is {(told or b'an odd place')[:300]!r}")
                raise
        for again in {name, ".lock", "events/end.json"}:
            place = damaged.path / again
            if place.is_dir() and not place.is_symlink():
                place.rmdir()
            place.unlink(missing_ok=True)
            if again in contents:
                place.write_bytes(contents[again])
    assert outcomes["neighbour: refused"] == 0
    return outcomes


def test_a_handful_of_damaged_runs(finished_run: Path, tmp_path: Path) -> None:
    with at_most_one_gib_more():
        outcomes = try_states(finished_run, tmp_path, 60)
    assert outcomes["status: said"] > 20


@pytest.mark.long
def test_thousands_of_damaged_runs(finished_run: Path, tmp_path: Path) -> None:
    with at_most_one_gib_more():
        outcomes = try_states(finished_run, tmp_path, STATES)
    record_series(
        "run states",
        "run directories with a file damaged: every reader says something or refuses",
        f"FUZZ_STATES={STATES} FUZZ_SEED={SEED} pytest -m long tests/fuzzing/test_fuzzing_runs.py",
        SEED,
        STATES,
        dict(sorted(outcomes.items())),
    )
