"""What becomes of a picture of every kind: taken, taken with a word, or refused by name."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import require_shared
from tests.video import pictures
from tests.video.pictures import DEEP, HEIGHT, IMAGE, PIXELS, WIDTH, chunk, cicp, exif, gama, png, saved, tiff

from sana_wm.errors import PictureError
from sana_wm.video.picture import inspect_picture, open_picture, opened

BLUE = Image.new("RGB", IMAGE.size, "blue")
BOTH: dict[str, Any] = {"save_all": True, "append_images": [BLUE]}
P3 = pictures.make_profile(pictures.PRIMARIES_P3, pictures.SRGB_CURVE)
OPAQUE = np.full((HEIGHT, WIDTH, 1), 65535, np.uint16)
SEEN = {
    "PNG": png,
    "JPEG": lambda: saved(IMAGE, "JPEG", quality=95),
    "HEIC": lambda: saved(IMAGE, "HEIF"),
    "AVIF": lambda: saved(IMAGE, "AVIF"),
    "WebP": lambda: saved(IMAGE, "WEBP", lossless=True),
    "TIFF": lambda: tiff(PIXELS),
    "BMP": lambda: saved(IMAGE, "BMP"),
    "GIF": lambda: saved(IMAGE, "GIF"),
    "PPM": lambda: saved(IMAGE, "PPM"),
}


def look(folder: Path, content: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """A picture's levels, and what is said of it; the same words before it is opened and then."""
    path = folder / "picture.jpg"
    path.write_bytes(content)
    said = inspect_picture(path)
    picture = open_picture(path)
    assert picture.facts == said
    assert picture.image.mode == "RGB"
    assert picture.image.size == said.size
    return np.asarray(picture.image).astype(int), said.notes


@pytest.mark.parametrize("kind", SEEN)
def test_a_plain_picture_is_taken_without_a_word_whatever_its_name(tmp_path: Path, kind: str) -> None:
    levels, notes = look(tmp_path, SEEN[kind]())
    assert notes == ()
    assert inspect_picture(tmp_path / "picture.jpg").kind == kind
    lossless = kind in ("PNG", "WebP", "TIFF", "BMP", "PPM")
    assert np.abs(levels - PIXELS).mean() <= (0 if lossless else 6)


@pytest.mark.parametrize("kind", SEEN)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_a_cut_picture_is_refused_and_its_kind_named(tmp_path: Path, kind: str, share: float) -> None:
    content = SEEN[kind]()
    with pytest.raises(PictureError, match=f"got {kind}, but damaged, cut") as caught:
        look(tmp_path, content[: int(len(content) * share)])
    assert "\n" not in str(caught.value)


SAID: dict[str, tuple[Callable[[], bytes], str]] = {
    "PNG of 16 bits": (lambda: png(DEEP), "16 bits a channel: taken with 8"),
    "grey PNG of 16 bits": (lambda: png(DEEP[..., 1]), "16 bits a channel: taken with 8"),
    "PNG of 16 bits with opaque alpha": (lambda: png(np.concatenate([DEEP, OPAQUE], axis=2)), "16 bits a channel"),
    "TIFF of 16 bits": (lambda: tiff(DEEP), "16 bits a channel: taken with 8"),
    "grey TIFF of 16 bits": (lambda: tiff(DEEP[..., 1]), "16 bits a channel: taken with 8"),
    "PPM of 16 bits": (
        lambda: b"P6 # deep\n%d %d\n65535\n" % (WIDTH, HEIGHT) + DEEP.astype(">u2").tobytes(),
        "16 bits a channel: taken with 8",
    ),
    "HEIC of 10 bits": (pictures.deep_heic, "10 bits a channel: taken with 8"),
    "animated GIF": (lambda: saved(IMAGE, "GIF", **BOTH), "the first of its 2 frames is taken"),
    "animated PNG": (lambda: saved(IMAGE, "PNG", **BOTH), "the first of its 2 frames is taken"),
    "animated WebP": (lambda: saved(IMAGE, "WEBP", **BOTH), "the first of its 2 frames is taken"),
    "animated AVIF": (lambda: saved(IMAGE, "AVIF", **BOTH), "the first of its 2 frames is taken"),
    "TIFF of pages": (lambda: saved(IMAGE, "TIFF", **BOTH), "the first of its 2 pages is taken"),
    "a phone's MPO": (lambda: saved(IMAGE, "MPO", **BOTH), "the first of its 2 pictures is taken"),
    "HEIC of two": (lambda: saved(IMAGE, "HEIF", **BOTH), "the main of its 2 pictures is taken"),
    "uncalibrated EXIF": (lambda: saved(IMAGE, "PNG", exif=exif(65535)), "nothing says what they are: taken as sRGB"),
    "grey with a profile for RGB": (
        lambda: saved(IMAGE.convert("L"), "PNG", icc_profile=P3),
        "its colour profile is for RGB, not for its GRAY pixels: taken as sRGB without it",
    ),
    "gain map": (
        lambda: saved(IMAGE, "JPEG", xmp=b'<x:xmpmeta hdrgm:Version="1.0"/>'),
        "its HDR gain map is left out",
    ),
}


