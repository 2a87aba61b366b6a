"""The whole MPS check: every target at every length, a report each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mps_check.report import LintReport
from mps_check.targets import TARGETS, find_targets
from mps_check.targets.target import Implementation, Size, lint
from mps_check.targets.upstream import upstream_targets

FRAMES = (161, 321, 961)


def check_targets(
    implementation: Implementation = "sana_wm",
    names: Sequence[str] | None = None,
    *,
    frames: Sequence[int] = FRAMES,
    num_layers: int | None = None,
    version: str | None = None,
    pr_root: Path | None = None,
) -> Iterator[LintReport]:
    """Check targets one after another.

    Args:
        implementation: `sana_wm`; `diffusers` for the stock classes, which must not pass; `pr379` for NVIDIA's own.
        names: Targets; all of them when left out.
        frames: Video lengths, 8k+1; a target that has no frames is checked once.
        num_layers: Layers of the transformers; all of them when left out.
        version: The torch release to judge by; the installed one when left out.
        pr_root: The patched checkout that `pr379` is read from.

    Raises:
        UsageError: An unknown target, a length that is not 8k+1, or a release without a kernel table.
    """
    among = TARGETS if pr_root is None else upstream_targets(pr_root)
    for target in find_targets(implementation, names, among=among):
        for num_frames in frames if target.has_frames else frames[:1]:
            yield lint(target, Size(num_frames, num_layers), version)
