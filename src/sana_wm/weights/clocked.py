"""Calls that are waited for by the clock.

An HTTP client's timeouts count from byte to byte: an answer that drips a byte a second never runs into them, in its
headers as in its body. So a thread asks, and we wait for it as long as we like.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class ClockedCalls:
    """A thread that makes one call after the other; one that hangs is left behind and does not hold up our end."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._make_calls, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.put(None)

    def call(self, function: Callable[[], T], limit_s: float) -> T:
        """What the function returns or raises.

        Raises:
            TimeoutError: It did not, in this time.
        """
        return self.begin(function).result(timeout=limit_s)

    def begin(self, function: Callable[[], T]) -> Future[T]:
        """Have the function called after those before it; nobody need wait."""
        future: Future[T] = Future()
        self._calls.put((function, future))
        return future

    def _make_calls(self) -> None:
        while (next_call := self._calls.get()) is not None:
            function, future = next_call
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  it is raised where it is waited for
                future.set_exception(error)
