"""Puts manifests into a queue: looked at first, kept as copies that later edits do not reach."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sana_wm.errors import RefusedRunError, UsageError
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.model import Manifest
from sana_wm.manifest.portable import settled_manifest
from sana_wm.preflight.prospect import NOTHING_ELSE, Choices, Prospect, change_fields, inspect
from sana_wm.queue.folder import Queue
from sana_wm.queue.job import Expectation, Job, JobOptions


@dataclass(frozen=True)
class Added:
    """A job that was added.

    Attributes:
        job: The job.
        prospect: What was seen of its manifest.
    """

    job: Job
    prospect: Prospect


def add(
    queue: Queue,
    manifest_paths: Sequence[Path],
    environment: Mapping[str, str],
    choices: Choices = NOTHING_ELSE,
    *,
    anyway: bool = False,
) -> list[Added]:
    """Add manifests to a queue, all or none.

    Args:
        queue: The queue.
        manifest_paths: JSON manifests.
        environment: As of `inspect`.
        choices: What the command says besides.
        anyway: Add what could not start now: it may be able to when its turn comes. A manifest that cannot be read is
            refused all the same.

    Raises:
        RefusedRunError: A manifest has problems.
        ManifestError: `anyway`, and a manifest cannot be read.
        UsageError: Two jobs would work in one run directory.
    """
    prospects = [inspect(path, environment, choices) for path in manifest_paths]
    if not anyway:
        _refuse_problems(manifest_paths, prospects)
    # As it was resolved: the prompt's text, settled intrinsics, every default. What was looked at is what will run.
    manifests = [
        prospect.resolved or change_fields(load_manifest(path, environment), choices.changes)
        for path, prospect in zip(manifest_paths, prospects, strict=True)
    ]
    with queue.changing():
        queue.sweep()
        _refuse_shared_run_directories(queue, manifest_paths, manifests)
        options = JobOptions.of(choices)
        return [
            Added(_new_job(queue, manifest, prospect, options), prospect)
            for manifest, prospect in zip(manifests, prospects, strict=True)
        ]


def _refuse_problems(manifest_paths: Sequence[Path], prospects: Sequence[Prospect]) -> None:
    refused = [(path, prospect) for path, prospect in zip(manifest_paths, prospects, strict=True) if prospect.errors]
    if refused:
        raise RefusedRunError(
            [
                replace(problem, field=f"{path}: {problem.field}")
                for path, prospect in refused
                for problem in prospect.problems
            ],
            refused[0][1].errors[0].exit_code,
            "Nothing was added. Mend it, or add --anyway: what is missing now may be there when the job's turn comes.",
        )


def _refuse_shared_run_directories(queue: Queue, manifest_paths: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    taken = {job.run_dir: str(job) for job in queue.jobs() if job.state != "done"}
    for path, manifest in zip(manifest_paths, manifests, strict=True):
        if manifest.output_dir in taken:
            raise UsageError(
                f"{path} would work where {taken[manifest.output_dir]} does",
                got=f"the output_dir {manifest.output_dir}",
                expected="a run directory for each job",
                next_step="Give it another output_dir. Nothing was added.",
            )
        taken[manifest.output_dir] = str(path)


def _new_job(queue: Queue, manifest: Manifest, prospect: Prospect, options: JobOptions) -> Job:
    text = json.dumps(settled_manifest(manifest), indent=2) + "\n"
    return queue.new_job(manifest.name, manifest.output_dir, text, Expectation.of_plan(prospect.plan), options)
