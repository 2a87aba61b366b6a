"""How much memory NVIDIA's own code takes: it has no plans to choose from, so this is a fit of what was measured.

The figures come from the MPS check at full size, which counts every live byte (reports/pr379/mps-lint.json).
"""

from __future__ import annotations

#: Copies of the residual stream that are alive at once where a step takes most, and what does not grow with it: at
#: 161, 321 and 961 frames 8 to 12 % more for Stage 1, and 6 % for the refiner, than was counted beside the weights.
STAGE1_WIDTHS, STAGE1_FIXED_BYTES = 22, 350 * 1024**2
REFINER_WIDTHS = 15


def upstream_stage1_work_bytes(tokens: int, hidden_size: int, element_bytes: int) -> int:
    """Beside the weights, for one prompt at a time.

    Args:
        tokens: Latent frames times height times width.
        hidden_size: Channels of the residual stream.
        element_bytes: Of the network's dtype.
    """
    return STAGE1_WIDTHS * tokens * hidden_size * element_bytes + STAGE1_FIXED_BYTES


def upstream_refiner_work_bytes(tokens: int, width: int, element_bytes: int) -> int:
    """Beside the weights, for one pass over all tokens.

    Args:
        tokens: Latent frames times height times width.
        width: Channels of the transformer.
        element_bytes: Of the network's dtype.
    """
    return REFINER_WIDTHS * tokens * width * element_bytes
