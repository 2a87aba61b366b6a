"""Whatever stands in a file that a user gives or a run leaves: an error of ours, within 20 s and 1 GiB, or a result.

`make test-long` tries FUZZ_CASES of each kind and writes its part of reports/fuzzing.json; `make test` a handful.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import resource
import struct
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tests.fuzzing.record import record_series

from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.intrinsics import read_intrinsics
from sana_wm.camera.poses.reading import load_poses
from sana_wm.errors import HandoffError, SanaWMError
from sana_wm.manifest.loading import load_manifest
from sana_wm.runs.metrics import metrics_findings
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import seal
from sana_wm.runs.verify import verify
from sana_wm.video.picture import open_picture
from sana_wm.weights.headers import identity_digest, read_header

CASES = int(os.environ.get("FUZZ_CASES", "3000"))
SEED = int(os.environ.get("FUZZ_SEED", "20261125"))
BATCH = 1000
SPARE_BYTES = 1024**3
DEADLINE_MS = 20_000

MANIFEST = {
    "version": 1,
    "name": "fuzz",
    "model": {"layout": "diffusers", "root": "weights"},
    "input": {"image": "a.png", "prompt": "A road."},
    "camera": {"action": "w-8", "intrinsics": [1.0, 1.0, 1.0, 1.0]},
    "video": {"num_frames": 9},
    "output_dir": "run",
}
RECEIPT = {
    "version": 1,
    "stage": "stage1",
    "package_version": "0",
    "versions": {},
    "device": "cpu",
    "dtype": "float32",
    "settings": {},
    "weights": [],
    "inputs": {},
    "plan": {},
    "phases": [],
    "started_at": "",
    "finished_at": "",
    "outputs": {"latents/stage1.safetensors": {"sha256": "0", "size_bytes": 1}},
    "seconds": 0.0,
}


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.effect_noise((24, 16), 60).convert("RGB").save(buffer, kind, icc_profile=profile)
    return buffer.getvalue()


def safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + b"\0" * 16


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@st.composite
def mutated(draw: st.DrawFn, *originals: bytes) -> bytes:
    """A file with bytes changed, cut out, put in, or its end gone."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 6))):
        position = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "change", "put in", "cut", "end"])):
            case "change" if position < len(data):
                data[position] = draw(st.integers(0, 255))
            case "put in":
                data[position:position] = draw(st.binary(max_size=12))
            case "cut":
                del data[position : position + draw(st.integers(1, 8))]
            case "end":
                del data[position:]
            case _:
                pass
    return bytes(data)


@st.composite
def edited(draw: st.DrawFn, original: dict[str, Any]) -> bytes:
    """JSON with values replaced by any others, or deeply nested."""
    data = json.loads(json.dumps(original))
    for _ in range(draw(st.integers(1, 3))):
        holder = data
        key = draw(st.sampled_from(sorted(holder)))
        while isinstance(holder[key], dict) and holder[key] and draw(st.booleans()):
            holder = holder[key]
            key = draw(st.sampled_from(sorted(holder)))
        value = draw(json_values)
        for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 0, 300, 900, 5000]))):
            value = [value]
        holder[key] = value
    try:
        return json.dumps(data, indent=1).encode()
    except (ValueError, RecursionError):
        return b"[" * 100_000


def use_manifest(path: Path) -> None:
    load_manifest(path, {})


def use_receipt(path: Path) -> None:
    run = RunDirectory(path.parent)
    run.receipt_file("stage1").parent.mkdir(exist_ok=True)
    path.replace(run.receipt_file("stage1"))
    read_receipt(run, "stage1")
    verify(run)


def use_run_manifest(path: Path) -> None:
    run = RunDirectory(path.parent)
    path.replace(run.manifest_file)
    assert all(isinstance(link.detail, str) for link in verify(run))
    run.read_manifest()


def use_metrics(path: Path) -> None:
    run = RunDirectory(path.parent)
    path.replace(run.metrics_file)
    if findings := metrics_findings(run):
        raise HandoffError("; ".join(findings))


def use_action(path: Path) -> None:
    for dialect in ("pr379", "smoothed"):
        action_trajectory(path.read_text(), dialect=dialect, translation_speed=0.05, rotation_speed_deg=1.2)


def use_npy(path: Path) -> None:
    with contextlib.suppress(SanaWMError):
        read_intrinsics(path, 9)
    load_poses(path)


