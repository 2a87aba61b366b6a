"""The catalogue of the patch for NVlabs/Sana: what of upstream it stands for, where, why, and what proves it.

Fingerprints are taken from a checkout's source files; nothing of upstream's is imported.
"""

from __future__ import annotations

import ast
import hashlib
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sana_wm.replacements.catalogue import Patch, read_entries


@dataclass(frozen=True)
class UpstreamPatch(Patch):
    """One replacement, or a group that stands for one reason.

    `replaces` may name a module alone, with an empty fingerprint where it is not a file of the checkout; `replaced_by`
    is within the package `sana_wm_mps`.

    Attributes:
        patch_points: Where upstream assumes something that a Mac has not, `file:line` at commit e694b27.
    """

    patch_points: list[str]


@cache
def load_upstream_catalogue() -> dict[str, UpstreamPatch]:
    """All entries by id."""
    return read_entries("pr379", UpstreamPatch)


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
