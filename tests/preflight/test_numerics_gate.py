"""The gate before a run on an accelerator: the self-test runs once, and what it found decides."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sana_wm.errors import ModuleEndedError, StageFailedError
from sana_wm.machine import cache_folder
from sana_wm.preflight import diagnosis
from sana_wm.preflight.diagnosis import run_diagnostic
from sana_wm.preflight.numerics_gate import MachineKey, NumericsGate
from sana_wm.preflight.prospect import inspect
from sana_wm.runs.lock import owning
from sana_wm.runs.run_directory import RunDirectory

KEY = MachineKey(host="mac", processor="arm64 arm", system="macOS-26.2-arm64", torch="2.14.1", sana_wm="0.1.0")


def entry(check_id: str, *, used: bool = True, ok: bool = False, raised: str | None = None) -> dict[str, Any]:
    """A check's part of a report."""
    return {
        "id": check_id,
        "operation": f"the operation of {check_id}",
        "known_issue": "#197114",
        "used": used,
        "error": None if raised else 0.5,
        "tolerance": 0.02,
        "ok": ok,
        "raised": raised,
        "advice": "Update macOS.",
    }


def report(*checks: dict[str, Any], device: str = "mps") -> dict[str, Any]:
    """What the self-test writes."""
    failed = [check["id"] for check in checks if check["used"] and not check["ok"]]
    return {"device": device, "failed": failed, "checks": list(checks)}


