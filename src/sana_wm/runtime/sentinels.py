"""Signs of wrong arithmetic in latents, looked for at every checkpoint.

Wrong results on MPS come without an error: what users saw were NaN, black or constant frames. Latents of a sound run
have a standard deviation near 1 in every frame; the limits are far outside of what was measured (docs/mps.md). Each
token comes from noise of its own: two that are equal in all channels are memory that was written twice, or never.
"""

from __future__ import annotations

from pathlib import Path

import torch

from sana_wm.errors import SanityError
from sana_wm.manifest.limits import SanitySection
from sana_wm.runtime.latents import save_tensors

#: Greatest value, in multiples of the greatest standard deviation: one wild token hardly moves a frame's deviation.
PEAK_DEVIATIONS = 50.0
#: Equal neighbours in a latent frame that are no accident of tiny networks.
LEAST_REPEATED = 4


def check_latents(
    latents: torch.Tensor, limits: SanitySection, *, where: str, evidence: Path, go_on: str | None = None
) -> list[float]:
    """Hold every latent frame against finiteness, the limits of its values, and repeated tokens.

    Args:
        latents: (1, C, F, h, w), any dtype and device; the first frame is the picture's own.
        limits: From the manifest.
        where: What they are, for the message: "step 12 of 60".
        evidence: File that keeps the latents when something is wrong.
        go_on: The command that goes on from the last checkpoint, for the message.

    Returns:
        The standard deviation of every latent frame.

    Raises:
        SanityError: A frame is not finite, out of the limits or holds repeated tokens; the latents are saved first.
    """
    frames = latents[0].float().transpose(0, 1).flatten(1)
    deviations: list[float] = frames.std(dim=1).tolist()
    low, high = limits.latent_std_min, limits.latent_std_max
    peaks: list[float] = frames.abs().amax(dim=1).tolist()
    repeated = _repeated_tokens(latents[0])

    def refuse(suspects: list[int], got: str, expected: str) -> None:
        if not suspects:
            return
        save_tensors(evidence, {"latents": latents}, {"where": where})
        again = f"; {go_on} goes on from the last checkpoint, which passed" if go_on else ""
        raise SanityError(
            f"latents look broken at {where}: latent frames {_ranges(suspects)}",
            got=f"{got} in frame {suspects[0]}",
            expected=expected,
            next_step=f"These latents are kept in {evidence}{again}. See docs/troubleshooting.md.",
        )

    # NaN and infinity fail every comparison, so they are caught by the same line.
    suspects = [index for index, deviation in enumerate(deviations) if not low <= deviation <= high]
    worst = deviations[suspects[0]] if suspects else 0.0
    refuse(
        suspects,
        f"standard deviation {worst:.4g}",
        f"{low:g} to {high:g} (sanity.latent_std_min, latent_std_max)",
    )
    suspects = [index for index, peak in enumerate(peaks) if not peak <= PEAK_DEVIATIONS * high]
    refuse(
        suspects,
        f"a value of {peaks[suspects[0]] if suspects else 0:.4g}",
        f"at most {PEAK_DEVIATIONS * high:g} ({PEAK_DEVIATIONS:g} times sanity.latent_std_max)",
    )
    suspects = [index for index, count in enumerate(repeated) if count >= LEAST_REPEATED]
    refuse(
        suspects,
        f"{repeated[suspects[0]] if suspects else 0} tokens equal to a neighbour or to the frame before",
        "tokens that differ, as the noise that they come from does",
    )
    return deviations


def _repeated_tokens(frames: torch.Tensor) -> list[int]:
    """How many tokens of each frame equal the one beside, below or before them in all channels; (C, F, h, w).

    The first frame is left out: a white page becomes equal tokens.
    """
    made = frames[:, 1:]
    equal = [
        (made[..., 1:] == made[..., :-1]).all(0),
        (made[..., 1:, :] == made[..., :-1, :]).all(0),
        (made == frames[:, :-1]).all(0),
    ]
    counts = sum(found.flatten(1).sum(1) for found in equal)
    return [0, *(counts.tolist() if isinstance(counts, torch.Tensor) else [])]


def _ranges(indices: list[int]) -> str:
    """`0-3, 7` for [0, 1, 2, 3, 7]."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
