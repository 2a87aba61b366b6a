"""Whether a weight file holds numbers: one small sample of every tensor that a loader reads.

A header is whole as soon as a downloader has reserved the space; what is missing then reads as zeros. And a file can
be damaged so that its numbers are none. Neither shows in names, shapes and sizes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from sana_wm.errors import Problem, WeightsError
from sana_wm.weights.headers import Header, TensorEntry
from sana_wm.weights.reading import REPAIR, open_plain, unreadable

SAMPLE_BYTES = 4096  # the page of an SSD
#: Biases and small tables may be zero from training; no trained matrix has so many zeros in a row.
ZERO_RUN_BYTES, SMALL_FILE_SHARE = 64 * 1024, 32  # of a file of less than 2 MiB this part of it is enough
MAX_SAMPLES = 2048  # a file; the largest released one has 1,215 tensors
#: The exponent's bits, little-endian; all set means infinite or not a number.
EXPONENTS = {"F32": ("<u4", 0x7F800000), "BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00)}


@dataclass(frozen=True)
class Sampling:
    """What the samples of one file say.

    Attributes:
        tensors: How many tensors were sampled.
        reads: How many reads that took.
        problem: The first thing that is wrong.
    """

    tensors: int
    reads: int
    problem: Problem | None = None


def sample_numbers(header: Header, rename: Callable[[str], str | None]) -> Sampling:
    """Read a sample of each tensor in the order in which they lie in the file.

    Args:
        header: The file's.
        rename: Stored name to the module's name; None for a tensor that is never read.
    """
    read_ones = [(name, entry) for name, entry in header.tensors.items() if rename(name) is not None]
    in_order = sorted(
        ((n, e) for n, e in read_ones if e.end_bytes > e.start_bytes), key=lambda item: item[1].start_bytes
    )
    chosen = list(islice(in_order, 0, None, max(1, -(-len(in_order) // MAX_SAMPLES))))
    enough_bytes = min(ZERO_RUN_BYTES, header.file_bytes // SMALL_FILE_SHARE)
    reads, zero_from, zero_bytes = 0, "", 0
    try:
        with open_plain(header.path, "the weight file") as file:
            for name, entry in chosen:
                sample = _read_middle(file.fileno(), entry, SAMPLE_BYTES)
                reads += 1
                if _has_infinite(sample, entry):
                    what = f"tensor {name} holds values that are not finite"
                    return Sampling(len(chosen), reads, _problem(header, what))
                if not _is_matrix(entry):
                    continue
                if any(sample):
                    zero_bytes = 0
                    continue
                wide = _read_middle(file.fileno(), entry, ZERO_RUN_BYTES)
                reads += 1
                zero_from = zero_from if zero_bytes else name
                zero_bytes = 0 if any(wide) else zero_bytes + len(wide)
                if zero_bytes > enough_bytes:
                    what = f"nothing but zeros at tensor {zero_from}: this file was never filled"
                    return Sampling(len(chosen), reads, _problem(header, what))
    except OSError as error:
        return Sampling(len(chosen), reads, Problem.of(str(header.path), unreadable(header.path, error)))
    except WeightsError as error:
        return Sampling(len(chosen), reads, Problem.of(str(header.path), error))
    return Sampling(len(chosen), reads)


def _read_middle(descriptor: int, entry: TensorEntry, count_bytes: int) -> bytes:
    """Up to so many bytes from the middle of a tensor, from the beginning of a number on."""
    spare_bytes = max(0, entry.end_bytes - entry.start_bytes - count_bytes)
    start_bytes = entry.start_bytes + spare_bytes // 2 // 8 * 8
    return os.pread(descriptor, min(count_bytes, entry.end_bytes - start_bytes), start_bytes)


def _is_matrix(entry: TensorEntry) -> bool:
    return sum(size > 1 for size in entry.shape) >= 2


def _has_infinite(sample: bytes, entry: TensorEntry) -> bool:
    if entry.dtype not in EXPONENTS:
        return False
    import numpy as np  # noqa: PLC0415  planning reads headers, and need not wait for it

    kind, exponent = EXPONENTS[entry.dtype]
    return bool(np.any((np.frombuffer(sample, kind) & exponent) == exponent))


def _problem(header: Header, what: str) -> Problem:
    expected = "trained numbers, as every downloader writes them in the end"
    return Problem(str(header.path), what, expected=expected, next_step=REPAIR)
