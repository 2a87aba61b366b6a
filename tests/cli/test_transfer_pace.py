"""Pace and time left of a whole download, file after file, from where an earlier one stopped."""

from __future__ import annotations

import pytest

from sana_wm.cli.transfer_pace import TransferPace


class Clock:
    """Seconds that pass when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


MB = 1000**2


def test_what_is_left_is_of_all_files_and_what_was_here_is_no_pace() -> None:
    clock = Clock()
    pace = TransferPace(clock)
    pace.expect(100 * MB)
    pace.began(900 * MB)  # an earlier process left these; hashing them is no transfer
    pace.at(500 * MB)
    pace.at(900 * MB)
    assert (pace.come_bytes, pace.left_s, pace.describe()) == (0, None, "0 B of 100.0 MB")
    clock.now_s += 5
    pace.at(910 * MB)
    assert pace.describe() == "10.0 MB of 100.0 MB, 2.0 MB/s, 45 s left"
    pace.began(0)
    clock.now_s += 5
    pace.at(10 * MB)
    assert pace.describe() == "20.0 MB of 100.0 MB, 2.0 MB/s, 40 s left"
    assert pace.sum_up() == "fetched 20.0 MB in 10 s, 2.0 MB/s"


def test_the_last_minute_counts() -> None:
    clock = Clock()
    pace = TransferPace(clock)
    pace.expect(10_000 * MB)
    pace.began(0)
    for second in range(300):  # fast, then a tenth
        clock.now_s += 1
        pace.at((10 * min(second, 100) + max(0, second - 100)) * MB)
    assert pace.bytes_per_s == pytest.approx(MB, rel=0.05)


def test_nothing_that_comes_has_no_end_and_no_sum() -> None:
    clock = Clock()
    pace = TransferPace(clock)
    pace.expect(MB)
    pace.began(0)
    clock.now_s += 30
    pace.at(0)
    assert (pace.left_s, pace.describe(), pace.sum_up()) == (None, "0 B of 1.0 MB, 0 B/s", None)
