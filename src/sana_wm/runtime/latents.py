"""Tensors that one stage leaves for the next: safetensors with metadata that says whose they are."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sana_wm import __version__
from sana_wm.durable import durable_file
from sana_wm.errors import HandoffError
from sana_wm.runs.kept_parts import METADATA_KEY

Shape = tuple[int, ...]
CONTENT_KEY = "content_sha256"
MAKE_AGAIN = "Run `sana-wm resume RUN_DIR`: the stage that makes it runs again."


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors durably, moved to the CPU; the package version is added to the metadata.

    The metadata is one entry of sorted JSON, because safetensors writes several in random order: equal content shall
    be equal bytes.

    Raises:
        HandoffError: The file cannot be written.
    """
    on_cpu = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    entries: dict[str, object] = {**metadata, "package_version": __version__}
    entries["shapes"] = {name: list(tensor.shape) for name, tensor in tensors.items()}
    entries[CONTENT_KEY] = _digest(on_cpu, entries)
    with durable_file(path, sum(tensor.nbytes for tensor in on_cpu.values())) as partial:
        try:
            save_file(on_cpu, partial, metadata={METADATA_KEY: json.dumps(entries, sort_keys=True)})
        except SafetensorError as error:
            raise _as_system_error(error) from error


def load_tensors(path: Path, expected: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Read all tensors of a file whose metadata holds the expected entries.

    Raises:
        HandoffError: The file is missing, damaged or of another run.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = _parse_metadata(file.metadata())
            # Cloned, because the views' alignment, and with it the last bits of what is computed, is the file's.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (it is not a dict)
    except (OSError, ValueError, SafetensorError) as error:
        raise HandoffError(
            f"{path} cannot be read",
            got=str(error),
            expected="a whole safetensors file",
            next_step=MAKE_AGAIN,
        ) from error
    if metadata.pop(CONTENT_KEY, None) != _digest(tensors, metadata):
        raise HandoffError(
            f"{path} is damaged",
            got="content of another SHA-256",
            expected="that which was written",
            next_step=MAKE_AGAIN,
        )
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise HandoffError(
                f"{path} is of another run",
                got=f"{key} {metadata.get(key)}",
                expected=value,
                next_step=MAKE_AGAIN,
            )
    return tensors


def load_if_ours(path: Path, expected: Mapping[str, str]) -> dict[str, torch.Tensor] | None:
    """What an earlier start kept, or `None` when there is nothing, or nothing that fits: then it is made again."""
    try:
        return load_tensors(path, expected) if path.is_file() else None
    except HandoffError:
        return None


def load_latents(path: Path, expected: Mapping[str, str], shape: Shape) -> torch.Tensor:
    """Read the tensor "latents" and hold it against its shape and finiteness.

    Raises:
        HandoffError: It is missing, damaged, of another run or another shape.
    """
    latents = load_tensors(path, expected).get("latents")
    if latents is None or tuple(latents.shape) != shape:
        raise HandoffError(
            f"{path} does not hold the latents of this run",
            got="no tensor 'latents'" if latents is None else f"shape {tuple(latents.shape)}",
            expected=f"shape {shape}",
            next_step=MAKE_AGAIN,
        )
    if not bool(latents.isfinite().all()):
        raise HandoffError(
            f"{path} holds latents that are not finite",
            got="NaN or infinity",
            expected="numbers",
            next_step="Run the stage that made it again: sana-wm resume RUN_DIR --from STAGE.",
        )
    return latents


def _digest(tensors: Mapping[str, torch.Tensor], entries: Mapping[str, object]) -> str:
    """SHA-256 of the metadata and of the names, dtypes, shapes and bytes of CPU tensors."""
    digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _parse_metadata(metadata: dict[str, str] | None) -> dict[str, Any]:
    """The one entry that we write, by name.

    Raises:
        ValueError: There is another, or it is no JSON object.
    """
    if metadata is None or set(metadata) != {METADATA_KEY}:
        raise ValueError(f"metadata other than {METADATA_KEY}")
    entries = json.loads(metadata[METADATA_KEY])
    if not isinstance(entries, dict):
        raise ValueError("metadata that is no JSON object")  # noqa: TRY004  (of a file, not of an argument)
    return cast("dict[str, Any]", entries)


def _as_system_error(error: SafetensorError) -> OSError:
    """The library's error as what it was: its number stands in the text, `I/O error: … (os error 28)`."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))
