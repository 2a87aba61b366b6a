"""Every Mac with Apple Silicon, from a table that ships: what it has, and the rates to guess its times by."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from sana_wm.errors import UsageError, did_you_mean
from sana_wm.planning.device import Device
from sana_wm.planning.times import Rates
from sana_wm.records import Record
from sana_wm.shipped import CONFIGS

#: From this memory on, Metal recommends a larger share of it.
LARGER_SHARE_GB = 36
#: Words that say which Mac it is and nothing of what it can do; the CPU's cores do not compute here.
PRODUCTS = re.compile(
    r"\bapple\b|\bmacbook\s+(air|pro)\b|\bmac\s+(mini|studio|pro)\b|\bimac\b|\b\d+[\s-]*cores?\s+cpu\b|[,()/+]"
)
CHIP = re.compile(r"\bm(\d+)\s*(pro|max|ultra)?(?![a-z])")
CORES = re.compile(r"\b(\d+)[\s-]*cores?(\s+gpu)?\b")
MEMORY = re.compile(r"\b(\d+)\s*(gb|gib|g)\b")
EXAMPLE = 'Say chip and memory, such as --for "M2 Pro 32 GB"; --for "M2 Pro 19-core 32 GB" where it has two GPUs.'


class Bounds(Record):
    """A rate that is not known exactly."""

    slow: float
    fast: float


class WorkingSetShare(Record):
    """What of a Mac's memory Metal recommends to use at most."""

    below_36_gb: float
    from_36_gb: float


class Gpu(Record):
    """A chip with one of its GPUs: GB/s of its memory, and how much of it it was sold with."""

    chip: str
    gpu_cores: int
    memory_gb: tuple[int, ...]
    bandwidth_gb_s: int

    @property
    def generation(self) -> str:
        """`M2` of an `M2 Pro`."""
        return self.chip.split()[0]


class MacTable(Record):
    """All of `configs/macs.json`; `sources` says of each figure where it is from."""

    sources: dict[str, str]
    torch_version: str
    matrix_tflops_per_core: dict[str, float]
    bfloat16_share: dict[str, Bounds]
    share_of_matrix_rate: Bounds
    disk_gb_s: Bounds
    starting_s: Bounds
    working_set_share: WorkingSetShare
    left_out: dict[str, str]
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class Mac:
    """A Mac of the table.

    Attributes:
        gpu: Its chip.
        memory_gb: Its memory, as Apple says it.
        assumed: What was not said and taken as the least, for people; empty when all was said.
    """

    gpu: Gpu
    memory_gb: int
    assumed: str = ""

    @property
    def name(self) -> str:
        """For people: `Apple M2 Pro, 16 GPU cores, 32 GB`."""
        return f"Apple {self.gpu.chip}, {self.gpu.gpu_cores} GPU cores, {self.memory_gb} GB"

    @property
    def device(self) -> Device:
        """The Mac as planning sees it: its GPU, with what Metal recommends to use of the memory."""
        table, memory_bytes = mac_table(), self.memory_gb * 1024**3  # Apple's GB of memory are GiB
        is_large = self.memory_gb >= LARGER_SHARE_GB
        share = table.working_set_share.from_36_gb if is_large else table.working_set_share.below_36_gb
        return Device("mps", self.name, int(memory_bytes * share), table.torch_version)

    @property
    def matrix_tflops(self) -> float:
        """The published rate of its GPU."""
        return self.gpu.gpu_cores * mac_table().matrix_tflops_per_core[self.gpu.generation]

    @property
    def slow(self) -> Rates:
        """The lowest rates that are likely."""
        return self._rates(lambda bounds: bounds.slow)

    @property
    def fast(self) -> Rates:
        """The highest rates that are likely."""
        return self._rates(lambda bounds: bounds.fast)

    def _rates(self, end: Callable[[Bounds], float]) -> Rates:
        """The rates at one end of their bounds."""
        table = mac_table()
        bfloat16 = table.bfloat16_share.get(self.gpu.generation)
        share = end(table.share_of_matrix_rate) * (1.0 if bfloat16 is None else end(bfloat16))
        return Rates(self.matrix_tflops * share, end(table.disk_gb_s), end(table.starting_s))

    @property
    def basis(self) -> str:
        """How its times come about, in words."""
        slow, fast = self.slow, self.fast
        return (
            f"a guess, not measured on this chip: {slow.tflops:.2f} to {fast.tflops:.2f} TFLOP/s, of "
            f"{self.matrix_tflops:.2f} published for its GPU; weights from disk at {slow.disk_gb_s:g} to "
            f"{fast.disk_gb_s:g} GB/s"
        )


