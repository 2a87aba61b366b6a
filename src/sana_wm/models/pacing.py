"""Work in pieces, for a device that shares its time with a display.

macOS aborts GPU work that keeps the display waiting for seconds, and torch goes on without an error (docs/mps.md): no
piece may be long. CUDA and the CPU need no pieces and wait for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

Piece = TypeVar("Piece")


def end_piece(device: torch.device) -> None:
    """Wait for the work so far on MPS, which also drops MPSGraph's scratch (pytorch #145374)."""
    if device.type == "mps":
        torch.mps.synchronize()


def paced(pieces: Iterable[Piece], device: torch.device) -> Iterator[Piece]:
    """The pieces of a work, each waited for before the next."""
    for piece in pieces:
        yield piece
        end_piece(device)
