"""Runs that are made from another: the same with some changes, each in a directory of its own. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sana_wm.drafting.changed_manifest import change_manifest
from sana_wm.drafting.lineage import Parent, made_from
from sana_wm.drafting.new_run import RUNS_FOLDER, NewRun, new_place, numbered
from sana_wm.drafting.request import VideoRequest
from sana_wm.errors import UsageError
from sana_wm.manifest.lineage import Verb
from sana_wm.manifest.portable import rerun_manifest


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
    except BaseException:
        for written in new:
            written.discard_unstarted()
        raise
    return new


def _write_variation(parent: Parent, verb: Verb, said: VideoRequest, environ: Mapping[str, str]) -> NewRun:
    with new_place(child_names(parent, said.out)) as place:
        out = place.path
        data, notes = change_manifest(rerun_manifest(parent.manifest), replace(said, out=out), out.parent, environ)
        origin = made_from(parent, verb, data)
        if not origin["changed"]:
            raise UsageError(
                f"nothing would be other than in {parent.path}",
                got="the same value in every field",
                expected="a change",
                next_step="Say what shall be other: --seed, --prompt, --action and others; sana-wm vary --help.",
            )
        return place.written({**data, "made_from": origin}, notes)


def child_names(parent: Parent, said: Path | None) -> Iterable[Path]:
    """The names that a run made from another may have: the one that was said, or the parent's with a number."""
    if said is not None:
        return [said]
    name = parent.path.name
    if parent.manifest.made_from is not None:  # it has a number of ours already, which is counted on
        name = re.sub(r"-\d+$", "", name)
    is_here = parent.path.parent.is_dir()  # a video may come from another machine
    return numbered(parent.path.with_name(name) if is_here else RUNS_FOLDER / name, first=2)