@cache
def mac_table() -> MacTable:
    """The shipped table."""
    return MacTable.model_validate_json((CONFIGS / "macs.json").read_bytes())


def shipped_macs() -> tuple[Mac, ...]:
    """Every Mac of the table: each GPU with each memory that it was sold with."""
    return tuple(Mac(gpu, memory_gb) for gpu in mac_table().gpus for memory_gb in gpu.memory_gb)


def find_mac(text: str) -> Mac:
    """The Mac that somebody means.

    Args:
        text: Such as `M2 Pro 32 GB`, `m4max 64gb`, `M3 Max 40-core 64 GB`. Where a chip was sold with two GPUs and the
            text says neither, the smaller one is taken, and `assumed` says so.

    Raises:
        UsageError: The table has no such Mac; the message names what it has.
    """
    rest = PRODUCTS.sub(" ", text.lower())
    chip_match = CHIP.search(rest)
    if chip_match is None:
        raise UsageError("--for names no chip", got=repr(text), expected=", ".join(_chips()), next_step=EXAMPLE)
    chip = " ".join(filter(None, (f"M{chip_match[1]}", (chip_match[2] or "").capitalize())))
    rest = CHIP.sub(" ", rest, count=1)
    cores_match = CORES.search(rest)
    rest = CORES.sub(" ", rest, count=1)
    memory_match = MEMORY.search(rest)
    rest = MEMORY.sub(" ", rest, count=1)
    if rest.strip():
        raise UsageError(
            "--for says something that is no chip, GPU or memory", got=repr(rest.strip()), next_step=EXAMPLE
        )
    gpus = _of_chip(chip)
    sizes_gb = sorted({size_gb for gpu in gpus for size_gb in gpu.memory_gb})
    sold_with = f"{chip} was sold with {_listed(sizes_gb)} GB"
    if memory_match is None:
        raise UsageError("--for says no memory", got=repr(text), expected=sold_with, next_step=EXAMPLE)
    memory_gb = int(memory_match[1])
    if memory_gb not in sizes_gb:
        raise UsageError(f"no {chip} was sold with this memory", got=f"{memory_gb} GB", expected=sold_with)
    if cores_match is not None:
        return Mac(_of_size(gpus, int(cores_match[1]), memory_gb), memory_gb)
    smallest, *larger = [gpu for gpu in gpus if memory_gb in gpu.memory_gb]
    if not larger:
        return Mac(smallest, memory_gb)
    others = _listed([gpu.gpu_cores for gpu in larger])
    return Mac(
        smallest, memory_gb, f"{smallest.gpu_cores} GPU cores assumed; it was sold with {others} too: say {others}-core"
    )


def _chips() -> list[str]:
    return list(dict.fromkeys(gpu.chip for gpu in mac_table().gpus))


def _of_chip(chip: str) -> list[Gpu]:
    """The GPUs that a chip was sold with, the smallest first."""
    gpus = [gpu for gpu in mac_table().gpus if gpu.chip == chip]
    if gpus:
        return sorted(gpus, key=lambda gpu: gpu.gpu_cores)
    why = mac_table().left_out.get(chip)
    raise UsageError(
        f"the table has no {chip}" + (f": {why}" if why else ""),
        expected=", ".join(_chips()),
        next_step=did_you_mean(chip, _chips()),
    )


def _of_size(gpus: list[Gpu], gpu_cores: int, memory_gb: int) -> Gpu:
    """The GPU with so many cores, if it was sold with the memory."""
    sold = [f"{gpu.gpu_cores} GPU cores with {_listed(gpu.memory_gb)} GB" for gpu in gpus]
    for gpu in gpus:
        if gpu.gpu_cores == gpu_cores and memory_gb in gpu.memory_gb:
            return gpu
    raise UsageError(
        f"no {gpus[0].chip} was sold so",
        got=f"{gpu_cores} GPU cores with {memory_gb} GB",
        expected="; ".join(sold),
    )


def _listed(numbers: list[int] | tuple[int, ...]) -> str:
    """`16, 24 or 32`."""
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last
