"""A view of transfers that shows nothing."""

from __future__ import annotations


class Quiet:
    """Keeps what is hashed and fetched."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []

    def began(self, verb: str, name: str, total_bytes: int, here_bytes: int = 0) -> None:
        self.begun.append((verb, name))

    def at(self, position_bytes: int) -> None:
        return

    def ended(self) -> None:
        return
