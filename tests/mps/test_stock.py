"""The check can fail: in diffusers' own classes it finds what docs/mps.md lists, at the lines listed there."""

from __future__ import annotations

import json
from functools import cache

import pytest

from mps_check.__main__ import main
from mps_check.report import LintReport
from mps_check.targets import find_targets
from mps_check.targets.target import Size, lint

GIB = 1024**3

# Every fourth block is a softmax block: four layers have one of each kind, and every finding of the twenty.
FEW_LAYERS = {"stage1": 4, "refiner": 2}


@cache
def check(name: str, num_frames: int = 321, *, full_depth: bool = False, version: str | None = None) -> LintReport:
    (target,) = find_targets("diffusers", [name])
    return lint(target, Size(num_frames, None if full_depth else FEW_LAYERS.get(name)), version)


def sites(report: LintReport, rule_id: str) -> dict[str, int]:
    """Hits by file and line."""
    return {found.site.partition(" ")[0].rpartition("/")[2]: found.count for found in report.of_rule(rule_id)}


def rules_of(report: LintReport) -> set[str]:
    return {found.rule.id for found in report.faults}


def test_stage1_attends_without_a_flash_kernel():
    report = check("stage1")
    details = {found.detail for found in report.of_rule("attention-score-matrix")}
    assert details == {
        "bfloat16(2, 20, 36080, 112) x 36080 keys: 96.99 GiB",
        "bfloat16(2, 20, 36080, 112) x 300 keys: 0.81 GiB",
    }
    assert sites(report, "attention-score-matrix") == {
        "transformer_sana_wm.py:2106": 1,
        "attention_dispatch.py:3760": 4,
    }
    assert sites(report, "attention-scores-over-2-32") == {"transformer_sana_wm.py:2106": 1}
    assert 100 * GIB < report.peak_bytes < 106 * GIB
    assert report.largest.size_bytes == 2 * 20 * 36080**2 * 2


def test_stage1_pads_in_its_softmax_blocks():
    lines = (2193, 2194, 2195)
    assert sites(check("stage1"), "pad-scratch") == {f"transformer_sana_wm.py:{line}": 1 for line in lines}


def test_stage1_convolves_a_strided_view():
    assert sites(check("stage1"), "strided-conv2d-input") == {"transformer_sana_wm.py:282": 4}


def test_stage1_rotates_by_complex_numbers():
    found = sites(check("stage1"), "complex-on-device")
    assert {f"transformer_sana_wm.py:{line}" for line in (483, 495, 940, 941, 942, 1186, 1189)} <= set(found)


def test_stage1_waits_for_the_host_in_every_step():
    assert sites(check("stage1"), "host-sync") == {"transformer_sana_wm.py:605": 1}


def test_the_refiner_builds_its_rotary_table_in_float64():
    report = check("refiner")
    lines = (615, 617, 619)
    assert set(sites(report, "float64-on-device")) == {f"transformer_sana_wm_refiner.py:{line}" for line in lines}
    assert rules_of(report) == {"float64-on-device"}


def test_the_connectors_have_a_float64_table_and_a_very_wide_linear():
    report = check("connectors")
    assert set(sites(report, "float64-on-device")) == {f"connectors.py:{line}" for line in (126, 128, 130)}
    (found,) = report.of_rule("linear-large-k")
    assert found.detail == "linear M=1024 N=3840 K=188160"
    assert rules_of(check("connectors", version="2.14.1")) == {"float64-on-device"}


@pytest.mark.parametrize("name", ["gemma3", "vae_encode"])
def test_the_other_networks_are_safe_as_they_are(name):
    report = check(name)
    assert report.faults == ()
    assert report.ops


def test_the_untiled_decode_of_321_frames_is_too_large():
    report = check("vae_decode")
    assert sites(report, "cat-over-2-31-elements") == {"autoencoder_kl_ltx2.py:106": 11}
    lines = (59, 56, 108, 203, 218, 235, 324, 331, 335)
    assert {f"autoencoder_kl_ltx2.py:{line}" for line in lines} <= set(sites(report, "write-over-2-31-elements"))
    assert rules_of(check("vae_decode", 161)) == {"pad-scratch"}
    assert "cat-over-2-31-elements" not in rules_of(check("vae_decode", version="2.15.0"))


def test_the_command_reports_findings_by_its_exit_code_and_as_json(tmp_path, capsys):
    file = tmp_path / "report.json"
    arguments = ["--stock", "--target", "connectors", "--target", "gemma3", "--json", str(file)]
    assert main(arguments) == 7
    assert "[error] float64-on-device" in capsys.readouterr().out
    assert [report["target"] for report in json.loads(file.read_text())] == [
        "connectors (diffusers)",
        "gemma3 (diffusers)",
    ]
    assert main(["--stock", "--target", "vae_encode"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--target", "nothing"], "no such target"), (["--frames", "160"], "8k\\+1"), (["--torch", "9.9.9"], "no MPS")],
)
def test_the_command_refuses_what_it_cannot_check(arguments, message, capsys):
    assert main(["--stock", *arguments]) == 2
    assert message.replace("\\", "") in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("num_frames", [161, 321, 961])
def test_stage1_at_full_depth_has_the_findings_of_four_layers(num_frames):
    report = check("stage1", num_frames, full_depth=True)
    assert rules_of(report) == rules_of(check("stage1", num_frames))
    assert sum(sites(report, "pad-scratch").values()) == 15


@pytest.mark.long
def test_the_refiner_at_full_depth_has_the_findings_of_two_layers():
    report = check("refiner", full_depth=True)
    assert rules_of(report) == {"float64-on-device"}
    assert 44 * GIB < report.peak_bytes < 46 * GIB
