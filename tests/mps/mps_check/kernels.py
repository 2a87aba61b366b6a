"""Which aten ops have an MPS kernel, for the installed torch and for the releases kept as data.

The tables come from `native_functions.yaml`, which every torch wheel carries for torchgen. For 2.13.0, 2.14.1 and
2.15.0 its MPS entries were compared with the `wrapper_MPS_*` symbols compiled into the macOS arm64 wheels: 890, 912 and
928, equal one for one, so the file is taken as the truth. `kernel_tables.json` holds these three releases as that
comparison left them, packed by `pack_tables`: ops are grouped by one letter per release. A test holds 2.13.0 against
the installed wheel's own file.
"""

from __future__ import annotations

import json
from collections import defaultdict
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torchgen
import yaml

from sana_wm.errors import UsageError

Release: TypeAlias = tuple[int, int, int]


class KernelKind(StrEnum):
    """How an aten op reaches the MPS backend."""

    MPS = "m"
    """It owns an MPS kernel."""
    COMPOSITE_EXPLICIT = "e"
    """One kernel for all backends, written in terms of other ops; opaque to the recorder."""
    COMPOSITE_IMPLICIT = "i"
    """Taken apart into other ops before it reaches a backend, which are judged themselves."""
    MISSING = "-"
    """It has kernels, but none for MPS: the call raises NotImplementedError."""
    ABSENT = " "
    """The release has no such op."""


KernelTable: TypeAlias = dict[str, KernelKind]


def parse_release(version: str) -> Release:
    """`"2.13.0+cpu"` as `(2, 13, 0)`.

    Raises:
        UsageError: Not three numbers with dots between them.
    """
    numbers = version.partition("+")[0].split(".")
    if len(numbers) < 3 or not all(number.isdigit() for number in numbers[:2]):
        raise UsageError("this is not a torch release", got=version, expected="a version such as 2.14.1")
    patch = "".join(character for character in numbers[2] if character.isdigit())
    return int(numbers[0]), int(numbers[1]), int(patch or 0)


def installed_version() -> str:
    """The installed torch without its build suffix, such as `2.13.0`."""
    return torch.__version__.partition("+")[0]


@cache
def kernel_table(version: str) -> KernelTable:
    """The table of one torch version: read from its own file if it is the installed one, else from the shipped data.

    Raises:
        UsageError: Neither installed nor shipped.
    """
    if version == installed_version():
        source = Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml"
        return parse_native_functions(source.read_text(encoding="utf-8"))
    shipped = shipped_tables()
    if version not in shipped:
        raise UsageError(
            "there is no MPS kernel table for this torch release",
            got=version,
            expected=f"{installed_version()} (installed) or one of {', '.join(shipped)}",
        )
    return shipped[version]


def parse_native_functions(text: str) -> KernelTable:
    """The kind of every op of a `native_functions.yaml`, by overload name such as `add.Tensor`.

    Structured delegates inherit the kernels of the op they delegate to; the variants that torchgen generates have one
    kernel for all backends.
    """
    entries: list[dict[str, Any]] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    keys: dict[str, set[str]] = {}
    for entry in entries:
        names: list[str] = list(entry.get("dispatch") or {})
        keys[_overload_name(entry)] = {key.strip() for name in names for key in name.split(",")}
    table: KernelTable = {}
    for entry in entries:
        delegate = keys.get(entry.get("structured_delegate", ""), set[str]())
        table[_overload_name(entry)] = _kind(keys[_overload_name(entry)] | delegate)
    for entry in entries:
        for generated in entry.get("autogen", "").split(","):
            if generated.strip():
                table.setdefault(generated.strip(), KernelKind.COMPOSITE_EXPLICIT)
    return table


def _overload_name(entry: dict[str, Any]) -> str:
    return str(entry["func"]).partition("(")[0]


def _kind(keys: set[str]) -> KernelKind:
    if "MPS" in keys:
        return KernelKind.MPS
    if any(key.startswith("CompositeExplicit") for key in keys):
        return KernelKind.COMPOSITE_EXPLICIT
    if not keys or "CompositeImplicitAutograd" in keys:
        return KernelKind.COMPOSITE_IMPLICIT
    return KernelKind.MISSING


def pack_tables(tables: dict[str, KernelTable]) -> str:
    """Several releases as one compact JSON text: op names grouped by their letters, one letter per release."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set[str]().union(*tables.values())):
        groups["".join(table.get(name, KernelKind.ABSENT) for table in tables.values())].append(name)
    packed = {"releases": list(tables), "ops": {letters: " ".join(names) for letters, names in groups.items()}}
    return json.dumps(packed, indent=0, sort_keys=True) + "\n"


def unpack_tables(text: str) -> dict[str, KernelTable]:
    """The tables that `pack_tables` wrote, by version."""
    packed = json.loads(text)
    tables: dict[str, KernelTable] = {version: {} for version in packed["releases"]}
    for letters, names in packed["ops"].items():
        for table, letter in zip(tables.values(), letters, strict=True):
            if letter != KernelKind.ABSENT:
                table.update(dict.fromkeys(names.split(), KernelKind(letter)))
    return tables


@cache
def shipped_tables() -> dict[str, KernelTable]:
    """The releases whose tables lie beside this file."""
    return unpack_tables(Path(__file__).with_name("kernel_tables.json").read_text(encoding="utf-8"))
