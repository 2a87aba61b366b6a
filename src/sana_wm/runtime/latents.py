"""Tensors that one stage leaves for the next: safetensors with metadata that says whose they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sana_wm import __version__
from sana_wm.durable import durable_file
from sana_wm.errors import HandoffError

Shape = tuple[int, ...]
METADATA_KEY = "sana_wm"
CONTENT_KEY = "content_sha256"


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors durably, moved to the CPU; the package version is added to the metadata.

    The metadata is one entry of sorted JSON, because safetensors writes several in random order: equal content shall
    be equal bytes.

    Raises:
        HandoffError: The file cannot be written.
    """
    on_cpu = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    entries = {
        **metadata,
        "package_version": __version__,
        "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
        CONTENT_KEY: _digest(on_cpu),
    }
    with durable_file(path) as partial:
        try:
            save_file(on_cpu, partial, metadata={METADATA_KEY: json.dumps(entries, sort_keys=True)})
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load_tensors(path: Path, expected: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Read all tensors of a file whose metadata holds the expected entries.

    Raises:
        HandoffError: The file is missing, damaged or of another run.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
            # Cloned, because the views' alignment, and with it the last bits of what is computed, is the file's.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (it is not a dict)
    except (OSError, ValueError, SafetensorError) as error:
        raise HandoffError(
            f"{path} cannot be read",
            got=str(error),
            expected="a whole safetensors file",
            next_step="Run `sana-wm resume RUN_DIR`: the stage that makes it runs again.",
        ) from error
    if metadata.get(CONTENT_KEY) != _digest(tensors):
        raise HandoffError(
            f"{path} is damaged",
            got="numbers of another SHA-256",
            expected="those that were written",
            next_step="Run `sana-wm resume RUN_DIR`: the stage that makes it runs again.",
        )
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise HandoffError(
                f"{path} is of another run",
                got=f"{key} {metadata.get(key)}",
                expected=value,
                next_step="Run `sana-wm resume RUN_DIR`: the stage that makes it runs again.",
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
            next_step="Run `sana-wm resume RUN_DIR`: the stage that makes it runs again.",
        )
    if not bool(latents.isfinite().all()):
        raise HandoffError(
            f"{path} holds latents that are not finite",
            got="NaN or infinity",
            expected="numbers",
            next_step="Run the stage that made it again: sana-wm resume RUN_DIR --from STAGE.",
        )
    return latents


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of the names and the bytes of CPU tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
