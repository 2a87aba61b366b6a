"""Before anything is removed: what goes is on the screen, and a person says yes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sana_wm.errors import InterruptedRunError, UsageError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def require_yes(question: str, *, yes: bool) -> None:
    """Ask, unless the user said yes beforehand.

    Raises:
        UsageError: There is nobody to ask.
        InterruptedRunError: The answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "nobody is here to be asked", got="no terminal", expected="--yes", next_step="Look at the list; add --yes."
        )
    if not typer.confirm(question, err=True):
        raise InterruptedRunError("nothing was removed", got="no")
