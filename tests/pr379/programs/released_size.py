"""Upstream's Stage 1 at its released size on a card, random weights: with the patch, and with its own Triton kernels.

`python released_size.py CHECKOUT`, with a patched checkout: every form in a process of its own, then prints how far
each is from the patched float32 one, as JSON. Both prompts, a camera that walks forward and turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from golden import Form
from safetensors.torch import load_file, save_file
from torch import Tensor

GRID = (22, 40)
TIMESTEP = 700.0
EXACT = "patched float32"
#: Upstream's knob for its kernels' products: 0 is IEEE float32, unset its default, bfloat16.
PRECISE = {"FUSED_GDN_PRECISION": "0"}


def compute(frames: int, form: Form) -> dict[str, Tensor]:
    """One forward pass of both prompts; how long a second one takes, in seconds, and the peak in bytes."""
    from sana_wm_mps.model import build_transformer

    from sana_wm.bench.random_stage1 import build_inputs
    from sana_wm.bench.random_stage1 import build_transformer as build_random

    source = build_random({}, form.device, torch.float32)
    renamed = {f"t_embedder.linear_{one}.": f"t_embedder.mlp.{two}." for one, two in ((1, 0), (2, 2))}
    weights: dict[str, Tensor] = {}
    for name, weight in source.state_dict().items():
        ours = next((prefix for prefix in renamed if name.startswith(prefix)), "")
        weights[renamed.get(ours, "") + name.removeprefix(ours)] = weight
    inputs = build_inputs(source, (frames, *GRID))
    with form.device:
        network = build_transformer()
    missing, unexpected = network.load_state_dict(weights, strict=False)
    # diffusers dropped these two; nothing reads them.
    assert set(missing) <= {"pos_embed", "y_embedder.y_embedding"}, missing
    assert not unexpected, unexpected
    del source, weights
    network = network.to(form.device, form.dtype)
    form.settings.attention_dtype = form.dtype
    timestep = torch.full((2, 1, frames), TIMESTEP, device=form.device)
    timestep[:, :, 0] = 0
    arguments = {
        "mask": form.place(inputs.prompt_attention_mask),
        "camera_conditions": form.place(inputs.camera["raymap"].repeat(2, 1, 1)),
        "chunk_plucker": form.place(inputs.camera["chunk_plucker"].repeat(2, 1, 1, 1, 1)),
        "data_info": {},
    }
    latents, prompts = form.place(inputs.latents.repeat(2, 1, 1, 1, 1)), form.place(inputs.prompt_embeds)
    network(latents, timestep, prompts, **arguments)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    started = time.perf_counter()
    out = network(latents, timestep, prompts, **arguments)
    torch.cuda.synchronize()
    return {
        "out": out.float().cpu().contiguous(),
        "seconds": torch.tensor(time.perf_counter() - started),
        "peak_bytes": torch.tensor(torch.cuda.max_memory_allocated()),
    }


def compute_all(checkout: Path, frames: int) -> dict[str, dict[str, float] | str]:
    """Every form; a form that fails says why in the place of its numbers."""
    results: dict[str, dict[str, Tensor]] = {}
    said: dict[str, dict[str, float] | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (EXACT, "stock float32", "patched bfloat16", "stock bfloat16"):
            kind, dtype = name.split()
            file = Path(folder) / f"{kind}-{dtype}.safetensors"
            command = [sys.executable, __file__, str(checkout), "--frames", str(frames), "--dtype", dtype]
            command += ["--out", str(file), *(["--stock"] if kind == "stock" else [])]
            environment = os.environ | (PRECISE if dtype == "float32" else {})
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                said[name] = f"failed with code {done.returncode}: {done.stderr.strip()[-300:]}"
                if name == EXACT:
                    break  # there is nothing to hold the others against
                continue
            results[name] = load_file(file)
            exact = results[EXACT]["out"].double()
            out = results[name]["out"].double()
            said[name] = {
                "relative_error": float((out - exact).norm() / exact.norm()),
                "seconds": round(float(results[name]["seconds"]), 4),
                "peak_bytes": float(results[name]["peak_bytes"]),
            }
            sys.stderr.write(f"{name}, {frames} latent frames: {said[name]}\n")
    return said


def main() -> None:
    """One form into a file, or all of them into a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[21, 41], help="latent frames")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.out is None:
        report = {f"{frames} latent frames": compute_all(options.checkout, frames) for frames in options.frames}
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
        return
    sys.path.insert(0, str(options.checkout))
    torch.backends.cudnn.allow_tf32 = False
    with contextlib.redirect_stdout(sys.stderr), torch.inference_mode():
        form = Form(stock=options.stock, device=torch.device("cuda"), dtype=getattr(torch, options.dtype))
        outputs = compute(options.frames[0], form)
    save_file(outputs, options.out)


if __name__ == "__main__":
    main()
