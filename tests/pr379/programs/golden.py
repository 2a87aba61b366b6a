"""Upstream's own classes on the golden inputs: prints the relative error of each golden output, as JSON.

`python golden.py CHECKOUT GOLDEN`, with a patched checkout and the golden folder. On a card, in bfloat16, with the
patch or with upstream's own Triton kernels: `--device cuda --dtype bfloat16`, and `--stock`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

CASES = ("a", "b", "rot")
LOOPS = (("cfg5", "bfloat16"), ("cfg1", "bfloat16"), ("cfg5_fp32sdpa", "float32"))


class Form:
    """Upstream's code in one form.

    Args:
        stock: With upstream's own kernels and functions. What cannot be imported is stood in for all the same, fla's
            short convolution among it, and the refiner draws its noise on the CPU.
        device: Where it computes.
        dtype: Of weights and inputs.
    """

    def __init__(self, *, stock: bool, device: torch.device, dtype: torch.dtype) -> None:
        self.stock, self.device, self.dtype = stock, device, dtype
        import sana_wm_mps
        from sana_wm_mps import guards, replacements

        self.settings = sana_wm_mps.SETTINGS
        if stock:
            guards.KERNEL_MODULES.clear()
            noise = f"{replacements.UPSTREAM_REFINER}:torch"
            kept = {noise: replacements.REPLACEMENTS[noise]}
            replacements.REPLACEMENTS.clear()
            replacements.REPLACEMENTS.update(kept)
        sana_wm_mps.install()
        sana_wm_mps.install()

    def attention_dtypes(self) -> dict[str, torch.dtype]:
        """What softmax attention may round to, by the suffix of the golden outputs."""
        shipped = {"": torch.bfloat16}
        return shipped if self.stock or self.dtype == torch.bfloat16 else {**shipped, "_fp32sdpa": torch.float32}

    def place(self, tensor: Tensor) -> Tensor:
        """On the device; floating numbers in the dtype."""
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else None)


def metadata(path: Path) -> dict[str, str]:
    """A safetensors file's metadata."""
    with safe_open(path, "pt") as file:
        return file.metadata()


def of_case(data: Mapping[str, Tensor], case: str) -> dict[str, Tensor]:
    """The tensors of one case by their names in it."""
    return {name.removeprefix(f"{case}."): value for name, value in data.items() if name.startswith(f"{case}.")}


def load_stage1(golden: Path, form: Form) -> torch.nn.Module:
    """The golden weights in upstream's network."""
    from sana_wm_mps.model import build_transformer

    path = golden / "dit_tiny_weights.safetensors"
    network = build_transformer(**json.loads(metadata(path)["config"]))
    missing, unexpected = network.load_state_dict(load_file(path), strict=False)
    assert not missing, missing
    assert not unexpected, unexpected
    return network.to(form.device, form.dtype)


def run_network(network: torch.nn.Module, golden: Path, form: Form) -> dict[str, Tensor]:
    """Every case of the network's golden inputs, with attention as shipped and, where it can be, exact."""
    data = load_file(golden / "dit_tiny_io.safetensors")
    outputs: dict[str, Tensor] = {}
    for case in CASES:
        given = of_case(data, case)
        for suffix, dtype in form.attention_dtypes().items():
            form.settings.attention_dtype = dtype
            outputs[f"dit.{case}{suffix}"] = network(
                form.place(given["hidden_states"]),
                given["timestep"].to(form.device),
                form.place(given["encoder_hidden_states"]),
                mask=form.place(given["encoder_attention_mask"]),
                camera_conditions=form.place(given["camera_conditions"]),
                chunk_plucker=form.place(given["chunk_plucker"]),
                data_info={},
            )
    return outputs


def run_loop(network: torch.nn.Module, golden: Path, form: Form) -> dict[str, Tensor]:
    """Upstream's sampler over all its steps."""
    from diffusion import LTXFlowEuler

    path = golden / "stage1_sampling_tiny.safetensors"
    data, facts = {name: form.place(tensor) for name, tensor in load_file(path).items()}, metadata(path)
    outputs: dict[str, Tensor] = {}
    for name, attention in LOOPS:
        if getattr(torch, attention) not in form.attention_dtypes().values():
            continue
        form.settings.attention_dtype = getattr(torch, attention)
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
        outputs[f"loop.{name}"] = sampler.sample(data["z"].clone(), steps=int(facts["steps"]))
    return outputs


