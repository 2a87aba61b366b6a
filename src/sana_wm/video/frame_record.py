"""Statistics of frames as bytes, kept beside their segment: a run that goes on judges what it did not decode itself."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints
from zipfile import BadZipFile

import numpy as np

from sana_wm.errors import HandoffError
from sana_wm.video.sanity import FrameStatistics


def pack_statistics(statistics: Sequence[FrameStatistics]) -> bytes:
    """Statistics of at least one frame as a .npz file: one array for each field, frames first."""
    buffer = io.BytesIO()
    names = [field.name for field in fields(FrameStatistics)]
    columns: dict[str, Any] = {name: np.stack([getattr(frame, name) for frame in statistics]) for name in names}
    np.savez_compressed(buffer, **columns)
    return buffer.getvalue()


def read_statistics(path: Path) -> list[FrameStatistics]:
    """What `pack_statistics` wrote, value for value.

    Raises:
        HandoffError: The file is missing, or not such a file.
    """
    hints = get_type_hints(FrameStatistics)
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {field.name: file[field.name] for field in fields(FrameStatistics)}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise HandoffError(
            f"{path} holds no statistics of frames",
            got=str(error),
            expected="what was written beside the segment",
            next_step="Decode it again: sana-wm resume RUN_DIR --from vae_decode, or --from preview if it is that.",
        ) from error
    return [
        FrameStatistics(
            **{
                name: values[index].item() if hints[name] in (int, float) else values[index]
                for name, values in columns.items()
            }
        )
        for index in range(len(columns["mean"]))
    ]
