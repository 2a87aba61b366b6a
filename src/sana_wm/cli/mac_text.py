"""What Macs can do, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sana_wm.figures import format_range
from sana_wm.planning.plan import what_would_fit
from sana_wm.sizes import GIB

if TYPE_CHECKING:
    from sana_wm.drafting.modes import Mode
    from sana_wm.planning.mac_plan import MacPlan
    from sana_wm.planning.macs import Mac


def describe_modes(mac: Mac, modes: Mapping[Mode, MacPlan]) -> str:
    """The table of what a Mac can do, where nobody named a manifest."""
    lines = [
        *_head(mac),
        "",
        f"{'mode':<20}{'video':>6}{'frames':>8}  {'refiner':<11}{'fits':<5}{'peak':>8}  time",
    ]
    for mode, plan in modes.items():
        refiner = describe_refiner(plan) if mode.refine else "off"
        row = f"{mode.name:<20}{mode.video_s:>4} s{mode.num_frames:>8}  {refiner:<11}"
        if plan.range_s is None:
            lines.append(f"{row}{'NO':<5}{'too much':>8}")
        else:
            peak = f"{plan.slow.peak_bytes / GIB:.1f} GiB"
            lines.append(f"{row}{'yes':<5}{peak:>8}  ~{format_range(*plan.range_s)}")
    return "\n".join([*lines, "", *_foot(mac)])


def describe_mac_plan(plan: MacPlan) -> str:
    """A manifest's plan on another Mac."""
    slow = plan.slow
    lines = [*_head(plan.mac), "", f"{'stage':<11}{'phase':<14}{'peak':>10}  {'time':<18}how"]
    for one, fast in zip(slow.phases, plan.fast.phases, strict=True):
        peak = "too much" if one.used_bytes is None else f"{one.used_bytes / GIB:.2f} GiB" if one.used_bytes else ""
        time = "" if one.seconds is None or fast.seconds is None else f"~{format_range(fast.seconds, one.seconds)}"
        lines.append(f"{one.stage:<11}{one.phase:<14}{peak:>10}  {time:<18}{one.mode}")
    limit_bytes = min(slow.cap_bytes, slow.device.memory_bytes)
    memory = f"memory  peak {slow.peak_bytes / GIB:.2f} of {limit_bytes / GIB:.1f} GiB"
    lines += [
        "",
        memory if plan.fits else f"memory  DOES NOT FIT. {what_would_fit(slow)}",
        f"disk    weights {slow.weights_bytes / GIB:.1f} GiB; the run takes at most {slow.disk_bytes / GIB:.2f} GiB",
        *([] if plan.range_s is None else [f"time    ~{format_range(*plan.range_s)}"]),
        "",
        *_foot(plan.mac),
    ]
    return "\n".join(lines)


def describe_refiner(plan: MacPlan) -> str:
    """Where the refiner's weights are while it works: all in memory, or read from disk again and again."""
    if not plan.fits:
        return "on"
    return "from disk" if plan.streamed else "in memory"  # no other stage's are ever read again and again


def _head(mac: Mac) -> list[str]:
    return [
        f"{mac.name}: {mac.device.memory_bytes / GIB:.1f} GiB for the GPU, as Metal recommends",
        *([mac.assumed] if mac.assumed else []),
        "by the released model's sizes; no weights were looked at",
    ]


def _foot(mac: Mac) -> list[str]:
    return [
        f"~ is {mac.basis}.",
        "Peaks are forecasts by the engines' own rules; nothing was run on a Mac yet. Sources: docs/which-mac.md.",
    ]
