"""Which steps run with guidance, and so how many passes of the transformer each takes."""

from __future__ import annotations

import math
from decimal import Decimal

from sana_wm.manifest.model import Stage1Section


def guided_steps(stage1: Stage1Section) -> int:
    """How many steps, from the first, run with guidance: step i, from 0, does while i < guidance_until x steps.

    The share counts as its decimal digits say it: 0.28 of 25 steps are 7, which binary fractions would make 8.
    """
    if stage1.guidance_scale <= 1:
        return 0
    return math.ceil(Decimal(str(stage1.guidance_until)) * stage1.num_inference_steps)


def step_passes(stage1: Stage1Section) -> tuple[int, ...]:
    """Passes of the transformer over the whole clip, by step: 2 with guidance, else 1. A step's time goes by them.

    Not of a model that works chunk by chunk: its chunks take the same passes each.
    """
    guided = guided_steps(stage1)
    return (2,) * guided + (1,) * (stage1.num_inference_steps - guided)
