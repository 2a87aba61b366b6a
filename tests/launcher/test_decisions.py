"""Which stages run again, and why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from fake_runs import actions, beginning, go
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.pipeline import PIPELINE
from sana_wm.runs.decisions import decide
from sana_wm.runs.receipts import OutputFile, read_receipt, settings_digest, stage_settings, write_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import begin
from sana_wm.weights.manifest_layout import WeightFile


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "latents/../../outside", "link"])
def test_a_receipt_cannot_name_a_file_outside(run: RunDirectory, resolved: RunManifest, name: str) -> None:
    go(run, resolved)
    (run.path.parent / "outside").write_text("")
    (run.path / "link").symlink_to("link")  # to itself: not even its end can be found
    receipt = read_receipt(run, "vae_decode")
    assert receipt is not None
    named = OutputFile(sha256=hashlib.sha256(b"").hexdigest(), size_bytes=0)
    write_receipt(run, receipt.model_copy(update={"outputs": receipt.outputs | {name: named}}))
    decision = decide(run, resolved, [])[-1]
    assert (decision.action, decision.reason) == ("run", f"{name} is no file inside the run directory")


def test_other_versions_are_named_and_keep_what_is_done_unless_results_change_on_purpose(
    run: RunDirectory, resolved: RunManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of docs/runs.md."""
    go(run, resolved)
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    write_receipt(run, receipt.model_copy(update={"versions": {"torch": "1.0"}}))
    (kept, *_) = decide(run, resolved, [])
    assert kept.action == "skip"
    assert "kept although versions changed: torch 1.0 -> " in kept.reason
    monkeypatch.setitem(PIPELINE, "stage1", replace(PIPELINE["stage1"], results_version=2))
    (again, *_) = decide(run, resolved, [])
    assert again.action == "run"
    assert "version changed: sana-wm 0 made it" in again.reason


def test_a_setting_that_a_release_adds_changes_no_digest_and_refuses_nothing(
    run: RunDirectory, resolved: RunManifest
) -> None:
    settings = stage_settings(resolved, "refiner")
    older = {name: value for name, value in settings.items() if name != "refiner.sink_size"}
    assert settings_digest(older) == settings_digest(settings)
    assert settings_digest(older) != settings_digest({**settings, "refiner.sink_size": 2})
    begin(run, resolved, beginning(resolved, stage="refiner", settings=older))
    (run.checkpoint_folder("refiner") / "00001.safetensors").touch()
    begin(run, resolved, beginning(resolved, stage="refiner", settings=settings))


def test_a_setting_that_a_later_release_added_counts_as_its_default(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    receipt = read_receipt(run, "refiner")
    assert receipt is not None
    older = {name: value for name, value in receipt.settings.items() if name != "refiner.sink_size"}
    write_receipt(run, receipt.model_copy(update={"settings": older}))
    assert actions(run, resolved)[1] == "skip"
    changed = resolved.model_copy(update={"refiner": resolved.refiner.model_copy(update={"sink_size": 2})})
    assert decide(run, changed, [])[2].reason == "manifest field changed: refiner.sink_size: 1 -> 2"


def test_other_weights_are_a_reason_to_run_and_absent_ones_are_not(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    file = WeightFile(component="transformer", file="dit.safetensors", size_bytes=5, identity_sha256="a")
    write_receipt(run, receipt.model_copy(update={"weights": (file,)}))
    assert actions(run, resolved)[0] == "skip"
    assert decide(run, resolved, [file])[0].action == "skip"
    other = decide(run, resolved, [file.model_copy(update={"identity_sha256": "b"})])[0]
    assert (other.action, other.reason) == (
        "run",
        "weights changed: transformer (dit.safetensors) is not the file it ran with",
    )


@pytest.mark.parametrize(
    ("damage", "expected", "said"),
    [
        (lambda run: run.stage1_file.unlink(), ["run", "run", "run"], "latents/stage1.safetensors is missing"),
        (lambda run: run.stage1_file.write_text("x"), ["run", "run", "run"], "its receipt says"),
        (
            lambda run: run.refined_file.write_text(run.refined_file.read_text().swapcase()),
            ["skip", "run", "run"],
            "SHA-256 differs",
        ),
        (lambda run: run.receipt_file("vae_decode").unlink(), ["skip", "skip", "run"], "not done yet"),
        (lambda run: run.receipt_file("refiner").write_text("{"), ["skip", "run", "run"], "is damaged"),
    ],
)
def test_resume_trusts_only_what_matches_its_receipt(
    run: RunDirectory,
    resolved: RunManifest,
    damage: Callable[[RunDirectory], object],
    expected: list[str],
    said: str,
) -> None:
    go(run, resolved)
    damage(run)
    assert actions(run, resolved) == expected
    assert any(said in decision.reason for decision in decide(run, resolved, []))
