"""Why a picture is refused, before it is known by what name the user gave it."""

from __future__ import annotations


class UnusablePixelsError(ValueError):
    """Pixels that say of themselves what this program cannot honour.

    Args:
        reason: What they are.
        next_step: What the user can do about it.
    """

    def __init__(self, reason: str, next_step: str | None = None) -> None:
        self.next_step = next_step
        super().__init__(reason)
