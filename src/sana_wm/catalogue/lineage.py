"""What was made from what: drafts, variations and branches as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sana_wm.catalogue.entry import Entry


@dataclass(frozen=True)
class Limb:
    """A run in the tree.

    Attributes:
        entry: The run.
        lead: What stands before it, `├─ ` and its like.
        margin: What stands before further lines about it.
    """

    entry: Entry
    lead: str
    margin: str


def parent_of(entry: Entry, others: Sequence[Entry]) -> Entry | None:
    """The run that another was made from, if it is among `others`: by its manifest's hash, else by where it lay.

    The hash is first: a run directory may move, and another may lie where it was.
    """
    made_from = entry.manifest.made_from if entry.manifest is not None else None
    if made_from is None:
        return None
    candidates = [other for other in others if other is not entry]
    known = next((other for other in candidates if other.manifest_sha256 == made_from.manifest_sha256), None)
    return known or next((other for other in candidates if other.path == Path(made_from.run)), None)


def children_of(entry: Entry, others: Sequence[Entry]) -> list[Entry]:
    """The runs that were made from one."""
    return [other for other in others if parent_of(other, others) is entry]


def readers_of(entry: Entry, others: Sequence[Entry]) -> list[Entry]:
    """The runs that are not finished and read files of one as their input: without those they cannot go on."""
    return [
        other
        for other in others
        if other is not entry
        and other.manifest is not None
        and other.state != "finished"
        and any(Path(file.path).is_relative_to(entry.path) for file in other.manifest.inputs.values())
    ]


def as_tree(entries: Sequence[Entry]) -> list[Limb]:
    """The runs, each after what it was made from; those that were made from none, or from none of these, are roots."""
    below: dict[Path | None, list[Entry]] = {}
    for entry in entries:
        parent = parent_of(entry, entries)
        below.setdefault(parent.path if parent is not None else None, []).append(entry)
    limbs = [limb for root in below.get(None, []) for limb in _grow(root, below, "", "")]
    seen = {limb.entry.path for limb in limbs}
    # Forged lineage may go round in a ring that hangs on no root.
    return [*limbs, *(Limb(entry, "", "") for entry in entries if entry.path not in seen)]


def _grow(entry: Entry, below: dict[Path | None, list[Entry]], lead: str, margin: str) -> Iterator[Limb]:
    children = below.get(entry.path, [])
    yield Limb(entry, lead, f"{margin}{'│  ' if children else '   '}" if lead or children else "")
    for index, child in enumerate(children):
        last = index == len(children) - 1
        yield from _grow(child, below, f"{margin}{'└─ ' if last else '├─ '}", f"{margin}{'   ' if last else '│  '}")
