"""The commands and options that there are, as Typer built them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from sana_wm.cli import app


def commands() -> Iterator[tuple[str, Any]]:
    """Each command with its path, `weights download`; the program itself has an empty one."""
    return _below(get_command(app), "")


def _below(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _below(below, f"{path} {name}".strip())


def options() -> Iterator[tuple[str, Any]]:
    """Each option with its command's path."""
    for path, command in commands():
        yield from ((path, one) for one in command.params if one.opts[0].startswith("-"))
