"""How fast bytes come and how long the rest takes: of all files of a download together, not of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from sana_wm.figures import format_bytes, format_seconds

#: A hub's pace changes from minute to minute; what came before says little of the time that is left.
WINDOW_S = 60.0
#: Before that a rate is one of the first packets.
SETTLED_S = 2.0


class TransferPace:
    """Counts what comes.

    Args:
        clock: Seconds from anywhere.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of_file, self._here_bytes = 0, 0
        self._samples: deque[tuple[float, int]] = deque()
        self.expect(0)

    def expect(self, total_bytes: int) -> None:
        """So much will come from now on, over all files."""
        self.total_bytes, self.come_bytes = total_bytes, 0
        self._since_s = self._clock()
        self._samples.clear()
        self._samples.append((self._since_s, 0))

    def began(self, here_bytes: int) -> None:
        """A file begins of which so much is here: that comes no more."""
        self._of_file, self._here_bytes = 0, here_bytes

    def at(self, position_bytes: int) -> None:
        """A file is here up to this position."""
        fresh = max(0, position_bytes - self._here_bytes)
        self.come_bytes += fresh - self._of_file
        self._of_file = fresh
        now_s = self._clock()
        if now_s - self._samples[-1][0] >= WINDOW_S / 60:
            self._samples.append((now_s, self.come_bytes))
        while len(self._samples) > 2 and now_s - self._samples[1][0] >= WINDOW_S:
            self._samples.popleft()

    @property
    def bytes_per_s(self) -> float | None:
        """Of the last minute; `None` before there is one to speak of."""
        since_s, come_bytes = self._samples[0]
        seconds = self._clock() - since_s
        return (self.come_bytes - come_bytes) / seconds if seconds >= SETTLED_S else None

    @property
    def left_s(self) -> float | None:
        """For all that is still to come; `None` where nothing says it."""
        rate = self.bytes_per_s
        return (self.total_bytes - self.come_bytes) / rate if rate else None

    def describe(self) -> str:
        """`12.30 GB of 83.10 GB, 45.0 MB/s, 26 m 13 s left`."""
        said = f"{format_bytes(self.come_bytes)} of {format_bytes(self.total_bytes)}"
        pace = self.describe_pace()
        return f"{said}, {pace}" if pace else said

    def describe_pace(self) -> str:
        """`45.0 MB/s, 26 m 13 s left`; empty before it is known."""
        rate, left_s = self.bytes_per_s, self.left_s
        if rate is None:
            return ""
        left = "" if left_s is None else f", {format_seconds(left_s)} left"
        return f"{format_bytes(round(rate))}/s{left}"

    def sum_up(self) -> str | None:
        """What came in which time, once it is over; `None` if nothing came."""
        seconds = self._clock() - self._since_s
        if not self.come_bytes:
            return None
        rate = format_bytes(round(self.come_bytes / max(seconds, 1e-3)))
        return f"fetched {format_bytes(self.come_bytes)} in {format_seconds(seconds)}, {rate}/s"
