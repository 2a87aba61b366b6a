"""The memory governor's rule: what was seen in, what to do out. The supervisor looks and acts every 250 ms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sana_wm.planning.shares import SOFT_SHARE
from sana_wm.progress.memory import MemorySample
from sana_wm.sizes import GIB


@dataclass(frozen=True)
class MemoryLimits:
    """What a stage is held to.

    Attributes:
        cap_bytes: The hard limit.
        soft_share: The share of it above which the stage is asked to take less.
        swap_growth_bytes: Growth of the machine's swap at which it is asked, too.
    """

    cap_bytes: int
    soft_share: float = SOFT_SHARE
    swap_growth_bytes: int = 2 * GIB

    @property
    def soft_bytes(self) -> int:
        """The soft limit."""
        return int(self.cap_bytes * self.soft_share)


@dataclass(frozen=True)
class Verdict:
    """What to do with the stage: `go` on, ask it to `shrink` its working set and save, or `stop` it; and why."""

    action: Literal["go", "shrink", "stop"]
    why: str = ""


def judge(sample: MemorySample, limits: MemoryLimits) -> Verdict:
    """The rule.

    Only what the stage itself takes, or could take, can stop it: pressure and swap say that the machine is in need, not
    that this stage broke its promise.
    """
    if sample.device_limit_bytes is not None and sample.device_limit_bytes > limits.cap_bytes:
        return Verdict("stop", f"its device would give it up to {gib(sample.device_limit_bytes)}")
    if sample.used_bytes > limits.cap_bytes:
        return Verdict("stop", gib(sample.used_bytes))
    if sample.used_bytes > limits.soft_bytes:
        return Verdict("shrink", f"{gib(sample.used_bytes)} is close to the cap")
    if (sample.swap_growth_bytes or 0) > limits.swap_growth_bytes:
        return Verdict("shrink", f"swap grew by {gib(sample.swap_growth_bytes or 0)}")
    if sample.pressure == "critical":
        return Verdict("shrink", "the machine is critically short of memory")
    return Verdict("go")


def gib(size_bytes: int) -> str:
    """`12.34 GiB`."""
    return f"{size_bytes / GIB:.2f} GiB"
