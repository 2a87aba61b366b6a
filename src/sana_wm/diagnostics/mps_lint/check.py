"""The whole MPS check: every target at every length, a report each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sana_wm.diagnostics.mps_lint.report import LintReport
from sana_wm.diagnostics.mps_lint.targets import find_targets
from sana_wm.diagnostics.mps_lint.targets.target import Implementation, Size, lint

FRAMES = (161, 321, 961)


def check_targets(
    implementation: Implementation = "sana_wm",
    names: Sequence[str] | None = None,
    *,
    frames: Sequence[int] = FRAMES,
    num_layers: int | None = None,
    version: str | None = None,
) -> Iterator[LintReport]:
    """Check targets one after another.

    Args:
        implementation: `sana_wm`, or `diffusers` for the stock classes, which must not pass.
        names: Targets; all of them when left out.
        frames: Video lengths, 8k+1; a target that has no frames is checked once.
        num_layers: Layers of the transformers; all of them when left out.
        version: The torch release to judge by; the installed one when left out.

    Raises:
        UsageError: An unknown target, a length that is not 8k+1, or a release without a kernel table.
    """
    for target in find_targets(implementation, names):
        for num_frames in frames if target.has_frames else frames[:1]:
            yield lint(target, Size(num_frames, num_layers), version)
