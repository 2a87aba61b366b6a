"""`sana-wm doctor --parity`, and the verdict that it reaches."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("apart", "ours", "nvidia", "agrees"),
    [
        (1e-6, None, 1e-6, True),
        (2e-4, None, 2e-4, False),
        (math.nan, None, math.nan, False),
        (2e-2, 1e-2, 1.9e-2, True),
        (2e-2, 1e-2, 2.1e-2, False),
        (2e-2, 2.1e-2, 1e-2, False),
        (math.nan, 1e-2, math.nan, False),
    ],
)
def test_the_verdict(apart: float, ours: float | None, nvidia: float, agrees: bool) -> None:
    from sana_wm.diagnostics.parity.verdict import Row

    row = Row("stage1", "float32" if ours is None else "bfloat16", apart, ours, nvidia)
    assert row.agrees is agrees
    assert row.as_text().endswith("same" if agrees else "DIFFERENT")


def test_without_a_checkout_it_says_what_to_give(sana_wm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SANA_WM_PR_ROOT", raising=False)
    code, _, err = sana_wm("doctor", "--parity")
    assert code == 2
    assert "SANA_WM_PR_ROOT" in err


def test_an_unpatched_checkout_is_refused(sana_wm: Run, clone: Path) -> None:
    code, _, err = sana_wm("doctor", "--parity", "--pr-root", clone)
    assert code == 2
    assert "patches apply" in err


def test_both_backends_agree_on_this_machine(sana_wm: Run, pr_root: Path) -> None:
    code, out, _ = sana_wm("doctor", "--parity", "--pr-root", pr_root, "--json")
    report = json.loads(out)
    assert code == 0, report
    rows = report["parity"]["rows"]
    assert [row["dtype"] for row in rows] == ["float32"] * 4 + ["bfloat16"] * 4
    assert max(row["apart"] for row in rows[:4]) <= 1e-5
    assert all(row["agrees"] for row in rows)


def test_a_backend_that_computes_something_else_is_found(pr_root: Path, tmp_path: Path) -> None:
    """The check can fail: the same checkout with one wrong operation, called as the diagnostic itself is."""
    broken = "import sana_wm_mps.kernels as k; scan = k.scan; k.scan = lambda w, u: scan(w, u) * 1.01"
    program = (
        f"import sys; sys.path.insert(0, {str(pr_root)!r}); import sana_wm_mps; sana_wm_mps.install(); {broken}; "
        f"from sana_wm.diagnostics.parity.__main__ import main; "
        f"sys.exit(main(['--pr-root', {str(pr_root)!r}, '--device', 'cpu']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "DIFFERENT" in done.stdout
