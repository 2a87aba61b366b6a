"""Tensors in their files: where each lies, and reading it into memory that is there already.

Files are read, not mapped: a mapped file that shrinks kills the process, a short read is an error that names the
tensor.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sana_wm.errors import WeightsError
from sana_wm.weights.headers import TensorEntry, read_header
from sana_wm.weights.layout import REPAIR, Component

STORED_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I8": torch.int8}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file: where it lies and what it holds."""

    path: Path
    name: str
    entry: TensorEntry

    @property
    def nbytes(self) -> int:
        """Its size in the file."""
        return self.entry.end_bytes - self.entry.start_bytes

    @property
    def dtype(self) -> torch.dtype:
        """Its dtype in the file.

        Raises:
            WeightsError: It is none that a network is stored in.
        """
        try:
            return STORED_DTYPES[self.entry.dtype]
        except KeyError:
            raise WeightsError(
                f"tensor {self.name} in {self.path} has a dtype that cannot be loaded",
                got=self.entry.dtype,
                expected=", ".join(STORED_DTYPES),
                next_step=REPAIR,
            ) from None


def held_dtype(stored: StoredTensor, dtype: torch.dtype) -> torch.dtype:
    """What a tensor becomes on the device: floating ones are cast, bytes stay."""
    return dtype if stored.dtype.is_floating_point else stored.dtype


def index_weights(component: Component) -> dict[str, StoredTensor]:
    """Where each of a network's tensors lies, by the module's name; headers are read and verified, weights are not.

    Raises:
        WeightsError: A file is missing or damaged, or a tensor is there twice.
    """
    index: dict[str, StoredTensor] = {}
    for path in component.shards:
        for stored, entry in read_header(path).tensors.items():
            name = component.rules(stored)
            if name is None:
                continue
            if name in index:
                raise WeightsError(
                    f"tensor {stored} is there twice", got=f"{index[name].path}, {path}", next_step=REPAIR
                )
            index[name] = StoredTensor(path, stored, entry)
    return index


class TensorReader:
    """Reads tensors from their files into memory that is there already; safe to use from several threads."""

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}

    def open(self, path: Path) -> None:
        """Open a file before threads read from it.

        Raises:
            WeightsError: It cannot be opened.
        """
        if path not in self._descriptors:
            try:
                self._descriptors[path] = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise WeightsError(
                    f"the weight file {path} cannot be read", got=error.strerror, next_step=REPAIR
                ) from error

    def read(self, stored: StoredTensor, into: memoryview, start_bytes: int = 0) -> None:
        """Fill `into` with a tensor's bytes from `start_bytes` on.

        Raises:
            WeightsError: The file ends early or the disk fails; file and tensor are named.
        """
        offset = stored.entry.start_bytes + start_bytes
        done = 0
        while done < len(into):
            try:
                count = os.preadv(self._descriptors[stored.path], [into[done:]], offset + done)
            except OSError as error:
                raise _unreadable(stored, str(error.strerror)) from error
            if count == 0:
                raise _unreadable(stored, f"the file ends at byte {offset + done}")
            done += count

    def close(self) -> None:
        """Close all files."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


def read_rows(stored: StoredTensor, rows: Sequence[int]) -> Tensor:
    """Some rows of a stored matrix, on the CPU in the file's dtype: (len(rows), columns).

    Raises:
        WeightsError: The file cannot be read.
    """
    columns = stored.entry.shape[1]
    result = torch.empty((len(rows), columns), dtype=stored.dtype)
    row_bytes = columns * result.element_size()
    view = bytes_of(result)
    reader = TensorReader()
    reader.open(stored.path)
    try:
        for position, row in enumerate(rows):
            reader.read(stored, view[position * row_bytes : (position + 1) * row_bytes], row * row_bytes)
    finally:
        reader.close()
    return result


def verify_shape(stored: StoredTensor, expected: tuple[int, ...]) -> None:
    """Refuse a tensor of another shape than the network's.

    Raises:
        WeightsError: It has.
    """
    if stored.entry.shape != expected:
        raise WeightsError(
            f"tensor {stored.name} in {stored.path} has the wrong shape",
            got=stored.entry.shape,
            expected=expected,
            next_step=REPAIR,
        )


def bytes_of(tensor: Tensor) -> memoryview:
    """A contiguous CPU tensor's memory."""
    return tensor.view(-1).view(torch.uint8).numpy().data


def _unreadable(stored: StoredTensor, how: str) -> WeightsError:
    return WeightsError(f"tensor {stored.name} cannot be read from {stored.path}", got=how, next_step=REPAIR)
