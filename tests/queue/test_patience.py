"""A run that loses who started it gets the time to save that it needs; other modules get a moment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: With a grace that is over before the module has saved.
SHORT_GRACE = "import sana_wm.tether; sana_wm.tether.GRACE_S = 0.1; sana_wm.tether.main()"


@pytest.mark.usefixtures("queue")  # where the module is found
@pytest.mark.parametrize(("patience", "code"), [(["--patient"], 3), ([], 130)])
def test_only_what_is_run_patiently_may_take_its_time(patience: list[str], code: int) -> None:
    read_end, write_end = os.pipe()
    command = [sys.executable, "-c", SHORT_GRACE, *patience, str(read_end), "slow_saver"]
    process = subprocess.Popen(command, pass_fds=(read_end,), stdout=subprocess.PIPE, text=True)
    os.close(read_end)
    assert process.stdout is not None
    process.stdout.readline()  # it listens
    os.close(write_end)  # as if this process were gone
    process.communicate()
    assert process.returncode == code
