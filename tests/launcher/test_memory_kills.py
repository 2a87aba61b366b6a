"""What systems say of processes that they ended for want of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from sana_wm.launcher.probes.memory_kills import count_memory_kills, tells_of_jetsam


@pytest.mark.parametrize(
    ("groups", "counter"),
    [
        ("0::/user.slice/run\n", "sys/fs/cgroup/user.slice/run/memory.events"),
        ("4:memory:/job\n1:cpu:/\n0::/\n", "sys/fs/cgroup/memory/job/memory.oom_control"),
        ("", "proc/vmstat"),
    ],
)
def test_a_kill_is_seen_in_the_count_of_either_kind_of_group(tmp_path: Path, groups: str, counter: str) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    assert count_memory_kills(tmp_path) is None
    path = tmp_path / counter
    path.parent.mkdir(parents=True, exist_ok=True)
    for kills in (0, 3):
        path.write_text(f"oom 7\noom_kill {kills}\noom_group_kill 1\n")
        assert count_memory_kills(tmp_path) == kills


def test_jetsam_is_known_by_its_line_and_pid() -> None:
    log = "2026-11-29 19:00 Df kernel[0:1] memorystatus: killing_top_process pid 4711 [python3.11] (vm-pageshortage 1)"
    assert tells_of_jetsam(log, 4711)
    assert not tells_of_jetsam(log, 471)
    assert not tells_of_jetsam("", 4711)