class Machine:
    """A gate over a self-test that is not run: counts how often it was asked, remembers what was said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.result = report(entry("cat-strided", ok=True))
        self.runs = 0
        self.said: list[str] = []

    def gate(self, **changes: str) -> NumericsGate:
        key = dataclasses.replace(KEY, **changes)
        return NumericsGate(self.folder, key, say=self.said.append, run_self_test=self._test)

    def check(self, device: str = "mps", accepted: tuple[str, ...] = (), **changes: str) -> None:
        self.gate(**changes).check(device, accepted)

    def _test(self) -> dict[str, Any]:
        self.runs += 1
        return self.result


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "cache")


def test_a_result_is_kept_and_not_asked_for_again(machine: Machine) -> None:
    for device in ("mps", "auto", "mps"):
        machine.check(device)
    assert machine.runs == 1


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(MachineKey)])
def test_another_machine_system_torch_or_release_is_tested_anew(machine: Machine, field: str) -> None:
    machine.check()
    machine.check(**{field: "another"})
    assert machine.runs == 2
    machine.check()
    assert machine.runs == 2


def test_a_run_on_the_cpu_asks_nothing(machine: Machine) -> None:
    machine.result = report(entry("cat-strided"))
    machine.check("cpu")
    assert machine.runs == 0
    assert not machine.said


def test_a_machine_without_accelerator_is_let_through_and_looked_at_again(machine: Machine) -> None:
    machine.result = report(device="cpu")
    machine.check("auto")
    machine.check("auto")
    assert machine.runs == 2
    assert not machine.folder.exists()


def test_a_failed_check_that_is_used_refuses_the_run_and_says_everything(machine: Machine) -> None:
    machine.result = report(entry("conv3d"), entry("cumsum", ok=True), entry("embedding", raised="no kernel"))
    for _ in range(2):
        with pytest.raises(StageFailedError) as refusal:
            machine.check()
    assert refusal.value.exit_code == 7
    text = str(refusal.value)
    for part in ("conv3d", "the operation of conv3d", "5.0e-01", "#197114", "Update macOS.", "no kernel"):
        assert part in text
    assert "--accept-numerics conv3d --accept-numerics embedding" in text
    assert "cumsum" not in text
    assert machine.runs == 1


def test_only_a_run_that_accepts_every_failed_check_goes_through(machine: Machine) -> None:
    machine.result = report(entry("conv3d"), entry("embedding"))
    with pytest.raises(StageFailedError, match="embedding") as refusal:
        machine.check(accepted=("conv3d",))
    assert "the operation of conv3d" not in str(refusal.value)
    machine.check(accepted=("conv3d", "embedding"))
    assert [line.split()[3] for line in machine.said if line.startswith("warning")] == ["conv3d", "embedding"]


def test_a_failed_check_that_is_not_used_never_refuses(machine: Machine) -> None:
    machine.result = report(entry("bmm-36080", used=False))
    machine.check()
    assert not [line for line in machine.said if line.startswith("warning")]


def test_a_damaged_result_is_said_and_made_again(machine: Machine) -> None:
    machine.check()
    machine.gate().file.write_text('{"key": ')
    machine.check()
    machine.check()
    assert machine.runs == 2
    assert any("cannot be read" in line for line in machine.said)


def test_a_cache_that_cannot_be_written_costs_the_result_not_the_run(machine: Machine) -> None:
    machine.folder.write_text("a file where the folder should be")
    machine.check()
    assert any("will run again" in line for line in machine.said)


def test_the_cache_lies_where_the_platform_keeps_caches() -> None:
    home = {"HOME": "/home/someone"}
    assert cache_folder(home, "darwin") == Path("/home/someone/Library/Caches/sana-wm")
    assert cache_folder(home, "linux") == Path("/home/someone/.cache/sana-wm")
    assert cache_folder(home | {"XDG_CACHE_HOME": "/var/cache"}, "linux") == Path("/var/cache/sana-wm")


def test_the_key_names_the_installed_torch() -> None:
    import torch

    key = MachineKey.of_this_machine()
    assert key.torch == torch.__version__
    assert all(dataclasses.asdict(key).values())


def keep_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave the result of a machine whose conv3d is wrong where the command line looks for it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = cache_folder({"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)})
    gate = NumericsGate(folder, MachineKey.of_this_machine(), say=print, run_self_test=dict)
    gate.keep(report(entry("conv3d")))


def test_run_pipeline_and_resume_refuse_and_take_the_option(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    write_manifest: Callable[..., Path],
    sana_wm: Callable[..., tuple[int, str, str]],
) -> None:
    keep_failure(monkeypatch, tmp_path)
    path = write_manifest(device="auto")
    manifest = inspect(path, {}).require()[1]
    run = RunDirectory(Path(manifest.output_dir))
    code, _, err = sana_wm("run-pipeline", path)
    assert code == 7
    assert "--accept-numerics conv3d" in err
    assert not run.path.exists()

    # Owned by us, the directory stops whoever gets past the gate, without running a stage.
    with owning(run):
        run.write_manifest(manifest)
        for command in (("run-pipeline", path), ("resume", run.path)):
            assert sana_wm(*command)[0] == 7
            code, _, err = sana_wm(*command, "--accept-numerics", "conv3d")
            assert code == 9
            assert "numerics check conv3d fails" in err


def test_a_run_on_the_cpu_passes_whatever_the_accelerator_does(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    write_manifest: Callable[..., Path],
    sana_wm: Callable[..., tuple[int, str, str]],
) -> None:
    keep_failure(monkeypatch, tmp_path)
    path = write_manifest(device="cpu")
    run = RunDirectory(Path(inspect(path, {}).require()[1].output_dir))
    with owning(run):
        assert sana_wm("run-pipeline", path)[0] == 9


@pytest.mark.parametrize(
    ("script", "told"), [("os.abort()", "signal SIGABRT"), ("sys.exit(1)", "exit code 1"), ("pass", "exit code 0")]
)
def test_a_self_test_that_ends_without_a_report_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    """MPSGraph is known to abort the process."""
    import subprocess

    def run_script(_module: str, arguments: list[str], *, quiet: bool, environment: object) -> str:
        command = [sys.executable, "-c", f"import os, sys; {script}", *arguments]
        code = subprocess.run(command, check=False, capture_output=quiet).returncode
        if code:
            raise ModuleEndedError(_module, code)
        return ""

    monkeypatch.setattr(diagnosis, "run_module", run_script)
    with pytest.raises(StageFailedError, match=told):
        run_diagnostic("numerics", [], quiet=True, environment={"PATH": ""})
