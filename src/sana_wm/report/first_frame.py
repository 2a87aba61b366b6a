"""The picture that a run began with, and the first of its video, small enough for a page."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from PIL import Image

from sana_wm.durable import sha256_of
from sana_wm.errors import HandoffError, PictureError
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.plain_files import require_plain
from sana_wm.video.picture import open_picture
from sana_wm.video.reader import read_frames

#: A phone shows 400 px of it, a screen twice as fine 1280 px.
LONGEST_SIDE_PX, JPEG_QUALITY = 1280, 85


def read_first_frame(manifest: RunManifest) -> bytes:
    """The picture as JPEG, upright and in sRGB, without what its file says of its maker.

    Only the very picture that the run was made of: a run of somebody else's could name any file of this machine, and
    pages are passed on.

    Raises:
        HandoffError: It is not where it was, or not what it was.
    """
    path, known = Path(manifest.input.image), manifest.inputs.get("input.image")
    try:
        require_plain(path)
        if known is None or sha256_of(path) != known.sha256:
            raise HandoffError(f"{path} is not what it was when the run began")
        return encode_picture(open_picture(path).image)
    except OSError as error:
        raise HandoffError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    except PictureError as error:
        raise HandoffError(str(error)) from error


def read_poster(video: Path) -> bytes:
    """The first frame of a video as JPEG, for what shows a black field until it is played.

    Raises:
        HandoffError: Not a whole video file.
    """
    with contextlib.closing(read_frames(video)) as frames:
        return encode_picture(Image.fromarray(next(frames)))


def encode_picture(picture: Image.Image) -> bytes:
    """A picture as JPEG, made smaller where its longest side needs that."""
    small = picture.copy()
    small.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=JPEG_QUALITY)
    return content.getvalue()
