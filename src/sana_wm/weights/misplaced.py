"""Weights that are there, only not where the manifest looks: what a folder is instead, and where they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

from sana_wm.errors import Problem
from sana_wm.names import LayoutName, Variant
from sana_wm.weights.layout import FOLDERS, TOKENIZER_FILES, Component, WeightLayout
from sana_wm.weights.reading import is_file, is_folder

Field = Literal["root", "gemma_root", "refiner_root"]
FIELDS: tuple[Field, ...] = get_args(Field)
#: A variant and a layout, as a manifest names them.
Kind = tuple[Variant, LayoutName]
MAX_ENTRIES = 100  # of a folder; what lies in a larger one is not for us


@dataclass(frozen=True)
class Misplaced:
    """What was found out.

    Attributes:
        problems: One for each folder that is something else.
        components: Those that are explained by it.
    """

    problems: tuple[Problem, ...] = ()
    components: frozenset[str] = frozenset()


def field_of(layout: WeightLayout, component: Component) -> Field:
    """The manifest's field of `model` that says where a component lies."""
    if component in layout.of_stage("refiner"):
        return "refiner_root"
    own = FOLDERS[layout.variant, layout.name].text_encoder
    in_root = own is not None and layout.stage1_text_encoder.folder == layout.vae.folder.parent / own
    if not in_root and component in (layout.stage1_text_encoder, layout.stage1_tokenizer):
        return "gemma_root"
    return "root"


def find_misplaced(layout: WeightLayout, components: Iterable[Component]) -> Misplaced:
    """Look around where weights should be and are not: in hub caches, one or two folders down and up.

    Args:
        layout: Where they should be.
        components: Those that are asked for.
    """
    places: dict[Field, Path] = {
        "root": layout.vae.folder.parent,
        "refiner_root": layout.refiner_transformer.folder.parent,
        "gemma_root": layout.stage1_text_encoder.folder,
    }
    asked: dict[Field, list[Component]] = {}
    for component in components:
        asked.setdefault(field_of(layout, component), []).append(component)
    dangling = _find_dangling(component.folder for component in components)
    if dangling is not None:
        return Misplaced((dangling,), frozenset(component.name for component in components))
    kind = (layout.variant, layout.name)
    found: dict[Field, Path] = {}
    problems: list[Problem] = []
    explained: set[str] = set()
    for field in FIELDS:
        place, wanted = places[field], asked.get(field, [])
        is_whole = all(is_folder(component.folder) for component in wanted)
        if not wanted or (_holds(kind, field, place) if field == "gemma_root" else is_whole):
            continue
        if (moved := _moved_along(place, places, found)) and _holds(kind, field, moved):
            found[field] = moved
            if problems:  # one mistake, said once
                step = f"{problems[-1].next_step} Set model.{field} to {moved}."
                problems[-1] = replace(problems[-1], next_step=step)
            explained |= {component.name for component in wanted}
            continue
        for other, candidate in _candidates(layout, place):
            if _holds(other, field, candidate):
                found[field] = candidate
                explained |= {component.name for component in wanted}
                problems.append(_explain(place, candidate, field, kind, other))
                break
    return Misplaced(tuple(problems), frozenset(explained))


def _moved_along(place: Path, places: dict[Field, Path], found: dict[Field, Path]) -> Path | None:
    """Where a folder lies if it moved with the one that it lies in."""
    for other, moved in found.items():
        if place.is_relative_to(places[other]):
            return moved / place.relative_to(places[other])
    return None


def _holds(kind: Kind, field: Field, folder: Path) -> bool:
    """Whether the folders are side by side that are so where a field should point to."""
    if field == "gemma_root":
        return is_file(folder / "config.json") and any(is_file(folder / file) for file in TOKENIZER_FILES)
    of = FOLDERS[kind]
    signs = ("transformer", "connectors") if field == "refiner_root" else (of.transformer, of.vae)
    return all(is_folder(folder / part) for part in signs)


def _candidates(layout: WeightLayout, place: Path) -> Iterator[tuple[Kind, Path]]:
    """Folders near a place, each as any kind, the nearest first and of them the kind that is asked for."""
    kinds = sorted(FOLDERS, key=lambda kind: (kind[0] != layout.variant) + 2 * (kind[1] != layout.name))
    start = place if is_folder(place) else place.parent
    below = [*_folders_in(start)]
    further = [folder for child in below for folder in _folders_in(child)]
    cached = [folder for child in further if child.name == "snapshots" for folder in _folders_in(child)]
    for candidate in (start, *below, *further, *cached, *islice(start.parents, 2)):
        yield from ((kind, candidate) for kind in kinds)


def _folders_in(folder: Path) -> list[Path]:
    """Its folders; of a hub cache's snapshots the newest first."""
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in islice(entries, MAX_ENTRIES) if entry.is_dir()]
        if folder.name == "snapshots":
            return sorted(found, key=lambda path: -path.stat().st_mtime_ns)
    except OSError:
        return []
    return sorted(found)


def _explain(place: Path, found: Path, field: Field, kind: Kind, other: Kind) -> Problem:
    words = zip(("variant", "layout"), other, kind, strict=True)
    differing = [(word, is_) for word, is_, should_be in words if is_ != should_be]
    if differing and found == place:
        what = f"these are weights of the {' and the '.join(f'{word} {is_}' for word, is_ in differing)}"
        step = " and ".join(f'model.{word} to "{is_}"' for word, is_ in differing)
        return Problem(str(place), what, next_step=f"Set {step} (docs/weights.md).")
    if is_folder(place / "snapshots"):
        what = "this is a repository in a hub cache; its files are named in its folder snapshots"
    elif any(folder.name.startswith("models--") for folder in (_folders_in(place) if is_folder(place) else [])):
        what = "this is a hub cache, which holds repositories"
    elif not is_folder(place):
        what = "there is no such folder"
    elif place.is_relative_to(found):
        what = "this is a folder within the weights"
    else:
        what = "the weights are not in this folder but further down"
    also = "".join(f', and model.{word} to "{is_}"' for word, is_ in differing)
    return Problem(str(place), what, next_step=f"Set model.{field} to {found}{also}.")


def _find_dangling(folders: Iterable[Path]) -> Problem | None:
    """Links that lead nowhere where every one of several does: a copy of links without what they lead to."""
    links: list[Path] = []
    for folder in dict.fromkeys(folders):
        try:
            with os.scandir(folder) as entries:
                links += [Path(entry.path) for entry in islice(entries, MAX_ENTRIES) if entry.is_symlink()]
        except OSError:
            continue
    broken = [link for link in links if not link.exists()]
    if len(broken) < 2 or len(broken) < len(links):
        return None
    common = os.path.commonpath([link.parent for link in broken])
    return Problem(
        common,
        f"{len(broken)} files are links that lead nowhere",
        got=f"{broken[0].relative_to(common)} -> {broken[0].readlink()}",
        expected="the files themselves, or links to a volume that is connected",
        next_step="Connect the volume, or copy the weights anew: the whole folder of the hub cache, or cp -RL.",
    )
