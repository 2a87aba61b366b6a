"""Runs that are made from another: the same with some changes, each in a directory of its own. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sana_wm.drafting.changed_manifest import change_manifest
from sana_wm.drafting.lineage import Parent, made_from
from sana_wm.drafting.new_manifest import write_manifest
from sana_wm.drafting.new_run import RUNS_FOLDER, NewRun, manifest_beside, next_free, require_free
from sana_wm.drafting.request import VideoRequest
from sana_wm.errors import UsageError
from sana_wm.manifest.lineage import Verb
from sana_wm.manifest.loading import escape_variables
from sana_wm.manifest.portable import rerun_manifest

Json = dict[str, Any]


def next_seeds(parent: Parent, count: int) -> list[int]:
    """The seeds after the parent's, one by one: after 42 come 43, 44, 45."""
    return [parent.manifest.stage1.seed + number for number in range(1, count + 1)]


def write_variations(
    parent: Parent, verb: Verb, said: VideoRequest, environ: Mapping[str, str], seeds: Sequence[int] = ()
) -> list[NewRun]:
    """Write a manifest for every seed, or one for none; each names the parent and a new run directory.

    Args:
        parent: The run that they are made from.
        verb: The command.
        said: What the user says, without seeds.
        environ: Tells which variables name weight folders.
        seeds: Of Stage 1.

    Raises:
        UsageError: What is said cannot be, changes nothing, or names a directory that is there.
        HandoffError: An input of the parent is not what it was.
    """
    parent.require_inputs()
    if said.out is not None and len(seeds) > 1:
        raise UsageError("--out names one run", got=f"{len(seeds)} seeds", next_step="Leave --out out, or one seed in.")
    new: list[NewRun] = []
    try:
        for one in [replace(said, seed=seed) for seed in seeds] or [said]:
            new.append(_write_variation(parent, verb, one, environ))
    except UsageError:
        for written in new:
            written.discard_unstarted()
        raise
    return new


def _write_variation(parent: Parent, verb: Verb, said: VideoRequest, environ: Mapping[str, str]) -> NewRun:
    out = choose_place(parent, said.out)
    data, notes = change_manifest(rerun_manifest(parent.manifest), replace(said, out=out), out.parent, environ)
    origin = made_from(parent, verb, data)
    if not origin["changed"]:
        raise UsageError(
            f"nothing would be other than in {parent.path}",
            got="the same value in every field",
            expected="a change",
            next_step="Say what shall be other: --seed, --prompt, --action and others; sana-wm vary --help.",
        )
    return write_child(data, out, origin, notes)


def choose_place(parent: Parent, said: Path | None) -> Path:
    """The directory of a new run: as said, or the next free name beside the parent's.

    Raises:
        UsageError: What is said is there already.
    """
    if said is not None:
        require_free(said.absolute())
        return said.absolute()
    name = parent.path.name
    if parent.manifest.made_from is not None:  # it has a number of ours already, which is counted on
        name = re.sub(r"-\d+$", "", name)
    is_here = parent.path.parent.is_dir()  # a video may come from another machine
    place = (parent.path.with_name(name) if is_here else RUNS_FOLDER / name).absolute()
    free = next_free(place)
    return next_free(place.with_name(f"{name}-2")) if free == place else free


def write_child(data: Json, out: Path, origin: Json, notes: Sequence[str]) -> NewRun:
    """Write the manifest of a new run beside its directory.

    Args:
        data: The manifest.
        out: The run directory.
        origin: From `made_from`.
        notes: What a user should be told of it.
    """
    made_folder = not out.parent.exists()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_manifest({**data, "name": escape_variables(out.name), "made_from": origin}, manifest_beside(out))
    return NewRun(out, tuple(notes), made_folder)
