"""Manifests of runs that are made from another: the same with some changes, each in a directory of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sana_wm.drafting.changed_manifest import change_manifest
from sana_wm.drafting.free_names import free_name, require_free
from sana_wm.drafting.lineage import Parent, made_from
from sana_wm.drafting.new_manifest import write_manifest
from sana_wm.drafting.wishes import Wishes
from sana_wm.errors import UsageError
from sana_wm.manifest.lineage import Verb
from sana_wm.manifest.loading import escape_variables
from sana_wm.manifest.portable import rerun_manifest

Json = dict[str, Any]


def next_seeds(parent: Parent, count: int) -> list[int]:
    """The seeds after the parent's, one by one: seed 42 and three more are 43, 44, 45."""
    return [parent.manifest.stage1.seed + number for number in range(1, count + 1)]


def write_variations(
    parent: Parent, verb: Verb, said: Wishes, environ: Mapping[str, str], seeds: Sequence[int] = ()
) -> tuple[list[Path], list[str]]:
    """Write a manifest for every seed, or one for none; each names the parent and a new run directory.

    Args:
        parent: The run that they are made from.
        verb: The command.
        said: What the user says, without seeds.
        environ: Tells which variables name weight folders.
        seeds: Of Stage 1.

    Returns:
        Their files, and what a user should be told of them.

    Raises:
        UsageError: What is said cannot be, changes nothing, or names a directory that is there.
        HandoffError: An input of the parent is not what it was.
    """
    parent.require_inputs()
    if said.out is not None and len(seeds) > 1:
        raise UsageError("--out names one run", got=f"{len(seeds)} seeds", next_step="Leave --out out, or one seed in.")
    written: list[Path] = []
    notes: list[str] = []
    for one in [replace(said, seed=seed) for seed in seeds] or [said]:
        out = choose_out(parent, said.out)
        data, more = change_manifest(rerun_manifest(parent.manifest), replace(one, out=out), out.parent, environ)
        origin = made_from(parent, verb, data)
        if not origin["changed"]:
            raise UsageError(
                f"nothing would be other than in {parent.path}",
                got="the same value in every field",
                expected="a change",
                next_step="Say what shall be other: --seed, --prompt, --action and others; sana-wm vary --help.",
            )
        written.append(write_child(data, out, origin))
        notes += (note for note in more if note not in notes)
    return written, notes


def choose_out(parent: Parent, said: Path | None) -> Path:
    """The directory of a new run: as said, or the next free name beside the parent's.

    Raises:
        UsageError: What is said is there already.
    """
    if said is not None:
        require_free(said.absolute())
        return said.absolute()
    is_here = parent.path.parent.is_dir()  # a video may come from another machine
    folder = parent.path if is_here else Path("runs", parent.path.name).absolute()
    return free_name(folder, numbered=parent.manifest.made_from is not None)


def write_child(data: Json, out: Path, origin: Json) -> Path:
    """Write the manifest of a new run beside its directory; returns its file."""
    data = {**data, "name": escape_variables(out.name), "made_from": origin}
    path = out.with_name(f"{out.name}.json")
    write_manifest(data, path)
    return path
