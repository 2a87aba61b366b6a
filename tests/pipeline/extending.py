"""Runs that go on from others, at toy size, and harm to what they go on from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from tests.pipeline.streaming_runs import run_here, run_stage_here

from sana_wm.drafting.extension import Extension, write_extension
from sana_wm.names import Stage
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runtime.latents import CONTENT_KEY, METADATA_KEY, load_tensors, save_tensors


def draft(run: RunDirectory, out: Path, **asked: Any) -> Path:
    """The manifest of a run that goes on from another."""
    return write_extension(run, Extension(out=out, **asked)).manifest_path


def extend_here(
    run: RunDirectory, out: Path, stages: tuple[Stage, ...] = ("stage1", "refiner"), **asked: Any
) -> RunDirectory:
    """Go on from a run, in this process."""
    return run_here(draft(run, out, **asked), stages)


def latents(path: Path) -> torch.Tensor:
    return load_tensors(path, {})["latents"]


def same_latents(run: RunDirectory, other: RunDirectory) -> bool:
    """Whether both have the same files, to the byte."""
    files = [(one.stage1_file.read_bytes(), one.refined_file.read_bytes()) for one in (run, other)]
    return files[0] == files[1]


def prompts_by_chunk(manifest: Path, like: RunDirectory) -> RunDirectory:
    """Stage 1 of one long run from its picture, whose chunks have the prompts of another run's."""
    run = run_here(manifest, ("stage1",))
    with safe_open(run.conditioning_file, "pt") as file:
        owner = json.loads(file.metadata()[METADATA_KEY])
    mine, others = (load_tensors(one.conditioning_file, {}) for one in (run, like))
    prompts = {name: tensor for name, tensor in others.items() if name.startswith("earlier_prompt")}
    run.clear_stage("stage1", lambda _: None)
    own = {key: value for key, value in owner.items() if key not in (CONTENT_KEY, "shapes")}
    save_tensors(run.conditioning_file, mine | prompts, own)
    run_stage_here(run, "stage1")
    return run


def changed(path: Path) -> None:
    """One bit of a file."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def gone(path: Path) -> None:
    """A file or folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