@pytest.mark.parametrize("kind", SAID)
def test_what_is_left_of_a_file_is_said(tmp_path: Path, kind: str) -> None:
    make, words = SAID[kind]
    levels, notes = look(tmp_path, make())
    assert len(notes) == 1
    assert words in notes[0]
    expected = PIXELS if np.ptp(levels, axis=2).any() else np.broadcast_to(levels[..., :1], levels.shape)
    assert np.abs(levels - expected).mean() <= 16, "the first picture, not the blue one"


CONVERTED: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: png(PIXELS, cicp(12, 13)),
    "palette": lambda: saved(IMAGE.quantize(64), "PNG", icc_profile=P3),
    "WebP": lambda: saved(IMAGE, "WEBP", lossless=True, icc_profile=P3),
    "TIFF": lambda: saved(IMAGE, "TIFF", icc_profile=P3),
    "HEIC": lambda: saved(IMAGE, "HEIF", icc_profile=P3),
    "HEIC without profile": lambda: pictures.heic_of_p3(IMAGE),
    "HEIC of 10 bits": lambda: pictures.deep_heic(P3),
    "AVIF": lambda: saved(IMAGE, "AVIF", quality=95, icc_profile=P3),
    "BMP": lambda: pictures.bmp_with_profile(P3),
    "JPEG that EXIF calls uncalibrated": lambda: saved(IMAGE, "JPEG", icc_profile=P3, exif=exif(65535)),
    "PNG with a profile over 1 MiB": lambda: saved(IMAGE, "PNG", icc_profile=pictures.padded(P3, 2 * 1024**2)),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_colours_are_converted_in_every_format(tmp_path: Path, kind: str) -> None:
    levels, notes = look(tmp_path, CONVERTED[kind]())
    assert [note for note in notes if "colours converted from" in note]
    assert inspect_picture(tmp_path / "picture.jpg").converted_from is not None
    reference = np.asarray(pictures.from_p3(IMAGE)).astype(int)
    assert np.abs(levels - reference).mean() < np.abs(levels - PIXELS).mean() + (kind == "palette")


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "PQ": (lambda: png(PIXELS, cicp(9, 16)), r"an HDR picture \(PQ\)"),
    "HLG": (lambda: png(PIXELS, cicp(9, 18)), r"an HDR picture \(HLG\)"),
    "PQ in HEIC": (lambda: pictures.deep_heic(color_primaries=9, transfer_characteristics=16), r"\(PQ\)"),
    "PQ in a profile": (lambda: saved(IMAGE, "PNG", icc_profile=pictures.PQ_PROFILE), r"\(PQ\)"),
    "video levels": (lambda: png(PIXELS, cicp(1, 13, 0)), "video levels"),
    "unknown code points": (lambda: png(PIXELS, cicp(77, 13)), "primaries 77"),
    "gamma 0": (lambda: png(PIXELS, gama(0)), "gamma"),
    "no primaries": (lambda: png(PIXELS, pictures.chrm(*[0] * 8)), "primaries that span no colours"),
    "cut profile": (lambda: saved(IMAGE, "PNG", icc_profile=P3[:200]), "a colour profile that is damaged"),
    "no profile": (lambda: saved(IMAGE, "JPEG", icc_profile=b"nothing" * 50), "a colour profile that is damaged"),
    "CMYK without profile": (lambda: saved(IMAGE.convert("CMYK"), "JPEG"), "CMYK without a colour profile"),
    "CMYK with a profile for RGB": (
        lambda: saved(IMAGE.convert("CMYK"), "TIFF", icc_profile=P3),
        "CMYK with a colour profile for RGB",
    ),
    "BMP with a linked profile": (lambda: pictures.bmp_with_profile(P3, b"KNIL"), "profile is another file"),
    "few of 16 bits": (lambda: png(DEEP // 64), "16 bits a channel, of which 4 levels of 256"),
    "few of 16 bits in TIFF": (lambda: tiff(DEEP[..., 0] // 64), "16 bits a channel, of which 5 levels of 256"),
    "16 linear bits": (lambda: png(DEEP, gama(100000)), "in steps of 1. levels"),
    "fractions": (lambda: saved(Image.fromarray(PIXELS[..., 0] / np.float32(255)), "TIFF"), "F pixels"),
    "32-bit numbers": (lambda: saved(Image.fromarray(PIXELS[..., 0].astype(np.int32)), "TIFF"), "signed numbers"),
    "camera's raw file": (lambda: tiff(PIXELS, t50706=0x401), "a camera's raw file"),
    "alpha": (lambda: saved(pictures.half_transparent(IMAGE.convert("RGBA")), "PNG"), "transparent pixels"),
    "alpha in WebP": (lambda: saved(pictures.half_transparent(IMAGE.convert("RGBA")), "WEBP"), "transparent pixels"),
    "alpha in HEIC": (lambda: saved(pictures.half_transparent(IMAGE.convert("RGBA")), "HEIF"), "transparent pixels"),
    "grey alpha": (lambda: saved(pictures.half_transparent(IMAGE.convert("LA")), "PNG"), "transparent pixels"),
    "palette's tRNS": (lambda: saved(IMAGE.quantize(8), "PNG", transparency=3), "transparent pixels"),
    "RGB's tRNS": (lambda: png(PIXELS, chunk(b"tRNS", struct.pack(">3H", *PIXELS[0, 0]))), "transparent pixels"),
    "16-bit tRNS": (lambda: png(DEEP[..., 0], chunk(b"tRNS", struct.pack(">H", DEEP[0, 0, 0]))), "transparent pixels"),
    "JPEG 2000": (lambda: saved(IMAGE, "JPEG2000"), "JPEG 2000, nothing of the kind"),
    "an icon": (lambda: saved(IMAGE, "ICO"), "an icon, nothing of the kind"),
    "PostScript": (lambda: saved(IMAGE, "EPS"), "PostScript, nothing of the kind"),
    "a web page": (lambda: b"\n<!DOCTYPE html><html></html>", "a web page"),
    "a Git LFS pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
    "a video": (lambda: b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(90), "a video"),
    "a HEIC's first bytes": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "HEIC, but damaged"),
    "nothing": (lambda: b"", "nothing of the kind"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    make, words = REFUSED[kind]
    with pytest.raises(PictureError, match=words) as caught:
        look(tmp_path, make())
    assert caught.value.next_step


@pytest.mark.parametrize("turned", [2, 3, 5, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "HEIF", "HEIF in EXIF alone", "AVIF"])
def test_a_picture_is_turned_upright_once(tmp_path: Path, kind: str, turned: int) -> None:
    """A HEIC is turned by its container and carries the EXIF tag too; some editors write the tag alone."""
    undo = {2: 0, 3: 3, 5: 5, 6: 2, 8: 4}[turned]  # how Pillow makes of an upright picture the stored one
    upright = Image.new("RGB", (64, 32), "red")
    upright.paste("blue", (0, 0, 32, 16))
    stored = upright.transpose(Image.Transpose(undo))
    tags = exif(orientation=turned)
    content = saved(stored, kind.split(maxsplit=1)[0], exif=tags if kind.endswith("alone") else tags.tobytes())
    levels, notes = look(tmp_path, content)
    assert levels.shape == (32, 64, 3)
    assert levels[4, 8, 2] > 200
    assert levels[28, 56, 0] > 200
    has_other_size = turned >= 5 and kind != "HEIF"
    assert [note.split(",")[0] for note in notes] == ["turned upright"] * has_other_size


def test_text_over_a_mebibyte_is_no_obstacle(tmp_path: Path) -> None:
    levels, notes = look(tmp_path, pictures.with_text(3 * 1024**2))
    assert np.array_equal(levels, PIXELS)
    assert notes == ()


def test_white_may_be_zero_in_a_deep_tiff(tmp_path: Path) -> None:
    levels, _ = look(tmp_path, tiff(DEEP[..., 0], t262=0))
    assert np.array_equal(levels[..., 0], 255 - PIXELS[..., 0])


def test_facts_follow_the_file(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    IMAGE.save(path)
    assert inspect_picture(path).converted_from is None
    path.write_bytes(png(PIXELS, cicp(12, 13)))
    assert inspect_picture(path).converted_from == "Display P3"
    path.unlink()
    with pytest.raises(PictureError, match="no file"):
        inspect_picture(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "picture.png")
    with pytest.raises(PictureError, match="a pipe or a device"):
        open_picture(tmp_path / "picture.png")


def test_metadata_comes_through_the_same_gate(tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    file = io.BytesIO()
    IMAGE.save(file, "HEIF", exif=exif(orientation=6))
    path.write_bytes(file.getvalue())
    with opened(path) as image:
        assert image.getexif()[274] == 6
    path.write_bytes(b"%!PS")
    with pytest.raises(PictureError, match="PostScript"), opened(path):
        pass


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dark_16bit_rgb.png", "16 bits a channel, of which 5 levels"),
        ("hdr_pq_cicp.png", r"an HDR picture \(PQ\)"),
        ("renamed_heic.jpg", "HEIC"),
    ],
)
def test_known_files_are_refused(name: str, words: str) -> None:
    with pytest.raises(PictureError, match=words):
        open_picture(require_shared("inputs") / name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("grey_with_rgb_profile.png", "its colour profile is for RGB"),
        ("animated_first_frame_red.gif", "the first of its 2 frames"),
        ("large_icc_profile.png", "colours converted from Display P3"),
    ],
)
def test_known_files_are_taken_with_a_word(name: str, words: str) -> None:
    assert words in open_picture(require_shared("inputs") / name).facts.notes[0]
