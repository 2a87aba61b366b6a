"""Our engines are safe on MPS as far as is known, under every torch release that we have a table of."""

from __future__ import annotations

import pytest

from mps_check.report import LintReport
from mps_check.targets import TARGETS, find_targets
from mps_check.targets.target import Size, lint
from sana_wm.sizes import GIB

RELEASES = ("2.13.0", "2.14.1", "2.15.0")

# What shows every op in a few seconds: one softmax block among four, two refiner layers, a short video.
QUICK = {
    "stage1": Size(num_frames=49, num_layers=4),
    "stage1_streaming": Size(num_frames=97, num_layers=4),
    "refiner": Size(num_layers=2),
    "refiner_int8": Size(num_layers=2),
    "refiner_single_shot": Size(num_layers=2),
    "connectors": Size(),
    "gemma2": Size(),
    "gemma3": Size(),
    "gemma3_int8": Size(),
    "vae_encode": Size(),
    "vae_decode": Size(num_frames=17),
    "vae_decode_causal": Size(num_frames=17),
}


def check(name: str, size: Size, version: str | None = None) -> LintReport:
    (target,) = find_targets("sana_wm", [name])
    return lint(target, size, version)


def test_ours_and_the_stock_networks_are_checked_side_by_side():
    ours = {target.name for target in TARGETS if target.implementation == "sana_wm"}
    stock = {target.name for target in TARGETS if target.implementation == "diffusers"}
    assert ours == set(QUICK)
    assert ours - stock == {
        "gemma3_int8",
        "refiner_int8",
        "refiner_single_shot",
        "stage1_streaming",
        "vae_decode_causal",
    }


@pytest.mark.parametrize("name", QUICK)
def test_our_engines_have_no_finding(name):
    report = check(name, QUICK[name])
    assert report.faults == (), report.as_text()
    assert report.of_rule("host-sync") == (), report.as_text()
    assert report.ops


@pytest.mark.long
@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("name", QUICK)
def test_our_engines_have_no_finding_in_any_release(name, version):
    report = check(name, QUICK[name], version)
    assert report.faults == (), report.as_text()


@pytest.mark.long
@pytest.mark.parametrize("num_frames", [161, 321, 961])
@pytest.mark.parametrize("name", ["stage1", "refiner_single_shot", "vae_decode", "vae_decode_causal"])
def test_our_engines_have_no_finding_at_full_size_and_length(name, num_frames):
    report = check(name, Size(num_frames))
    assert report.faults == (), report.as_text()
    assert report.largest is not None
    assert report.largest.size_bytes < 4 * GIB


@pytest.mark.long
@pytest.mark.parametrize("name", ["refiner", "stage1_streaming"])
def test_what_has_no_length_has_no_finding_at_full_depth(name):
    assert check(name, Size()).faults == ()
