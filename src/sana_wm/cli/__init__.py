"""Typer commands; the only place that prints and that chooses exit codes."""

from __future__ import annotations

import sys

from sana_wm.cli.app import app
from sana_wm.errors import SanaWMError


def main() -> None:
    """Entry point of the console script: one handler turns errors into a message and an exit code."""
    try:
        app()
    except SanaWMError as error:
        sys.stderr.write(f"sana-wm: {error}\n")
        sys.exit(error.exit_code)
