"""Write docs/which-mac.md, and README.md's short table, from the table of Macs and the plan: `make which-mac`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from sana_wm.drafting.modes import MODES, SPOKEN, Mode, plan_modes
from sana_wm.drafting.presets import PRESETS
from sana_wm.figures import format_range
from sana_wm.names import Variant
from sana_wm.planning.mac_plan import MacPlan
from sana_wm.planning.macs import Gpu, Mac, find_mac, mac_table, shipped_macs

ROOT = Path(__file__).resolve().parents[1]
PAGE, README = ROOT / "docs" / "which-mac.md", ROOT / "README.md"
BLOCK = re.compile(r"(<!-- which-mac:begin -->\n).*?(<!-- which-mac:end -->)", re.DOTALL)
#: Macs that stand for all the others in the short table.
SHOWN = (
    *("M2 8 GB", "M1 16 GB", "M4 24 GB", "M2 Pro 32 GB", "M3 Max 36 GB", "M4 Max 64 GB", "M5 Max 128 GB"),
    "M3 Ultra 96 GB",
)
#: The short table's columns: a head, and which mode of 20 s stands below it.
SHORT: Mapping[str, Callable[[Mode], bool]] = {
    "a draft": lambda mode: mode.name == "draft",
    "streaming, in full": lambda mode: mode.name == "streaming standard",
    "standard, in full": lambda mode: mode.name == "standard" and mode.refine,
}
FROM_DISK, TOO_MUCH = "†", "–"
Plans = Mapping[tuple[Mode, str], MacPlan]

#: Of which modes it is said together whether they fit: the number of steps takes no memory.
KINDS: list[tuple[Variant, bool, int]] = sorted({(mode.variant, mode.refine, mode.video_s) for mode in MODES})

HEAD = """\
# Which Mac can do what
**Nothing was run on a Mac yet.** Every time here is a guess, marked `~`, from the number of operations and what is
published of each GPU. Whether something fits is the plan's forecast ([what that was held
against](memory.md#the-numbers)). `make which-mac` writes the page from the same table and plan that answer you:

```sh
sana-wm plan --for "M2 Pro 32 GB"
sana-wm plan --for "M4 Max 40-core 128 GB" --json
```

With a manifest, `sana-wm plan MANIFEST --for "M2 Pro 32 GB"` plans that run, phase by phase; exit code 5 says that it
does not fit. Neither weights nor that Mac need be there. Of a chip that was sold with two GPUs the smaller one is
taken, unless you say the number of its cores.
"""
RULES = f"""\
The refiner is a second, larger network that works on what the first one made; `--no-refine` leaves it out, and a draft
always does. Where its weights do not fit, they are read from disk again and again while it works ({FROM_DISK} below);
the video is the same.
"""
BASIS = """\
A time is operations divided by a rate, or bytes from disk divided by another where that takes longer, and the start of
each stage. The rate is what is published of the GPU times a share of it: a low one for the slow end, a high one for the
fast end. Names are those of `configs/macs.json`.
"""
BELOW_SHORT_TABLE = f"""
Every time is a guess (`~`) from the number of operations and what is published of each chip's smaller GPU: nothing was
measured on a Mac. {TOO_MUCH} does not fit; {FROM_DISK} the refiner's weights are read from disk while it works. Yours:
`sana-wm plan --for "M2 Pro 32 GB"`; all Macs, with the basis of each number: [docs/which-mac.md](docs/which-mac.md).
"""


def plan_all() -> Plans:
    """Every mode on every Mac of the table, by the Mac's name."""
    return {(mode, plan.mac.name): plan for mode, plans in plan_modes(shipped_macs()).items() for plan in plans}


def write_page(plans: Plans) -> str:
    """The whole page."""
    parts = [
        HEAD,
        f"## What can be asked for\n{_modes()}\n{RULES}",
        f"## What fits into which memory\n{_memory(plans)}",
        f"## How long it may take\n{FROM_DISK} the refiner's weights are read from disk; {TOO_MUCH} does not fit.\n",
    ]
    for video_s in sorted({mode.video_s for mode in MODES}, reverse=True):
        for refine, words in ((False, "without the refiner"), (True, "with the refiner")):
            parts.append(f"### {video_s} s of video, {words}\n{_times(plans, video_s, refine=refine)}")
    parts.append(f"## Where the numbers come from\n{BASIS}\n{_sources()}\n{_gpus()}\n{_left_out()}")
    return "\n".join(parts)


def write_short_table(plans: Plans) -> str:
    """What README.md shows between its marks."""
    modes = [next(mode for mode in MODES if mode.video_s == 20 and stands(mode)) for stands in SHORT.values()]
    rows = [[said, *(_cell(plans[mode, find_mac(said).name]) for mode in modes)] for said in SHOWN]
    return _table(["20 s of video on", *SHORT], rows) + BELOW_SHORT_TABLE


def put_into(readme: str, table: str) -> str:
    """A README with the table between its marks; without marks it stays as it is."""
    return BLOCK.sub(lambda marks: f"{marks[1]}{table}{marks[2]}", readme)


def main() -> None:
    """Write both."""
    plans = plan_all()
    PAGE.write_text(write_page(plans), encoding="utf-8")
    readme = README.read_text(encoding="utf-8")
    README.write_text(put_into(readme, write_short_table(plans)), encoding="utf-8")


def _modes() -> str:
    presets = {mode.name: mode for mode in MODES}
    rows = [
        [name, f"`--variant {mode.variant} --preset {mode.preset}`", PRESETS[mode.preset].question]
        for name, mode in presets.items()
    ]
    return _table(["mode", "options of `run` and `init-manifest`", "the question that a run of it answers"], rows)


def _memory(plans: Plans) -> str:
    """By memory alone: whether something fits depends on nothing else of a Mac, nor on the number of steps."""
    columns = list[tuple[list[str], int]]()
    for memory_gb in sorted({mac.memory_gb for mac in shipped_macs()}):
        found = [(mode, plan) for (mode, _), plan in plans.items() if plan.mac.memory_gb == memory_gb]
        said = [
            {_fit(plan) for mode, plan in found if (mode.variant, mode.refine, mode.video_s) == kind} for kind in KINDS
        ]
        columns.append(([one for [one] in said], memory_gb))
    merged = [(cells, [size_gb for _, size_gb in same]) for cells, same in groupby(columns, key=lambda one: one[0])]
    heads = ["what", *(_span(sizes_gb) for _, sizes_gb in merged)]
    words = (
        f"{SPOKEN[variant]}{'with' if refine else 'without'} the refiner, {video_s} s"
        for variant, refine, video_s in KINDS
    )
    return _table(heads, zip(words, *(cells for cells, _ in merged), strict=True))


def _times(plans: Plans, video_s: int, *, refine: bool) -> str:
    modes = [mode for mode in MODES if (mode.video_s, mode.refine) == (video_s, refine)]
    rows = list[list[str]]()
    for gpu in mac_table().gpus:
        found = [([_cell(plans[mode, Mac(gpu, size_gb).name]) for mode in modes], size_gb) for size_gb in gpu.memory_gb]
        by_cells = groupby(found, key=lambda one: one[0])
        rows += [[f"{_name(gpu)} {_listed(size_gb for _, size_gb in same)}", *cells] for cells, same in by_cells]
    return _table(["Mac", *(mode.name for mode in modes)], rows)


def _gpus() -> str:
    rows = list[list[str]]()
    for gpu in mac_table().gpus:
        mac = Mac(gpu, gpu.memory_gb[0])
        guessed = f"{mac.slow.tflops:.1f} to {mac.fast.tflops:.1f}"
        rows.append([_name(gpu), _listed(gpu.memory_gb), str(gpu.bandwidth_gb_s), f"{mac.matrix_tflops:.1f}", guessed])
    heads = ["GPU", "memory", "bandwidth, GB/s", "published rate, TFLOP/s", "guessed with, TFLOP/s"]
    return _table(heads, rows)


def _sources() -> str:
    lines = list[str]()
    for names, text in mac_table().sources.items():
        linked = re.sub(r"\b((?:github|support\.apple)\.com/[\w./-]*\w)", r"[\1](https://\1)", text)
        lines.append(f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {linked}.\n")
    return "".join(lines)


def _left_out() -> str:
    chips = (f"{chip} ({why})" for chip, why in mac_table().left_out.items())
    return f"Not in the table: {'; '.join(chips)}.\n"


def _fit(plan: MacPlan) -> str:
    if not plan.fits:
        return "no"
    return f"yes {FROM_DISK}" if plan.streamed else "yes"


def _cell(plan: MacPlan) -> str:
    if plan.range_s is None:
        return TOO_MUCH
    return f"~{format_range(*plan.range_s)}" + (f" {FROM_DISK}" if plan.streamed else "")


def _name(gpu: Gpu) -> str:
    return f"{gpu.chip} {gpu.gpu_cores}-core"


def _span(sizes_gb: Sequence[int]) -> str:
    return f"{sizes_gb[0]} GB" if len(sizes_gb) == 1 else f"{sizes_gb[0]} to {sizes_gb[-1]} GB"


def _listed(sizes_gb: Iterable[int]) -> str:
    return f"{', '.join(map(str, sizes_gb))} GB"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