def run_refiner(golden: Path, form: Form) -> dict[str, Tensor]:
    """Upstream's whole refiner but for its text encoder."""
    from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
    from diffusion.refiner.diffusers_ltx2_refiner import DiffusersLTX2Refiner

    class Refiner(DiffusersLTX2Refiner):
        def __init__(self, transformer: torch.nn.Module, prompt: tuple[Tensor, Tensor]) -> None:
            torch.nn.Module.__init__(self)
            self.transformer, self.prompt = transformer, prompt
            self.dtype, self.device = form.dtype, form.device

        def _encode_prompt(self, _: str) -> tuple[Tensor, Tensor]:
            return self.prompt

    outputs: dict[str, Tensor] = {}
    for path in sorted(golden.glob("refiner_tiny_*_weights.safetensors")):
        transformer: Any = LTX2VideoTransformer3DModel(**json.loads(metadata(path)["config"])).eval()
        transformer.load_state_dict(load_file(path))
        transformer.to(form.device, form.dtype)
        data = load_file(path.with_name(path.name.replace("weights", "io")))
        for case in ("a", "b"):
            given = of_case(data, case)
            refiner = Refiner(transformer, (form.place(given["prompt_embeds"]), form.place(given["prompt_mask"])))
            outputs[f"refiner.{path.name.split('_')[2]}.{case}"] = refiner.refine_latents(
                form.place(given["z"]), "", fps=16.0, sink_size=int(given["sink_size"]), seed=42, progress=False
            )
    return outputs


def expected_outputs(golden: Path, *, exact: bool) -> dict[str, Tensor]:
    """The golden outputs under the names of ours.

    Args:
        golden: The golden folder.
        exact: In the form without rounding for every name; otherwise each in its own form.
    """
    data = load_file(golden / "dit_tiny_io.safetensors")
    outputs = {
        f"dit.{case}{suffix}": data[f"{case}.out_pr379{'_fp32sdpa' if exact else suffix}"]
        for case in CASES
        for suffix in ("", "_fp32sdpa")
    }
    data = load_file(golden / "stage1_sampling_tiny.safetensors")
    for name, _ in LOOPS:
        sharp = f"out_pr379_{name.removesuffix('_fp32sdpa')}_fp32sdpa"
        outputs[f"loop.{name}"] = data[sharp if exact and sharp in data else f"out_pr379_{name}"]
    for path in sorted(golden.glob("refiner_tiny_*_io.safetensors")):
        data = load_file(path)
        for case in ("a", "b"):
            outputs[f"refiner.{path.name.split('_')[2]}.{case}"] = data[f"{case}.out_single_shot_pr379"]
    return outputs


def measure(outputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
    """Of each output its relative error, and under `NAME.max_abs` the largest absolute one."""
    errors: dict[str, float] = {}
    for name, out in outputs.items():
        wanted = expected[name].double()
        difference = out.cpu().double() - wanted  # MPS has no float64
        errors[name] = float(difference.norm() / wanted.norm())
        errors[f"{name}.max_abs"] = float(difference.abs().max())
    return errors


def main() -> None:
    """Compute, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("golden", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--stock", action="store_true", help="with upstream's own Triton kernels")
    options = parser.parse_args()
    sys.path.insert(0, str(options.checkout))
    os.environ["DPM_TQDM"] = "True"
    torch.backends.cudnn.allow_tf32 = False
    with contextlib.redirect_stdout(sys.stderr), torch.inference_mode():
        form = Form(stock=options.stock, device=torch.device(options.device), dtype=getattr(torch, options.dtype))
        stage1 = load_stage1(options.golden, form)
        outputs = run_network(stage1, options.golden, form)
        outputs |= run_loop(stage1, options.golden, form)
        outputs |= run_refiner(options.golden, form)
    expected = expected_outputs(options.golden, exact=options.dtype == "bfloat16")
    sys.stdout.write(json.dumps(measure(outputs, expected), indent=1) + "\n")


if __name__ == "__main__":
    main()
