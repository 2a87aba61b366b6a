"""`doctor` through the command line: what it prints and how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.errors import ModuleEndedError
from sana_wm.machine import cache_folder
from sana_wm.preflight import diagnosis
from sana_wm.preflight.numerics_gate import MachineKey, NumericsGate

Cli = Callable[..., tuple[int, str, str]]


class Diagnostics:
    """Stands for the processes of the diagnostics, which take a minute: what each reports, and what was asked."""

    def __init__(self) -> None:
        self.exit_code = 0
        self.device = "cpu"
        self.asked: list[tuple[str, bool]] = []

    def run_module(self, module: str, arguments: list[str], *, quiet: bool, environment: object) -> str:
        name = module.removeprefix("sana_wm.diagnostics.")
        self.asked.append((name, quiet))
        report = {"device": self.device, "failed": [], "checks": []}
        Path(arguments[arguments.index("--json") + 1]).write_text(json.dumps(report))
        if self.exit_code:
            raise ModuleEndedError(module, self.exit_code)
        return ""


@pytest.fixture
def diagnostics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Diagnostics:
    stand_in = Diagnostics()
    monkeypatch.setattr(diagnosis, "run_module", stand_in.run_module)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return stand_in


def test_with_complete_weights_a_run_can_start(
    sana_wm: Cli, diagnostics: Diagnostics, write_manifest: Callable[..., Path]
) -> None:
    code, out, _ = sana_wm("doctor", write_manifest())
    assert code == 0, out
    for word in (
        "python",
        "torch",
        "diffusers",
        "transformers",
        "ffmpeg",
        "disk",
        "complete",
        "--numerics",
    ):
        assert word in out
    assert "PROBLEM" not in out
    assert not diagnostics.asked


def test_without_weights_it_says_how_to_get_them_and_exits_7(sana_wm: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SANA_WM_MODEL_ROOT", raising=False)
    code, out, _ = sana_wm("doctor", "--json")
    assert code == 7
    answer = json.loads(out)
    assert not answer["ok"]
    problems = [finding for finding in answer["findings"] if finding["level"] == "problem"]
    assert [finding["what"] for finding in problems] == ["weights"]
    assert "sana-wm weights download" in problems[0]["advice"]


def test_incomplete_weights_are_named(sana_wm: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SANA_WM_MODEL_ROOT", str(tmp_path))
    code, out, _ = sana_wm("doctor")
    assert code == 7
    assert f"PROBLEM  weights: {tmp_path}: " in out


def test_a_missing_ffmpeg_is_a_problem(
    sana_wm: Cli, monkeypatch: pytest.MonkeyPatch, write_manifest: Callable[..., Path]
) -> None:
    import imageio_ffmpeg

    from sana_wm.video.encoder import usable_codecs

    def find_none() -> str:
        raise RuntimeError("no ffmpeg exe could be found")

    manifest = write_manifest()
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", find_none)
    usable_codecs.cache_clear()
    code, out, _ = sana_wm("doctor", manifest)
    assert code == 7
    assert "PROBLEM  ffmpeg: missing" in out


@pytest.mark.parametrize("exit_code", [0, 7])
def test_the_diagnostic_decides(sana_wm: Cli, diagnostics: Diagnostics, exit_code: int) -> None:
    diagnostics.exit_code = exit_code
    code, _, _ = sana_wm("doctor", "--numerics")
    assert code == exit_code
    assert diagnostics.asked == [("numerics", False)]


def test_json_keeps_the_tables_off_standard_output(sana_wm: Cli, diagnostics: Diagnostics) -> None:
    diagnostics.exit_code = 7
    code, out, _ = sana_wm("doctor", "--numerics", "--json")
    assert code == 7
    assert json.loads(out) == {"ok": False, "numerics": {"device": "cpu", "failed": [], "checks": []}}
    assert diagnostics.asked == [("numerics", True)]


def test_what_doctor_measured_is_what_the_next_run_goes_by(
    sana_wm: Cli, diagnostics: Diagnostics, tmp_path: Path
) -> None:
    diagnostics.device = "cuda"
    assert sana_wm("doctor", "--numerics")[0] == 0

    def never() -> str:
        raise AssertionError("the self-test ran again")

    folder = cache_folder({"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)})
    NumericsGate(folder, MachineKey.of_this_machine(), say=print, run_self_test=never).check("auto", ())


def test_doctor_looks_at_the_machine_whatever_is_wrong_with_the_manifest(
    write_manifest: Callable[..., Path], sana_wm: Cli
) -> None:
    code, out, _ = sana_wm("doctor", write_manifest(model__root="${SANA_NOBODY_SETS_THIS}"))
    assert code == 7
    assert "PROBLEM  model.root: environment variable SANA_NOBODY_SETS_THIS is not set" in out
    assert "ffmpeg: encodes" in out
    assert "A real run cannot start here" in out


def test_doctor_says_of_a_manifest_whether_it_can_run_here(
    write_manifest: Callable[..., Path], sana_wm: Cli, tmp_path: Path
) -> None:
    code, out, _ = sana_wm("doctor", write_manifest())
    assert code == 0
    assert "A real run can start here." in out
    code, out, _ = sana_wm("doctor", write_manifest(memory__cap_gib=0.3))
    assert code == 7
    assert "PROBLEM  memory: the run will not fit" in out
    code, out, _ = sana_wm("doctor", write_manifest(memory__cap_gib=96.0, input__image="nowhere.png"))
    assert code == 7
    assert "PROBLEM  input.image" in out
    (tmp_path / "taken").write_text("")
    path = write_manifest(input__image="picture.png", output_dir=str(tmp_path / "taken" / "run"))
    code, out, _ = sana_wm("doctor", path)
    assert code == 7
    assert "PROBLEM  output_dir" in out
    assert "A real run cannot start here: see PROBLEM above (1)." in out


def test_doctor_says_of_a_finished_run_that_nothing_is_left(sana_wm: Cli, finished_run: Path) -> None:
    code, out, _ = sana_wm("doctor", finished_run.parent / "manifest.json")
    assert code == 0
    assert "plan: every stage is done: there is nothing to compute" in out
