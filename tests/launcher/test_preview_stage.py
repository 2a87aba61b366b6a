"""The stage that nothing is made from: it is looked at before the refiner, and never in anybody's way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_runs import SilentView, fake, go
from sana_wm.durable import sha256_of
from sana_wm.errors import HandoffError, StageFailedError, UsageError
from sana_wm.launcher.run import execute
from sana_wm.manifest.lineage import MadeFrom
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.pipeline import active_stages, source_of, stages_from
from sana_wm.preflight.checks import resolve_manifest
from sana_wm.preflight.stage_range import require_range
from sana_wm.progress.run_progress import RunProgress
from sana_wm.progress.run_record import RunStart
from sana_wm.progress.status import StatusReader
from sana_wm.report.facts import gather_run_facts
from sana_wm.runs.decisions import StageDecision, decide
from sana_wm.runs.lock import owning
from sana_wm.runs.prepare import prepare
from sana_wm.runs.receipts import read_receipt, write_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify


@pytest.fixture
def resolved(write_manifest: Callable[..., Path]) -> RunManifest:
    return resolve_manifest(load_manifest(write_manifest(preview__enabled=True, memory__cap_gib=0.2), {}))


def actions(run: RunDirectory, manifest: RunManifest, **asked: Stage) -> list[str]:
    return [one.action for one in decide(run, manifest, [], **asked)]


def reason(run: RunDirectory, manifest: RunManifest, **asked: Stage) -> str:
    return decide(run, manifest, [], **asked)[1].reason


def states(run: RunDirectory) -> dict[str, str]:
    return {link.name: link.state for link in verify(run) if link.state != "holds"}


def go_to(run: RunDirectory, manifest: RunManifest, last: Stage) -> list[StageDecision]:
    decisions = decide(run, manifest, [], stop_after=last)
    execute(run, manifest, decisions, environment=os.environ, view=SilentView(), command=fake())
    return decisions


def test_it_runs_after_stage_1_and_nothing_is_made_from_it(run: RunDirectory, resolved: RunManifest) -> None:
    assert go(run, resolved).started == ["stage1", "preview", "refiner", "vae_decode"]
    assert states(run) == {}
    assert stages_from("preview") == ("preview",)
    assert stages_from("refiner") == ("refiner", "vae_decode")
    assert [source_of(resolved, stage) for stage in STAGES] == [None, "stage1", "stage1", "refiner"]


def test_it_is_off_where_the_video_shows_the_same(resolved: RunManifest, run: RunDirectory) -> None:
    draft = resolved.model_copy(update={"refiner": resolved.refiner.model_copy(update={"enabled": False})})
    assert active_stages(draft) == ("stage1", "vae_decode")
    assert reason(run, draft) == "refiner.enabled is false: the video shows the same"


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: run.preview_file.unlink(),
        lambda run: run.preview_file.write_text("x"),
        lambda run: run.receipt_file("preview").write_text("{"),
    ],
)
def test_a_damaged_preview_is_made_again_and_forces_nothing(
    run: RunDirectory, resolved: RunManifest, damage: Callable[[RunDirectory], object]
) -> None:
    go(run, resolved)
    damage(run)
    assert actions(run, resolved) == ["skip", "run", "skip", "skip"]
    (broken,) = (link for link in verify(run) if link.state == "broken")
    assert broken.invalidates == ("preview",)
    assert go(run, resolved).started == ["preview"]
    assert states(run) == {}


def test_a_run_that_has_refined_already_needs_none(run: RunDirectory, resolved: RunManifest) -> None:
    """So are runs that were made before there was such a stage."""
    go(run, resolved)
    run.clear_stage("preview")
    assert actions(run, resolved) == ["skip", "off", "skip", "skip"]
    assert reason(run, resolved) == "refiner is done"
    assert states(run) == {"metrics": "broken"}  # it names a receipt that was there
    go(run, resolved)
    assert states(run) == {}
    assert gather_run_facts(run).is_finished
    assert [one.state for one in StatusReader(run).look().stages][1] == "off"
    assert actions(run, resolved, start_from="preview") == ["skip", "run", "skip", "skip"]
    run.receipt_file("vae_decode").unlink()  # interrupted behind the refiner
    assert actions(run, resolved) == ["skip", "off", "skip", "run"]
    run.refined_file.unlink()  # and there are minutes of the refiner to come again
    assert actions(run, resolved) == ["skip", "run", "run", "run"]


def test_a_preview_alone_never_makes_pruned_latents_again(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    write_receipt(run, receipt.model_copy(update={"pruned": ("latents/stage1.safetensors",)}))
    run.stage1_file.unlink()
    run.preview_file.unlink()
    assert actions(run, resolved) == ["skip", "off", "skip", "skip"]


def test_a_preview_that_fails_ends_the_run_before_the_refiner_and_can_be_gone_round(
    run: RunDirectory, resolved: RunManifest
) -> None:
    said: list[str] = []
    decisions, failing = decide(run, resolved, []), fake(preview="bug")
    view = SilentView()
    with pytest.raises(StageFailedError, match="stage preview failed"):
        execute(run, resolved, decisions, environment=os.environ, view=view, command=failing, say=said.append)
    assert view.started == ["stage1", "preview"]
    assert any("--from refiner" in line for line in said)
    assert actions(run, resolved) == ["skip", "run", "run", "run"]
    assert actions(run, resolved, start_from="refiner") == ["skip", "off", "run", "run"]
    assert reason(run, resolved, start_from="refiner").startswith("the run begins with refiner")


def test_switching_it_on_or_off_touches_nothing_else(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    without = resolved.model_copy(update={"preview": resolved.preview.model_copy(update={"enabled": False})})
    with pytest.raises(HandoffError, match=r"preview\.enabled: true -> false"):
        prepare(run, without, force=False)
    assert prepare(run, without, force=True) == [run.receipt_file("preview"), run.preview_file]
    assert actions(run, without) == ["skip", "off", "skip", "skip"]


def test_a_run_stops_where_it_was_asked_to_and_goes_on_from_there(run: RunDirectory, resolved: RunManifest) -> None:
    decisions = decide(run, resolved, [], stop_after="preview")
    assert [one.action for one in decisions] == ["run", "run", "later", "later"]
    assert decisions[2].reason == "not asked for: --to preview"
    start = RunStart.of(decisions, {}, 0.0)
    with owning(run), RunProgress(run, resolved, start).reporting():
        go_to(run, resolved, "preview")
    assert not run.metrics_file.exists()  # the run is not at its end
    assert states(run) == {"refiner/receipt": "unfinished", "vae_decode/receipt": "unfinished"}
    look = StatusReader(run).look()
    assert (look.state, look.video) == ("stopped", None)
    assert look.note == f"stopped there as asked; go on with: {run.resume_command}"
    assert [one.state for one in look.stages][2:] == ["not asked", "not asked"]
    go_to(run, resolved, "preview")  # nothing is to do for that
    assert actions(run, resolved, stop_after="refiner") == ["skip", "skip", "run", "later"]
    assert go(run, resolved).started == ["refiner", "vae_decode"]
    assert actions(run, resolved, stop_after="stage1") == ["skip"] * 4


def test_a_run_stops_only_where_it_can(resolved: RunManifest) -> None:
    require_range(resolved, "preview", "refiner")
    with pytest.raises(UsageError, match="--to names a stage before that of --from"):
        require_range(resolved, "refiner", "preview")
    without = resolved.model_copy(update={"preview": resolved.preview.model_copy(update={"enabled": False})})
    with pytest.raises(UsageError, match=r"got preview: preview\.enabled is false; expected stage1, refiner"):
        require_range(without, None, "preview")


def test_a_run_without_refiner_that_shall_be_looked_at_goes_to_its_end(
    run: RunDirectory, resolved: RunManifest
) -> None:
    draft = resolved.model_copy(update={"refiner": resolved.refiner.model_copy(update={"enabled": False})})
    require_range(draft, None, "preview")
    assert actions(run, draft, stop_after="preview") == ["run", "off", "off", "run"]


def test_a_run_whose_parent_shows_the_same_stops_where_its_preview_would_be(
    run: RunDirectory, resolved: RunManifest, tmp_path: Path
) -> None:
    go(run, resolved)
    changed = {
        "made_from": MadeFrom(verb="vary", run=str(run.path), manifest_sha256=sha256_of(run.manifest_file)),
        "refiner": resolved.refiner.model_copy(update={"seed": 7}),
    }
    other, child = RunDirectory(tmp_path / "child"), resolved.model_copy(update=changed)
    assert reason(other, child) == f"{run.preview_file} shows the same"
    assert actions(other, child) == ["skip", "off", "run", "run"]
    assert actions(other, child, stop_after="preview") == ["skip", "off", "later", "later"]
