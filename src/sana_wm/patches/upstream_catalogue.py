"""The catalogue of the patch for NVlabs/Sana: what of upstream it stands for, where, why, and what proves it.

Fingerprints are taken from a checkout's source files; nothing of upstream's is imported.
"""

from __future__ import annotations

import ast
import hashlib
import textwrap
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path


@dataclass(frozen=True)
class UpstreamPatch:
    """One replacement, or a group that stands for one reason.

    Attributes:
        id: Its name, that of its file.
        library: What it was written against.
        patch_points: Where upstream assumes something that a Mac has not, `file:line` at commit e694b27.
        replaces: Symbols (`module:qualified.name`, or a module alone) and the fingerprint of each one's source; empty
            where it is not a file of the checkout.
        why: The limit that it avoids, with its source.
        replaced_by: What runs instead, within the package `sana_wm_mps` (`module:name`).
        proven_by: Tests that hold it equal (`file::test`).
        drop_when: When it can go.
    """

    id: str
    library: str
    patch_points: list[str]
    replaces: dict[str, str]
    why: str
    replaced_by: list[str]
    proven_by: list[str]
    drop_when: str


@cache
def load_upstream_catalogue() -> dict[str, UpstreamPatch]:
    """All entries by id."""
    entries = (files("sana_wm.patches") / "upstream_entries").iterdir()
    patches = [UpstreamPatch(**tomllib.loads(entry.read_text("utf-8"))) for entry in entries]
    return {patch.id: patch for patch in sorted(patches, key=lambda patch: patch.id)}


def changed_symbols(root: Path) -> tuple[str, ...]:
    """What the patch replaces and a checkout has otherwise, or not at all."""
    return tuple(
        symbol
        for patch in load_upstream_catalogue().values()
        for symbol, expected in patch.replaces.items()
        if expected and upstream_fingerprint(root, symbol) != expected
    )


def upstream_fingerprint(root: Path, symbol: str) -> str | None:
    """The first 16 digits of the SHA-256 of a symbol's source in a checkout; `None` when it has no such symbol."""
    module, _, name = symbol.partition(":")
    path = (root / module.replace(".", "/")).with_suffix(".py")
    if not path.is_file():
        return None
    source = path.read_text("utf-8")
    found: ast.AST = ast.parse(source)
    for part in name.split(".") if name else ():
        inside = [node for node in ast.iter_child_nodes(found) if getattr(node, "name", None) == part]
        if not inside:
            return None
        found = inside[-1]
    segment = (ast.get_source_segment(source, found) if name else source) or ""
    return hashlib.sha256(textwrap.dedent(segment).encode()).hexdigest()[:16]
