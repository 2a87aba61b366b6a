from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sana_wm.errors import HandoffError
from sana_wm.report.latents import measure_latents


@pytest.fixture
def latents() -> np.ndarray:
    values = np.random.default_rng(1).standard_normal((1, 4, 3, 2, 5)).astype(np.float32)
    values[:, :, 1] = 2 * values[:, :, 0]
    return values


def test_every_frame_has_its_numbers(tmp_path: Path, latents: np.ndarray) -> None:
    save_file({"latents": latents}, tmp_path / "l.safetensors")
    found = measure_latents(tmp_path / "l.safetensors")
    assert (found.shape, found.dtype) == ((1, 4, 3, 2, 5), "F32")
    first, second, _ = found.frames
    assert first.std == pytest.approx(latents[0, :, 0].std(), rel=1e-6)
    assert (first.low, first.high) == (latents[0, :, 0].min(), latents[0, :, 0].max())
    assert first.change is None
    assert second.change == pytest.approx(np.sqrt(np.mean(latents[0, :, 0].astype(np.float64) ** 2)))
    assert found.outside(0.02, 20.0) == []
    assert found.outside(second.std - 0.01, 20.0) == [
        index for index in (0, 2) if found.frames[index].std < second.std - 0.01
    ]


def test_bfloat16_is_read_bit_by_bit(tmp_path: Path, latents: np.ndarray) -> None:
    bits = (latents.view("<u4") >> 16).astype("<u2")
    entry = {"dtype": "BF16", "shape": list(latents.shape), "data_offsets": [0, bits.nbytes]}
    header = json.dumps({"latents": entry}).encode()
    (tmp_path / "l.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bits.tobytes())
    cut = (bits.astype("<u4") << 16).view("<f4")
    found = measure_latents(tmp_path / "l.safetensors")
    assert found.dtype == "BF16"
    assert found.frames[2].mean == pytest.approx(float(cut[0, :, 2].mean()), rel=1e-5)


def test_values_that_are_not_finite_are_counted_and_named(tmp_path: Path, latents: np.ndarray) -> None:
    latents[0, 0, 2, 0, :2] = np.nan, np.inf
    save_file({"latents": latents}, tmp_path / "l.safetensors")
    found = measure_latents(tmp_path / "l.safetensors")
    assert found.frames[2].not_finite == 2
    assert np.isfinite(found.frames[2].std)
    assert found.outside(0.0, 20.0) == [2]


@pytest.mark.parametrize("content", [b"", b"half a file", None])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "l.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HandoffError, match=r"l\.safetensors cannot be read"):
        measure_latents(path)


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "l.safetensors")
    with pytest.raises(HandoffError, match="holds no latents; got tensors other"):
        measure_latents(tmp_path / "l.safetensors")
