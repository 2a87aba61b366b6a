"""Which stages a command asks for: `--from` and `--to`, held against each other and against the manifest."""

from __future__ import annotations

from sana_wm.errors import UsageError
from sana_wm.manifest.model import Manifest
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE, active_stages, stages_after


def require_range(manifest: Manifest, start_from: Stage | None, stop_after: Stage | None) -> None:
    """Refuse stages that a run cannot begin with and stop after.

    A run without the stage that another is looked at before has nothing to stop for: its end is what is looked at.

    Args:
        manifest: What shall run.
        start_from: The first stage.
        stop_after: The last one.

    Raises:
        UsageError: The last comes before the first, or the manifest does not run it.
    """
    if stop_after is None:
        return
    if start_from is not None and stop_after not in (start_from, *stages_after(start_from)):
        expected = f"{start_from}, or a later one"
        raise UsageError("--to names a stage before that of --from", got=stop_after, expected=expected)
    why_off, before = PIPELINE[stop_after].off(manifest), PIPELINE[stop_after].looked_at_before
    if why_off is not None and (before is None or PIPELINE[before].off(manifest) is None):
        raise UsageError(
            "--to names a stage that this manifest does not run",
            got=f"{stop_after}: {why_off}",
            expected=", ".join(active_stages(manifest)),
        )
