"""Signs of wrong arithmetic in latents, looked for at every checkpoint.

Wrong results on MPS come without an error: what users saw were NaN, black or constant frames. Latents of a sound run
have a standard deviation near 1 in every frame; the limits are far outside of what was measured (docs/mps.md).
"""

from __future__ import annotations

from pathlib import Path

import torch

from sana_wm.errors import SanityError
from sana_wm.manifest.model import SanitySection
from sana_wm.runtime.latents import save_tensors


def check_latents(latents: torch.Tensor, limits: SanitySection, *, where: str, evidence: Path) -> list[float]:
    """Hold every latent frame against finiteness and the limits of its standard deviation.

    Args:
        latents: (1, C, F, h, w), any dtype and device.
        limits: From the manifest.
        where: What they are, for the message: "step 12 of 60".
        evidence: File that keeps the latents when something is wrong.

    Returns:
        The standard deviation of every latent frame.

    Raises:
        SanityError: A frame is not finite or out of the limits; the latents are saved first.
    """
    frames = latents[0].float().transpose(0, 1).flatten(1)
    deviations: list[float] = frames.std(dim=1).tolist()
    low, high = limits.latent_std_min, limits.latent_std_max
    # NaN and infinity fail every comparison, so they are caught by the same line.
    suspects = [index for index, deviation in enumerate(deviations) if not low <= deviation <= high]
    if suspects:
        save_tensors(evidence, {"latents": latents}, {"where": where})
        worst = deviations[suspects[0]]
        raise SanityError(
            f"latents look broken at {where}: latent frames {_ranges(suspects)}",
            got=f"standard deviation {worst:.4g} in frame {suspects[0]}",
            expected=f"{low:g} to {high:g} (sanity.latent_std_min, latent_std_max)",
            next_step=f"The latents are kept in {evidence}; see docs/troubleshooting.md.",
        )
    return deviations


def _ranges(indices: list[int]) -> str:
    """`0-3, 7` for [0, 1, 2, 3, 7]."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
