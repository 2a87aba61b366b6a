"""Tiny refiners: the golden ones, diffusers' own pipeline over them, and the tiny checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class RefinerCase:
    """A transformer with the inputs of one refinement."""

    transformer: Any
    latents: Any
    prompt_embeds: Any
    prompt_attention_mask: Any

    def diffusers_refine(self, **options: Any) -> Any:
        """What diffusers' `SanaWMLTX2Refiner` makes of the case, the prompt encoder bypassed on the instance."""
        import torch
        from diffusers import FlowMatchEulerDiscreteScheduler
        from diffusers.pipelines.sana_wm.refiner import SanaWMLTX2Refiner

        pipeline = SanaWMLTX2Refiner(
            transformer=self.transformer,
            connectors=None,
            tokenizer=None,
            text_encoder=None,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        )
        pipeline.set_progress_bar_config(disable=True)
        pipeline._encode_prompt = lambda *_args, **_kwargs: (self.prompt_embeds, self.prompt_attention_mask)
        generator = torch.Generator("cpu").manual_seed(42)
        return pipeline(self.latents, "", fps=16.0, generator=generator, output_type="latent", **options)


@pytest.fixture(scope="session")
def case_of() -> type[RefinerCase]:
    """Makes a case of a transformer, latents, prompt_embeds and their mask."""
    return RefinerCase


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden_transformer(golden: Path) -> Any:
    """The transformer of the golden data (rope_type split)."""
    return _golden_transformer(golden)


@pytest.fixture(scope="session")
def interleaved_transformer(golden: Path) -> Any:
    """The same weights under the other rope_type."""
    return _golden_transformer(golden, rope_type="interleaved")


def _golden_transformer(golden: Path, **overrides: Any) -> Any:
    from diffusers import SanaWMLTX2RefinerTransformer3DModel
    from safetensors import safe_open
    from safetensors.torch import load_file

    path = golden / "refiner_tiny_split_weights.safetensors"
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    transformer = SanaWMLTX2RefinerTransformer3DModel(**config | overrides)
    transformer.load_state_dict(load_file(path))
    return transformer.eval()


@pytest.fixture(scope="session")
def refiner_case(golden_transformer: Any, interleaved_transformer: Any) -> Any:
    """A function that draws a case: frames and rope type."""
    import torch

    def draw(num_frames: int = 9, rope_type: str = "split", masked_tokens: int = 3) -> RefinerCase:
        generator = torch.Generator("cpu").manual_seed(num_frames)
        transformer = golden_transformer if rope_type == "split" else interleaved_transformer
        mask = torch.ones(1, 10, dtype=torch.int64)
        mask[:, :masked_tokens] = 0
        return RefinerCase(
            transformer,
            torch.randn(1, 8, num_frames, 2, 3, generator=generator),
            torch.randn(1, 10, 20, generator=generator),
            mask,
        )

    return draw


@pytest.fixture(scope="session")
def tiny_layout(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The layout of a tiny checkpoint in float32, the refiner in two shards."""
    from sana_wm.weights.tiny import write_tiny_checkpoint

    tiny = write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "diffusers")
    return tiny.layout()


@pytest.fixture
def tiny_latents() -> Any:
    """Latents and prompt of the tiny checkpoint's refiner, five frames."""
    import torch

    generator = torch.Generator("cpu").manual_seed(0)
    latents = torch.randn(1, 128, 8, 2, 3, generator=generator)
    prompt_embeds = torch.randn(1, 12, 48, generator=generator)
    return latents, prompt_embeds, torch.ones(1, 12, dtype=torch.int64)
