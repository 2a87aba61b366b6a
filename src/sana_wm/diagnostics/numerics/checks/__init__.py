"""All checks of the self-test, in the order in which they run.

What is not here, because it takes more than 4 GiB or writes out of bounds: `cat` above 2^31 elements, products and
attention scores above 2^32, embedding tables above 2^31, `copy_` behind 2^32. The MPS check (docs/mps.md) shows that no
tensor of a run comes near those sizes.
"""

from __future__ import annotations

from sana_wm.diagnostics.numerics.check import NumericsCheck
from sana_wm.diagnostics.numerics.checks import attentions, convolutions, elementwise, layouts, networks, products

CHECKS: tuple[NumericsCheck, ...] = (
    *products.CHECKS,
    *attentions.CHECKS,
    *convolutions.CHECKS,
    *elementwise.CHECKS,
    *layouts.CHECKS,
    *networks.CHECKS,
)