def use_header(path: Path) -> None:
    with contextlib.suppress(SanaWMError):
        identity_digest(path)
    read_header(path)


KEYS = st.text(alphabet="wasdijklWS none-,，0129 \x1b²٣", max_size=30)
SEGMENTS = st.lists(st.from_regex(r"(none|[wasdijkl]{1,4})-[0-9]{1,4}", fullmatch=True), min_size=1, max_size=6)
POSES = np.tile(np.eye(4), (9, 1, 1))
HEADER = {"__metadata__": {"a": "b"}, "x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
KINDS: dict[str, tuple[st.SearchStrategy[bytes], Callable[[Path], None]]] = {
    "manifest": (edited(MANIFEST) | mutated(json.dumps(MANIFEST).encode()) | st.binary(max_size=60), use_manifest),
    "run manifest": (
        edited(MANIFEST | {"inputs": {}}).map(lambda data: seal(data.decode())) | mutated(seal(json.dumps(MANIFEST))),
        use_run_manifest,
    ),
    "receipt": (
        edited(RECEIPT).map(lambda data: seal(data.decode())) | mutated(seal(json.dumps(RECEIPT))) | st.binary(),
        use_receipt,
    ),
    "metrics": (edited({"stages": []}).map(lambda data: seal(data.decode())), use_metrics),
    "action": (
        (KEYS | st.text(max_size=40) | SEGMENTS.map(",".join)).map(lambda text: text.encode(errors="replace")),
        use_action,
    ),
    "npy": (mutated(npy(POSES), npy(np.ones(4)), npy(np.array([{}], dtype=object))) | st.binary(), use_npy),
    "safetensors header": (
        edited(HEADER).map(safetensors) | mutated(safetensors(json.dumps(HEADER).encode())),
        use_header,
    ),
    "picture": (
        mutated(*(picture(kind) for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "HEIF", "AVIF"))),
        open_picture,
    ),
}


@contextlib.contextmanager
def at_most_one_gib_more() -> Generator[None]:
    """What asks for more gets a MemoryError, which is no error of ours."""
    if platform.system() != "Linux":
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def try_kind(name: str, cases: int, folder: Path, first_seed: int = SEED) -> Counter[str]:
    strategy, use = KINDS[name]
    outcomes: Counter[str] = Counter()

    @seed(first_seed)
    @settings(max_examples=cases, deadline=DEADLINE_MS, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def attempt(data: bytes) -> None:
        path = folder / "input"
        path.write_bytes(data)
        try:
            use(path)
            outcomes["accepted"] += 1
        except SanaWMError:
            outcomes["refused"] += 1

    with at_most_one_gib_more():
        attempt()
    return outcomes


@pytest.mark.parametrize("name", KINDS)
def test_a_handful_of_each_kind(name: str, tmp_path: Path) -> None:
    try_kind(name, 25, tmp_path)


@pytest.mark.parametrize("name", ["manifest", "run manifest", "receipt", "metrics", "safetensors header"])
def test_json_that_is_nested_too_deeply_is_refused(name: str, tmp_path: Path) -> None:
    for depth in (500, 900, 100_000):
        text = b'{"version": ' + b"[" * depth + b"]" * depth + b"}"
        wrapped = {"manifest": bytes, "safetensors header": safetensors}.get(name, lambda data: seal(data.decode()))
        (tmp_path / "input").write_bytes(wrapped(text))
        with pytest.raises(SanaWMError):
            KINDS[name][1](tmp_path / "input")


@pytest.mark.long
def test_thousands_of_each_kind(tmp_path: Path) -> None:
    counts = {}
    for name in KINDS:
        folder = tmp_path / name
        folder.mkdir()
        # In batches: what Hypothesis remembers of its cases grows beyond a gigabyte.
        batches = (try_kind(name, min(BATCH, CASES - done), folder, SEED + done) for done in range(0, CASES, BATCH))
        counts[name] = dict(sum(batches, Counter[str]()))
    record_series(
        "files",
        "files as a user or a damaged disk may give them: an error of ours or a result",
        f"FUZZ_CASES={CASES} FUZZ_SEED={SEED} pytest -m long tests/fuzzing/test_fuzzing.py",
        SEED,
        sum(sum(outcomes.values()) for outcomes in counts.values()),
        counts,
    )
