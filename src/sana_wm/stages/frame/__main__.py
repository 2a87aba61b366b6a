"""Decodes one frame of a finished run by the schedule of its own decode: the bits that its video was encoded from."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sana_wm.durable import durable_file
from sana_wm.errors import HandoffError, SanaWMError
from sana_wm.models.loading import load_vae
from sana_wm.models.vae.streaming_decoder import StreamingDecoder
from sana_wm.pipeline import source_of
from sana_wm.planning.decode import DecodePlan, reach_latent_frames
from sana_wm.printing import spell_out_output
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runtime.device import select_device, select_dtype
from sana_wm.runtime.latents import load_tensors
from sana_wm.runtime.memory import TorchMemory
from sana_wm.sizes import FRAMES_PER_LATENT
from sana_wm.stages.decoding import first_latent_for
from sana_wm.weights.manifest_layout import locate_weights


def main() -> int:
    """Write the frame; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sana_wm.stages.frame", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("frame", type=int, help="of all that are decoded, counted from 0")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    try:
        with torch.inference_mode():
            frame = decode_frame(RunDirectory(arguments.run_dir), arguments.frame)
        with durable_file(arguments.out) as part:
            Image.fromarray(frame).save(part)
    except SanaWMError as error:
        sys.stderr.write(f"sana-wm: {error}\n")
        return error.exit_code
    return 0


def decode_frame(run: RunDirectory, frame: int) -> NDArray[np.uint8]:
    """A frame as (H, W, 3) uint8.

    Args:
        run: Whose decode is finished.
        frame: Of all that are decoded, counted from 0.

    Raises:
        HandoffError: The run has no finished decode, or its latents are missing or damaged.
    """
    manifest = run.read_manifest()
    source, receipt = source_of(manifest, "vae_decode"), read_receipt(run, "vae_decode")
    if source is None or receipt is None:
        raise HandoffError(f"{run.path} is not decoded", got="no receipt", next_step=f"Finish it: {run.resume_command}")
    device = select_device(manifest.device)
    TorchMemory(device.type).limit(manifest.memory.cap_bytes)
    # As in the stage: kernels that add in the same order every time.
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    latents = load_tensors(run.latents_file(source), {"stage": source})["latents"]
    plan = DecodePlan.from_json(receipt.plan)
    vae = load_vae(locate_weights(manifest), device, select_dtype(manifest.dtype, device), part="decoder")
    start = first_latent_for(frame, reach_latent_frames(vae.config), plan)
    pieces = StreamingDecoder(vae, plan).decode(latents[0, :, start:].transpose(0, 1).split(plan.steps[0]))
    frames = (one for piece in pieces for one in piece)
    return next(islice(frames, frame - FRAMES_PER_LATENT * start, None)).to("cpu").numpy()


if __name__ == "__main__":
    spell_out_output()
    sys.exit(main())
