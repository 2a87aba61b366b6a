"""Manifests become jobs: looked at first, kept as copies that nothing changes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.errors import ManifestError, RefusedRunError, UsageError
from sana_wm.manifest.loading import load_manifest
from sana_wm.preflight.prospect import Choices
from sana_wm.queue.adding import add
from sana_wm.queue.folder import Queue

Write = Callable[..., Path]


def test_a_job_keeps_what_was_looked_at_whatever_becomes_of_the_files(
    queue: Queue, write_manifest: Write, tmp_path: Path
) -> None:
    (tmp_path / "prompt.txt").write_text("A quiet road, ${HOME}.")
    path = write_manifest(
        input__prompt=...,
        input__prompt_file="prompt.txt",
        input__image="picture.png",
        stage1__seed=7,
        made_from={"verb": "vary", "run": "/runs/road", "manifest_sha256": "0" * 64},
    )
    (added,) = add(queue, [path], os.environ, Choices(accept_over_cap=True))
    path.write_text("{}")
    (tmp_path / "prompt.txt").write_text("Another one.")
    job = queue.require(1)
    assert job == added.job
    assert (job.state, job.name, job.run_dir) == ("waiting", "tiny", str(tmp_path / "run"))
    assert job.options.accept_over_cap
    assert job.expected_s is not None
    kept = load_manifest(queue.manifest_file(1), {})
    assert kept.input.prompt == "A quiet road, ${HOME}."
    assert (kept.input.image, kept.output_dir) == (str(tmp_path / "picture.png"), str(tmp_path / "run"))
    assert kept.stage1.seed == 7
    assert kept.made_from is not None
    assert kept.made_from.run == "/runs/road"


def test_what_cannot_start_is_refused_with_every_problem_and_nothing_is_added(
    queue: Queue, write_manifest: Write, tmp_path: Path
) -> None:
    good = write_manifest()
    bad = tmp_path / "bad.json"
    bad.write_text(write_manifest(output_dir="bad", input__image="gone.png", camera__action="w-2").read_text())
    good.write_text(bad.read_text().replace("gone.png", "picture.png").replace("w-2", "w-8").replace('"bad"', '"run"'))
    with pytest.raises(RefusedRunError) as refused:
        add(queue, [good, bad], os.environ)
    assert refused.value.exit_code == 2
    assert {problem.field for problem in refused.value.problems} == {f"{bad}: input.image", f"{bad}: video.num_frames"}
    assert "Nothing was added" in str(refused.value)
    assert queue.jobs() == []
    assert [one.job.number for one in add(queue, [good, bad], os.environ, anyway=True)] == [1, 2]


def test_what_cannot_be_read_is_refused_even_so(queue: Queue, write_manifest: Write) -> None:
    """Its wrong fields would have their defaults in the copy."""
    with pytest.raises(ManifestError, match="seeed"):
        add(queue, [write_manifest(stage1__seeed=7)], os.environ, anyway=True)
    assert queue.jobs() == []


def test_two_jobs_never_work_in_one_folder(queue: Queue, write_manifest: Write) -> None:
    path = write_manifest()
    for paths in ([path, path], [path]):
        if len(paths) == 1:
            add(queue, paths, os.environ)
        with pytest.raises(UsageError, match=r"would work where .* does"):
            add(queue, paths, os.environ)
    assert [job.number for job in queue.jobs()] == [1]
    with queue.changing():
        queue.write(queue.require(1).done(2.0))
    assert json.loads(queue.manifest_file(add(queue, [path], os.environ)[0].job.number).read_text())["name"] == "tiny"
