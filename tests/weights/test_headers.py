from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from sana_wm.errors import WeightsError
from sana_wm.weights.headers import identity_digest, read_header


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file(
        {"b": np.ones((2, 3), np.float32), "a": np.ones(4, np.float16), "none": np.ones((0, 5), np.int64)},
        path,
        metadata={"config": "{}"},
    )
    return path


def rewrite(path: Path, **changes: Any) -> None:
    """Change header entries and keep the data."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.dumps(json.loads(raw[8 : 8 + length]) | changes).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + raw[8 + length :])


def test_names_shapes_dtypes_and_places_are_read(path: Path):
    header = read_header(path)
    assert header.metadata == {"config": "{}"}
    assert {name: (entry.dtype, entry.shape) for name, entry in header.tensors.items()} == {
        "a": ("F16", (4,)),
        "b": ("F32", (2, 3)),
        "none": ("I64", (0, 5)),
    }
    entry = header.tensors["b"]
    stored = np.frombuffer(path.read_bytes()[entry.start_bytes : entry.end_bytes], np.float32)
    assert (stored == 1).all()
    assert header.file_bytes == path.stat().st_size


def test_every_truncation_is_found(path: Path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
            read_header(path)


def test_a_truncation_names_the_tensor_that_it_cuts(path: Path):
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="inside tensor a"):
        read_header(path)


def test_appended_bytes_are_found(path: Path):
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="its tensors end at"):
        read_header(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 24]},
        {"dtype": "X9", "shape": [2, 3], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]},
        {"dtype": "F32", "shape": [2, 3], "data_offsets": [-24, 0]},
        {"dtype": "F32", "shape": [-2, -3], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [2, 3]},
        {"dtype": "F32", "shape": "two", "data_offsets": [0, 24]},
        {"dtype": ["F32"], "shape": [2, 3], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [2.5, 3], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [True, 6], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [float("inf")], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, float("inf")]},
        {"dtype": "F32", "shape": [2**62] * 5000, "data_offsets": [0, 24]},
        "tensor",
    ],
    ids=lambda entry: str(entry)[:60],
)
def test_an_entry_that_lies_is_found_and_named(entry: Any, path: Path):
    rewrite(path, b=entry)
    with pytest.raises(WeightsError, match=r"is damaged.*tensor b"):
        read_header(path)


@pytest.mark.parametrize("content", [b"[]", b"\xff\xfe", b"{"])
def test_a_header_that_is_no_json_object_is_found(content: bytes, path: Path):
    path.write_bytes(struct.pack("<Q", len(content)) + content)
    with pytest.raises(WeightsError, match="its header is not"):
        read_header(path)


def test_a_huge_header_is_refused_before_it_is_read(tmp_path: Path):
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 100_000_001))
        file.truncate(200_000_000)
    with pytest.raises(WeightsError, match="header claims 100000001 bytes"):
        read_header(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"absent\.safetensors"):
        read_header(tmp_path / "absent.safetensors")


def test_the_digest_follows_header_size_and_numbers(path: Path):
    before = identity_digest(path)
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + b"\x01")
    assert identity_digest(path) != before
    path.write_bytes(raw)
    assert identity_digest(path) == before
    path.write_bytes(raw + b"\0")
    assert identity_digest(path) != before
    path.write_bytes(raw)
    rewrite(path, extra={"dtype": "F32", "shape": [0], "data_offsets": [32, 32]})
    assert identity_digest(path) != before


def test_an_infinite_size_as_json_writes_it_is_found(path: Path):
    """`json.dumps` writes Infinity; 1e999 is valid JSON, and Python reads it as infinite."""
    header = b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    with pytest.raises(WeightsError, match=r"is damaged: tensor a has dtype 'F32', shape \(inf,\)"):
        read_header(path)


def test_metadata_that_is_no_text_is_found(path: Path):
    rewrite(path, __metadata__={"config": 1})
    with pytest.raises(WeightsError, match="the metadata of its header"):
        read_header(path)


def test_a_pipe_and_a_device_are_refused_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "zero.safetensors").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a named pipe"), ("zero", "a device")):
        for read in (read_header, identity_digest):
            with pytest.raises(WeightsError, match=f"{name}.safetensors is {kind}"):
                read(tmp_path / f"{name}.safetensors")
