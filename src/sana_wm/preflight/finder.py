"""Looks at everything although something is wrong: errors are kept, not raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sana_wm.errors import SanaWMError

Result = TypeVar("Result")


class Finder:
    """Collects errors, so that one does not hide the next; the same one from two looks counts once."""

    def __init__(self) -> None:
        self.errors: list[SanaWMError] = []

    def attempt(self, action: Callable[[], Result]) -> Result | None:
        """The result of an action, or `None` and its error is kept."""
        try:
            return action()
        except SanaWMError as error:
            if str(error) not in map(str, self.errors):
                self.errors.append(error)
            return None
