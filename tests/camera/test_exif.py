from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import ExifTags, Image

from sana_wm.camera.exif import FocalLength, read_focal_length

Tag = ExifTags.Base


def photograph(size: tuple[int, int], tags: dict[Tag, Any], orientation: int = 1) -> Image.Image:
    """A JPEG with these EXIF tags, as a camera or phone would have written it."""
    exif = Image.Exif()
    exif[Tag.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif).update(tags)
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "JPEG", exif=exif)
    file.seek(0)
    return Image.open(file)


def focal_length(*arguments: Any) -> FocalLength:
    found = read_focal_length(photograph(*arguments))
    assert isinstance(found, FocalLength), found
    return found


def test_a_35_mm_equivalent_compares_diagonals() -> None:
    found = focal_length((400, 300), {Tag.FocalLengthIn35mmFilm: 26})
    assert found.fx == found.fy == pytest.approx(26 * 500 / 43.2666, abs=1e-3)
    assert "26 mm (35 mm equivalent)" in found.source
    assert found.uncertainty_share == pytest.approx(0.5 / 26 + 1 - (400 / 36) / (500 / 43.2666), abs=1e-4)


def test_focal_length_and_sensor_resolution_give_pixels_whatever_the_unit_and_scale() -> None:
    """A 24 mm wide sensor of 6000 pixels behind a 50 mm lens, in inches, scaled down to 600 pixels."""
    tags = {
        Tag.FocalLength: 50.0,
        Tag.FocalPlaneXResolution: 6000 / 24 * 25.4,
        Tag.FocalPlaneYResolution: 6000 / 24 * 25.4,
        Tag.ExifImageWidth: 6000,
        Tag.ExifImageHeight: 4000,
    }
    assert focal_length((600, 400), tags).fx == pytest.approx(1250, rel=1e-4)
    in_centimetres = tags | {Tag.FocalPlaneResolutionUnit: 3, Tag.FocalPlaneXResolution: 2500.0}
    assert focal_length((6000, 4000), in_centimetres).fx == pytest.approx(12500, rel=1e-4)


def test_two_sources_that_disagree_widen_the_uncertainty() -> None:
    tags = {
        Tag.FocalLengthIn35mmFilm: 75,
        Tag.FocalLength: 50.0,
        Tag.FocalPlaneXResolution: 6350.0,
        Tag.FocalPlaneYResolution: 6350.0,
        Tag.ExifImageWidth: 600,
        Tag.ExifImageHeight: 400,
    }
    found = focal_length((600, 400), tags)
    assert found.fx == pytest.approx(1250, rel=1e-3)
    assert found.uncertainty_share > 5
    assert found.basis == "the sensor's resolution gives 12500 px"


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_picture_on_its_side_swaps_the_axes(orientation: int) -> None:
    tags = {
        Tag.FocalLength: 10.0,
        Tag.FocalPlaneXResolution: 1000.0,
        Tag.FocalPlaneYResolution: 2000.0,
        Tag.FocalPlaneResolutionUnit: 3,
        Tag.ExifImageWidth: 600,
        Tag.ExifImageHeight: 400,
    }
    found = focal_length((600, 400), tags, orientation)
    assert (found.fx, found.fy) == pytest.approx((1000, 2000) if orientation == 1 else (2000, 1000), rel=1e-4)
    turned_by_software = focal_length((400, 600), tags)
    assert (turned_by_software.fx, turned_by_software.fy) == pytest.approx((2000, 1000), rel=1e-4)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({}, "no EXIF data"),
        ({Tag.FocalLengthIn35mmFilm: 0}, "neither a 35 mm equivalent nor"),
        ({Tag.FocalLength: 5.0}, "neither a 35 mm equivalent nor"),
        ({Tag.FocalLengthIn35mmFilm: 26, Tag.ExifImageWidth: 600, Tag.ExifImageHeight: 300}, "of other proportions"),
        (
            {
                Tag.FocalLength: 5.0,
                Tag.FocalPlaneXResolution: 1000.0,
                Tag.FocalPlaneYResolution: 1000.0,
                Tag.ExifImageWidth: 400,
                Tag.ExifImageHeight: 300,
                Tag.DigitalZoomRatio: 2.0,
            },
            "neither a 35 mm equivalent nor",
        ),
    ],
)
def test_what_cannot_be_trusted_is_not_used(tags: dict[Tag, Any], why: str) -> None:
    found = read_focal_length(photograph((400, 300), tags))
    assert isinstance(found, str)
    assert why in found


@pytest.mark.parametrize("size", [(400, 300), (1600, 400), (400, 1600)])
def test_a_panorama_has_no_focal_length(size: tuple[int, int]) -> None:
    """By Apple's tag, or by proportions that no sensor has."""
    tags = {Tag.FocalLengthIn35mmFilm: 26} | ({Tag.CustomRendered: 6} if size == (400, 300) else {})
    found = read_focal_length(photograph(size, tags))
    assert isinstance(found, str)
    assert "panorama" in found


def test_a_photo_sphere_has_no_focal_length() -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[Tag.FocalLengthIn35mmFilm] = 26
    sphere = b'<x:xmpmeta><rdf:Description GPano:ProjectionType="equirectangular"/></x:xmpmeta>'
    Image.new("RGB", (400, 200)).save(file, "JPEG", exif=exif, xmp=sphere)
    found = read_focal_length(Image.open(file))
    assert isinstance(found, str)
    assert "panorama" in found


def test_other_ways_of_rendering_and_wide_films_are_no_panoramas() -> None:
    tags = {Tag.FocalLengthIn35mmFilm: 26, Tag.CustomRendered: 3}
    assert focal_length((400, 300), tags).fx == focal_length((400, 300), {Tag.FocalLengthIn35mmFilm: 26}).fx
    assert focal_length((2350, 1000), tags).fx > 0
