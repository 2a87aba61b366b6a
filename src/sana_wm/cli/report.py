"""`report`: a run on one page, for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.manifest import AsJson

#: Earlier runs that are shown beside this one.
EARLIER_RUNS = 5


@app.command("report")
def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A directory that run-pipeline made.")],
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page; RUN_DIR/report.html when left out."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a run on one HTML page. The video, memory, times and checks are in it, a memory chart beside it."""
    from sana_wm.cli.output import real_path, refuse_to_overwrite, require_suffix
    from sana_wm.held import holding
    from sana_wm.planning.past_runs import find_past_runs
    from sana_wm.report.facts import gather_run_facts
    from sana_wm.report.memory_plot import save_memory_plot
    from sana_wm.report.page import write_report
    from sana_wm.report.timeline import read_timeline
    from sana_wm.runs.run_directory import RunDirectory

    run = RunDirectory(real_path(run_dir))
    page = output.absolute() if output is not None else run.report_file
    plot = run.memory_plot_file if output is None else page.with_name(f"{page.stem}-memory.png")
    if output is not None:
        require_suffix(output, ".html")
        refuse_to_overwrite(page, force=force)
        refuse_to_overwrite(plot, force=force)
    facts = gather_run_facts(run)
    timeline = read_timeline(run, facts.manifest.memory.cap_bytes)
    # A run whose last start found stages done or begun is no comparison: each stage's last phase must be known.
    last_phases = {(one.stage, one.phases[-1].name) for stage in facts.stages if (one := stage.receipt) and one.phases}
    past = [one for one in find_past_runs(run, facts.manifest) if one.path != run.path]
    earlier = [(one.path.name, one.seconds) for one in past if one.seconds.keys() >= last_phases][:EARLIER_RUNS][::-1]
    this = [(run.path.name, facts.times_s)] if facts.is_finished else []
    with holding(run.path):
        write_report(page, facts, timeline, [*earlier, *this] if this else [])
        save_memory_plot(timeline, plot)
    if as_json:
        findings = {stage.stage: stage.findings for stage in facts.stages if not stage.off}
        typer.echo(json.dumps({"report": str(page), "memory_plot": str(plot), "findings": findings}, indent=2))
        return
    typer.echo(f"report: {page}")
    typer.echo(f"memory: {plot}")
