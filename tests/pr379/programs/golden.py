"""Upstream's own classes, patched, on the golden inputs: prints one relative error per golden output, as JSON.

Run with a patched checkout and the golden folder: `python golden.py CHECKOUT GOLDEN`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

checkout, golden = (Path(argument) for argument in sys.argv[1:])
sys.path.insert(0, str(checkout))
os.environ["DPM_TQDM"] = "True"

import sana_wm_mps  # noqa: E402
from sana_wm_mps.model import build_transformer  # noqa: E402

errors: dict[str, float] = {}


def measure(name: str, out: torch.Tensor, expected: torch.Tensor) -> None:
    """Keep the relative error, and the largest absolute one."""
    difference = out.double() - expected.double()
    errors[name] = float(difference.norm() / expected.double().norm())
    errors[f"{name}.max_abs"] = float(difference.abs().max())


def metadata(path: Path) -> dict[str, str]:
    """A safetensors file's metadata."""
    with safe_open(path, "pt") as file:
        return file.metadata()


def load_stage1() -> torch.nn.Module:
    """The golden weights in upstream's network."""
    path = golden / "dit_tiny_weights.safetensors"
    network = build_transformer(**json.loads(metadata(path)["config"]))
    missing, unexpected = network.load_state_dict(load_file(path), strict=False)
    assert not missing, missing
    assert not unexpected, unexpected
    return network


def run_network(network: torch.nn.Module) -> None:
    """Every case of the network's golden inputs, with attention as shipped and exact."""
    data = load_file(golden / "dit_tiny_io.safetensors")
    for case in ("a", "b", "rot"):
        given = {name.removeprefix(f"{case}."): value for name, value in data.items() if name.startswith(f"{case}.")}
        for dtype, suffix in ((torch.bfloat16, ""), (torch.float32, "_fp32sdpa")):
            sana_wm_mps.SETTINGS.attention_dtype = dtype
            out = network(
                given["hidden_states"],
                given["timestep"],
                given["encoder_hidden_states"],
                mask=given["encoder_attention_mask"],
                camera_conditions=given["camera_conditions"],
                chunk_plucker=given["chunk_plucker"],
                data_info={},
            )
            measure(f"dit.{case}{suffix}", out, given[f"out_pr379{suffix}"])


def run_loop(network: torch.nn.Module) -> None:
    """Upstream's sampler over all its steps."""
    from diffusion import LTXFlowEuler

    path = golden / "stage1_sampling_tiny.safetensors"
    data, facts = load_file(path), metadata(path)
    runs = (("cfg5", torch.bfloat16), ("cfg1", torch.bfloat16), ("cfg5_fp32sdpa", torch.float32))
    for name, dtype in runs:
        sana_wm_mps.SETTINGS.attention_dtype = dtype
        scale = float(name[3])
        copies = 2 if scale > 1 else 1
        arguments: dict[str, Any] = {
            "data_info": {"condition_frame_info": {0: 0.0}},
            "mask": torch.cat([data["neg_mask"], data["cond_mask"]][-copies:]),
            "camera_conditions": data["camera_conditions"].repeat(copies, 1, 1),
            "chunk_plucker": data["chunk_plucker"].repeat(copies, 1, 1, 1, 1),
        }
        sampler = LTXFlowEuler(
            network, data["cond"], data["neg"], scale, flow_shift=float(facts["flow_shift"]), model_kwargs=arguments
        )
        out = sampler.sample(data["z"].clone(), steps=int(facts["steps"]))
        measure(f"loop.{name}", out, data[f"out_pr379_{name}"])


def run_refiner() -> None:
    """Upstream's whole refiner but for its text encoder."""
    from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
    from diffusion.refiner.diffusers_ltx2_refiner import DiffusersLTX2Refiner

    class Refiner(DiffusersLTX2Refiner):
        def __init__(self, transformer: torch.nn.Module, prompt: tuple[torch.Tensor, torch.Tensor]) -> None:
            torch.nn.Module.__init__(self)
            self.transformer, self.prompt = transformer, prompt
            self.dtype, self.device = torch.float32, torch.device("cpu")

        def _encode_prompt(self, _: str) -> tuple[torch.Tensor, torch.Tensor]:
            return self.prompt

    for path in sorted(golden.glob("refiner_tiny_*_weights.safetensors")):
        transformer: Any = LTX2VideoTransformer3DModel(**json.loads(metadata(path)["config"])).eval()
        transformer.load_state_dict(load_file(path))
        data = load_file(path.with_name(path.name.replace("weights", "io")))
        for case in ("a", "b"):
            given = {
                name.removeprefix(f"{case}."): value for name, value in data.items() if name.startswith(f"{case}.")
            }
            out = Refiner(transformer, (given["prompt_embeds"], given["prompt_mask"])).refine_latents(
                given["z"], "", fps=16.0, sink_size=int(given["sink_size"]), seed=42, progress=False
            )
            measure(f"refiner.{path.name.split('_')[2]}.{case}", out, given["out_single_shot_pr379"])


with contextlib.redirect_stdout(sys.stderr), torch.inference_mode():
    sana_wm_mps.install()
    sana_wm_mps.install()
    stage1 = load_stage1()
    run_network(stage1)
    run_loop(stage1)
    run_refiner()
sys.stdout.write(json.dumps(errors, indent=1) + "\n")
