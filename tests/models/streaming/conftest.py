"""Golden data of upstream's streaming code: every folder of it beside the checkout, whatever its sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden"


@dataclass(frozen=True)
class GoldenFolder:
    """One set; sizes, steps and counts come from its files."""

    path: Path

    def file(self, pattern: str) -> Path:
        """The file of this set that a pattern means; skips where the set has none."""
        found = sorted(self.path.glob(pattern))
        if not found:
            pytest.skip(f"{self.path.name} has no {pattern}")
        return found[0]

    def tensors(self, pattern: str) -> dict[str, Any]:
        """All tensors of a file."""
        from safetensors.torch import load_file

        return load_file(self.file(pattern))

    def metadata(self, pattern: str) -> dict[str, str]:
        """What a file says of itself."""
        from safetensors import safe_open

        with safe_open(self.file(pattern), "pt") as file:
            return file.metadata() or {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """Upstream's configuration of the student."""
        return json.loads(self.metadata("dit_stream_*weights.safetensors")["config"])

    @cached_property
    def transformer(self) -> Any:
        """The student in diffusers' class."""
        from diffusers import SanaWMTransformer3DModel

        from sana_wm.weights.layout import STAGE1_RULES

        config = self.config
        transformer = SanaWMTransformer3DModel(
            in_channels=config["in_channels"],
            num_layers=config["depth"],
            hidden_size=config["hidden_size"],
            num_attention_heads=config["num_heads"],
            softmax_every_n=config["softmax_every_n"],
            linear_head_dim=config["linear_head_dim"],
            caption_channels=config["caption_channels"],
            chunk_plucker_post_attn_blocks=config["chunk_plucker_post_attn_blocks"],
            chunk_plucker_channels=config["chunk_plucker_channels"],
            mlp_ratio=config["mlp_ratio"],
            t_kernel_size=config["t_kernel_size"],
            conv_kernel_size=config["conv_kernel_size"],
        )
        stored = self.tensors("dit_stream_*weights.safetensors")
        transformer.load_state_dict({name: value for key, value in stored.items() if (name := STAGE1_RULES(key))})
        return transformer.eval().requires_grad_(False)


def golden_folders() -> list[Path]:
    """Every folder that holds a student's weights."""
    return sorted({file.parent for file in GOLDEN.parent.glob("golden*/**/dit_stream_*weights.safetensors")})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`streaming_golden` takes each folder in turn."""
    if "streaming_golden" in metafunc.fixturenames:
        folders = golden_folders()
        missing = pytest.param(None, marks=pytest.mark.skip(reason="no streaming golden data beside this checkout"))
        parameters = [pytest.param(folder, id=folder.name) for folder in folders] or [missing]
        metafunc.parametrize("streaming_golden", parameters, indirect=True, scope="session")


@pytest.fixture(scope="session")
def streaming_golden(request: pytest.FixtureRequest) -> GoldenFolder:
    """One set of golden data."""
    return GoldenFolder(request.param)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
