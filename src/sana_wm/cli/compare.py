"""`compare`: two finished runs beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import app, runs_app
from sana_wm.cli.manifest import AsJson
from sana_wm.errors import UsageError, printable

if TYPE_CHECKING:
    from sana_wm.report.comparison import Comparison


@app.command("compare")
@runs_app.command("compare")
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A finished run, on the left.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another, on the right.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A new folder; compare-A-B beside A when left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs. Side by side as a video; manifests, times, PSNR, SSIM and camera paths on a page."""
    from sana_wm.cli.output import real_path
    from sana_wm.durable import remove_empty_folder
    from sana_wm.report.comparison import Comparison, read_side, write_comparison
    from sana_wm.runs.run_directory import RunDirectory
    from sana_wm.video.pair import Clip, Pair
    from sana_wm.video.pair_likeness import measure_pair
    from sana_wm.video.side_by_side import draw_frames, write_side_by_side

    paths = real_path(a), real_path(b)
    if paths[0] == paths[1]:
        raise UsageError("A and B are the same run", got=paths[0], expected="two runs")
    side_a, side_b = (read_side(letter, RunDirectory(path)) for letter, path in zip("AB", paths, strict=True))
    clip_a, clip_b = (Clip.of(side.run.video_file, side.first_frame) for side in (side_a, side_b))
    pair = Pair.of(clip_a, clip_b)
    folder = _new_folder(out, *paths)
    try:
        likeness = measure_pair(pair) if pair.is_comparable else None
        worst = draw_frames(pair, likeness.worst_by_ssim) if likeness is not None and not likeness.is_equal else None
        video, page = folder / "side-by-side.mp4", folder / "compare.html"
        write_side_by_side(pair, (side_a.label, side_b.label), video)
        comparison = Comparison(side_a, side_b, pair, likeness, video, worst)
        write_comparison(page, comparison)
    finally:
        remove_empty_folder(folder)
    if as_json:
        typer.echo(json.dumps({"page": str(page), "video": str(video)} | _as_json(comparison), indent=2))
        return
    typer.echo(printable("\n".join([*_describe(comparison), f"video: {video}", f"page: {page}"])))


def _new_folder(out: Path | None, a: Path, b: Path) -> Path:
    """Make the folder that was asked for, or the next free name beside A.

    Raises:
        UsageError: There is something already.
    """
    wanted = out.absolute() if out is not None else a.with_name(f"compare-{a.name}-{b.name}")
    folder, number = wanted, 2
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            if out is not None:
                raise UsageError(
                    f"{folder} is there already", expected="a new folder", next_step="Choose another --out."
                ) from error
            folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
        else:
            return folder


def _describe(comparison: Comparison) -> list[str]:
    """What a terminal is told; all of it stands on the page, too."""
    from sana_wm.report.comparison import format_figure
    from sana_wm.report.differences import describe_in_common, find_differences

    manifests = [side.manifest for side in comparison.sides]
    lines = [
        describe_in_common(*manifests),
        *(one.words for one in find_differences(*manifests)),
        *comparison.pair.notes,
    ]
    likeness = comparison.likeness
    if likeness is None:
        return lines
    if likeness.is_equal:
        return [*lines, f"All {comparison.pair.num_frames} common frames have the same pixels."]
    by_psnr, by_ssim = likeness.worst_by_psnr, likeness.worst_by_ssim
    psnr = f"PSNR {format_figure(likeness.whole_psnr_db)} dB, at worst {format_figure(likeness.psnr_db[by_psnr])} dB"
    ssim = f"SSIM {likeness.whole_ssim:.4f}, at worst {likeness.ssim[by_ssim]:.4f}"
    return [*lines, f"{psnr} in frame {comparison.frame(by_psnr)}; {ssim} in frame {comparison.frame(by_ssim)}"]


def _as_json(comparison: Comparison) -> dict[str, object]:
    from sana_wm.report.differences import find_differences

    a, b = (side.manifest for side in comparison.sides)
    likeness = comparison.likeness
    return {
        "num_frames": comparison.pair.num_frames,
        "first_frame": comparison.pair.first_frame,
        "notes": comparison.pair.notes,
        "differences": {one.name: [one.a, one.b] for one in find_differences(a, b)},
        "mse": None if likeness is None else likeness.mse,
        "psnr_db": None if likeness is None or likeness.is_equal else likeness.whole_psnr_db,
        "ssim": None if likeness is None else likeness.ssim,
    }
