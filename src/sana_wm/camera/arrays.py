"""Numbers in files that a user made, and `.npy` files."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sana_wm.errors import UsageError
from sana_wm.plain_files import SpecialFileError, require_plain

#: Poses of half a million frames; what claims more is no camera path, and is not read into memory.
MAX_VALUES = 8 * 1024**2


def load_npy(path: Path, *, holds: str, expected: str) -> NDArray[np.float64]:
    """Read real numbers from a `.npy`; pickled objects are refused.

    Args:
        path: The file.
        holds: What it should hold, for messages: `poses`.
        expected: The right shape in words, for messages.

    Returns:
        Its values, in the file's shape, float64.

    Raises:
        UsageError: Not there, not a `.npy`, damaged, too large, not real numbers, or not finite in float32.
    """
    try:
        require_plain(path)
        # Mapping checks the file's length against its header first: a damaged one cannot ask for terabytes.
        values = np.lib.format.open_memmap(path, mode="r")
    except SpecialFileError as error:
        raise UsageError(
            f"the {holds} file is {error.kind}: {path}", expected=f"a .npy file, {expected}", next_step="Name the file."
        ) from error
    # A damaged header is evaluated as Python text, hence the last four.
    except (OSError, ValueError, SyntaxError, TokenError, TypeError, OverflowError) as error:
        raise UsageError(
            f"the {holds} file cannot be read: {path}",
            got=f"{type(error).__name__}: {' '.join(str(error).split())}",
            expected=f"a .npy file, {expected}",
            next_step="Write it with numpy.save(path, array), numbers only.",
        ) from error
    return real_numbers(values, path, holds=holds, expected=expected)


def real_numbers(values: NDArray[Any], path: Path, *, holds: str, expected: str) -> NDArray[np.float64]:
    """Numbers that a file held, as float64.

    Args:
        values: As read.
        path: The file, for messages, like `holds` and `expected` of `load_npy`.
        holds: What it should hold.
        expected: The right shape in words.

    Raises:
        UsageError: Not real numbers, too many of them, or not finite in float32.
    """
    if values.dtype.kind not in "iuf":
        raise UsageError(
            f"the {holds} file does not hold real numbers: {path}",
            got=f"dtype {values.dtype}",
            expected=f"float32 or float64, {expected}",
            next_step="Convert it with array.astype(numpy.float32).",
        )
    if values.size > MAX_VALUES:
        raise UsageError(
            f"the {holds} file is too large to be one: {path}",
            got=f"{values.size} numbers in shape {values.shape}",
            expected=f"{MAX_VALUES} numbers at most, {expected}",
            next_step="Keep the rows of this video's frames only.",
        )
    numbers = np.array(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        finite = np.isfinite(numbers.astype(np.float32))
    if not finite.all():
        raise UsageError(
            f"the {holds} file holds values that are not finite: {path}",
            got=f"{np.count_nonzero(~finite)} of {numbers.size} values",
            expected=f"finite float32 numbers, {expected}",
            next_step="Look for NaN and infinity where the file was made.",
        )
    return numbers
