"""`camera crop`: which part of a picture a video shows, as a drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import camera_app
from sana_wm.cli.camera import Force
from sana_wm.cli.camera_choice import loaded
from sana_wm.cli.colours import say_aside
from sana_wm.cli.output import refuse_to_overwrite, require_suffix
from sana_wm.cli.picture_options import CropOption, SizeOption, parse_crop, parse_size
from sana_wm.errors import printable


@camera_app.command("crop", epilog="For example: sana-wm camera crop street.jpg -o crop.png")
def draw_crop(
    source: Annotated[Path, typer.Argument(metavar="PICTURE|MANIFEST", help="A picture, or a JSON manifest with one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, .png.")],
    crop: CropOption = None,
    size: SizeOption = None,
    force: Force = False,
) -> None:
    """Draw what the video shows of a picture: that part bright, with its share; without --crop each way there is."""
    from sana_wm.camera.crop_words import describe_size
    from sana_wm.cli.inline_picture import inline_protocol, show_picture
    from sana_wm.drafting.crop_view import kept_parts, write_crop_drawing
    from sana_wm.sizes import TRAINED_SIZE

    require_suffix(out, ".png")
    refuse_to_overwrite(out, force=force)
    picture, said, said_size = source, parse_crop(crop), parse_size(size)
    if source.suffix.lower() == ".json":
        manifest = loaded(source)
        picture, said = Path(manifest.input.image), said or manifest.input.crop
        said_size = said_size or (manifest.video.width, manifest.video.height)
    width, height = said_size or TRAINED_SIZE

    parts = kept_parts(picture, said, (width, height))
    write_crop_drawing(picture, parts, out)
    typer.echo(printable(f"{out}: what a video of {width}x{height} shows of {picture}"))
    if inline := inline_protocol():
        show_picture(out.read_bytes(), inline)
    for part in parts:
        left, top, right, bottom = (round(edge) for edge in part.box_px)
        typer.echo(f"--crop {part.name}: {part.share:.0%}, columns {left} to {right}, rows {top} to {bottom}")
    if untried := describe_size((width, height)):
        say_aside("warning", untried)
