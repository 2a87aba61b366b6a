"""Upstream's inference script on whatever device there is, with upstream's command line."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from sana_wm_mps import install
from sana_wm_mps.device import TORCH, pick_device
from sana_wm_mps.geometry import remember_exact

#: Where the script lies, seen from the checkout's root.
SCRIPT = Path("inference_video_scripts/inference_sana_wm.py")
#: Below this, MPS has no attention kernel that does without the score matrix, or computes large linears wrongly.
MPS_TORCH = (2, 14)


def run_script(checkout: Path) -> None:
    """Run the script's `main` on the best device, with `sys.argv` as its arguments.

    Args:
        checkout: Root of the NVlabs/Sana checkout.

    Raises:
        SystemExit: The torch release is too old for MPS, or an argument is wrong.
    """
    device = pick_device()
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if device.type == "mps" and release < MPS_TORCH:
        raise SystemExit(f"torch {torch.__version__} computes wrongly on MPS; install 2.14.1 or later")
    install()
    script = load_script(checkout)
    adapt_script(script, device)
    script.main()


def load_script(checkout: Path) -> Any:
    """Import the script as the module `inference_sana_wm`."""
    sys.path.insert(0, str(checkout))
    spec = importlib.util.spec_from_file_location("inference_sana_wm", checkout / SCRIPT)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{checkout} has no {SCRIPT}: it is not a checkout of NVlabs/Sana PR #379")
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    return script


def adapt_script(script: ModuleType | Any, device: torch.device) -> None:
    """Give the loaded script its device, noise from the CPU, and camera geometry in float32.

    `SANA_GEMMA_2_2B_IT_ROOT` names a local folder of gemma-2-2b-it; without it the script downloads one.
    """
    script.torch = TORCH
    script.SanaWMPipeline.__init__ = _on_device(script.SanaWMPipeline.__init__, device)
    script.prepare_camera = _remembering(script.prepare_camera)
    if root := os.environ.get("SANA_GEMMA_2_2B_IT_ROOT"):
        script.get_tokenizer_and_text_encoder = _local_gemma(root)


def _on_device(initialise: Callable[..., None], device: torch.device) -> Callable[..., None]:
    def init(pipeline: Any, *arguments: Any, **keywords: Any) -> None:
        initialise(pipeline, *arguments, **(keywords | {"device": device}))

    return init


def _remembering(prepare_camera: Callable[..., dict[str, torch.Tensor]]) -> Callable[..., dict[str, torch.Tensor]]:
    def prepare(*arguments: Any, **keywords: Any) -> dict[str, torch.Tensor]:
        camera = prepare_camera(*arguments, **keywords)
        remember_exact(camera["raymap"])
        return camera

    return prepare


def _local_gemma(root: str) -> Callable[..., tuple[Any, Any]]:
    def load(name: str, device: torch.device) -> tuple[Any, Any]:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        del name
        tokenizer = AutoTokenizer.from_pretrained(root, local_files_only=True)
        tokenizer.padding_side = "right"
        model = AutoModelForCausalLM.from_pretrained(root, dtype=torch.bfloat16, local_files_only=True)
        return tokenizer, model.get_decoder().to(device)

    return load
