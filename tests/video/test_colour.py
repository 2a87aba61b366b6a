"""Colours against a reference: the matrices and curves of W3C's CSS Color 4, and the formula of CIE Lab."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import require_shared
from tests.video.pictures import chrm, cicp, cmyk_profile, exif, gama, grey_profile, png, saved, srgb_profile

from sana_wm.video.colour import ADOBE_GAMMA, ADOBE_RGB, CODED_PRIMARIES
from sana_wm.video.icc import SRGB_CURVE, SRGB_PRIMARIES, Primaries, make_profile
from sana_wm.video.picture import open_picture

Levels = np.ndarray
P3_TO_XYZ = np.array(
    [
        [608311 / 1250200, 189793 / 714400, 198249 / 1000160],
        [35783 / 156275, 247089 / 357200, 198249 / 2500400],
        [0, 32229 / 714400, 5220557 / 5000800],
    ]
)
ADOBE_TO_XYZ = np.array(
    [
        [573536 / 994567, 263643 / 1420810, 187206 / 994567],
        [591459 / 1989134, 6239551 / 9945670, 374412 / 4972835],
        [53769 / 1989134, 351524 / 4972835, 4929758 / 4972835],
    ]
)
PROPHOTO_TO_XYZ_D50 = np.array(
    [
        [0.79776664490064230, 0.13518129740053308, 0.03134773412839220],
        [0.28807482881940130, 0.71183523424187300, 0.00008993693872564],
        [0, 0, 0.82510460251046020],
    ]
)
D50_TO_D65 = np.array(
    [
        [0.955473421488075, -0.02309845494876471, 0.06325924320057072],
        [-0.0283697093338637, 1.0099953980813041, 0.021041441191917323],
        [0.012314014864481998, -0.020507649298898964, 1.330365926242124],
    ]
)
XYZ_TO_SRGB = np.array(
    [
        [12831 / 3959, -329 / 214, -1974 / 3959],
        [-851781 / 878810, 1648619 / 878810, 36519 / 878810],
        [705 / 12673, -2585 / 12673, 705 / 667],
    ]
)
SRGB_TO_XYZ = np.linalg.inv(XYZ_TO_SRGB)
D50 = np.array([0.9642, 1.0, 0.8249])
PROPHOTO = Primaries((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585))


def srgb_to_light(share: Levels) -> Levels:
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def light_to_srgb(light: Levels) -> Levels:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


def gamma(value: float) -> Callable[[Levels], Levels]:
    return lambda share: share**value


#: Name: primaries, the curve as our profile has it and as the reference has it, the reference's matrix to XYZ of D65.
SPACES = {
    "p3": (CODED_PRIMARIES[12][1], SRGB_CURVE, srgb_to_light, P3_TO_XYZ),
    "adobe": (ADOBE_RGB, ADOBE_GAMMA, gamma(563 / 256), ADOBE_TO_XYZ),
    "prophoto": (PROPHOTO, 1.8, gamma(1.8), D50_TO_D65 @ PROPHOTO_TO_XYZ_D50),
    "linear": (SRGB_PRIMARIES, 1.0, gamma(1.0), SRGB_TO_XYZ),
}


def levels_in_gamut(light_of: Callable[[Levels], Levels], to_xyz: Levels) -> tuple[Levels, Levels]:
    """Levels (16, N, 3) of a space that sRGB holds too, and what they are in sRGB, not rounded."""
    levels = np.random.default_rng(3).integers(0, 256, (40_000, 3))
    light = light_of(levels / 255) @ (XYZ_TO_SRGB @ to_xyz).T
    inside = (light >= 0).all(axis=1) & (light <= 1).all(axis=1)
    count = inside.sum() // 16 * 16
    assert count > 2000
    srgb = light_to_srgb(light[inside][:count]) * 255
    return levels[inside][:count].reshape(16, -1, 3).astype(np.uint8), srgb.reshape(16, -1, 3)


def converted(path: Path, content: bytes) -> Levels:
    path.write_bytes(content)
    return np.asarray(open_picture(path).image).astype(float)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_profile_is_honoured_to_a_level(tmp_path: Path, space: str, kind: str) -> None:
    primaries, curve, light_of, to_xyz = SPACES[space]
    levels, expected = levels_in_gamut(light_of, to_xyz)
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(Image.fromarray(levels), kind, icc_profile=make_profile(primaries, curve), **options)
    apart = np.abs(converted(tmp_path / "picture", content) - expected)
    assert apart.mean() <= 0.5
    assert apart.max() <= 2.5


@pytest.mark.parametrize(
    ("space", "chunks"),
    [
        ("p3", [cicp(12, 13)]),
        ("linear", [cicp(1, 8)]),
        ("linear", [gama(100000)]),
        ("adobe", [gama(45470), chrm(31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)]),
        ("prophoto", [gama(55556), chrm(34570, 35850, 73470, 26530, 15960, 84040, 3660, 10)]),
    ],
)
def test_what_a_png_says_in_chunks_is_honoured(tmp_path: Path, space: str, chunks: list[bytes]) -> None:
    _, _, light_of, to_xyz = SPACES[space]
    levels, expected = levels_in_gamut(light_of, to_xyz)
    apart = np.abs(converted(tmp_path / "picture.png", png(levels, *chunks)) - expected)
    assert apart.mean() <= 0.5
    assert apart.max() <= 2.5


@pytest.mark.parametrize("tags", [exif(2), exif(65535, interoperability="R03")], ids=["colour space 2", "R03"])
def test_adobe_rgb_by_exif_is_honoured(tmp_path: Path, tags: Image.Exif) -> None:
    _, _, light_of, to_xyz = SPACES["adobe"]
    levels, expected = levels_in_gamut(light_of, to_xyz)
    content = saved(Image.fromarray(levels), "PNG", exif=tags)
    assert np.abs(converted(tmp_path / "picture.png", content) - expected).mean() <= 0.5


def lab_to_light(lab: Levels) -> Levels:
    """Linear sRGB of CIE Lab of D50."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    shares = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(shares > 6 / 29, shares**3, 3 * (6 / 29) ** 2 * (shares - 4 / 29)) * D50
    return xyz @ (XYZ_TO_SRGB @ D50_TO_D65).T


def inks_to_lab(inks: Levels) -> Levels:
    """A printer whose colours mix evenly, so that any interpolation of its table is exact; all inks make black."""
    paper = np.array([100.0, 0, 0])
    return paper + inks @ np.array([[-28.0, -18, -25], [-30, 40, -5], [-8, -2, 45], [-34, 0, 0]])


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_is_converted_by_its_profile(tmp_path: Path, kind: str) -> None:
    inks = np.random.default_rng(3).integers(0, 256, (30_000, 4))
    light = lab_to_light(inks_to_lab(inks / 255))
    inside = (light >= 0).all(axis=1) & (light <= 1).all(axis=1)
    assert inside.sum() > 2000
    # Blocks of one colour: a JPEG keeps their middle.
    levels = inks[inside][:256].reshape(16, 16, 4).repeat(16, axis=0).repeat(16, axis=1).astype(np.uint8)
    expected = light_to_srgb(light[inside][:256]).reshape(16, 16, 3) * 255
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    content = saved(Image.fromarray(levels, "CMYK"), kind, icc_profile=cmyk_profile(inks_to_lab), **options)
    apart = np.abs(converted(tmp_path / "picture", content)[8::16, 8::16] - expected)
    assert apart.mean() <= 1


def test_lab_is_converted(tmp_path: Path) -> None:
    lab = np.random.default_rng(3).integers((20, 98, 98), (240, 158, 158), (20_000, 3))
    light = lab_to_light(lab * (100 / 255, 1, 1) - (0, 128, 128))
    inside = (light >= 0).all(axis=1) & (light <= 1).all(axis=1)
    count = inside.sum() // 16 * 16
    levels = lab[inside][:count].reshape(16, -1, 3).astype(np.uint8)
    expected = light_to_srgb(light[inside][:count]).reshape(16, -1, 3) * 255
    content = saved(Image.merge("LAB", Image.fromarray(levels).split()), "TIFF")
    apart = np.abs(converted(tmp_path / "lab.tif", content) - expected)
    assert apart.mean() <= 1


def test_grey_is_converted_by_its_profile(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(2, axis=0)
    content = saved(Image.fromarray(ramp), "PNG", icc_profile=grey_profile(1.0))
    expected = light_to_srgb(ramp / 255) * 255
    assert np.abs(converted(tmp_path / "grey.png", content) - expected[..., None]).max() <= 1


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [gama(45455)],
        [gama(45455), chrm(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)],
        [cicp(1, 13)],
        [cicp(2, 2)],
        [cicp(1, 1)],
    ],
    ids=["silent", "gAMA", "gAMA and cHRM", "cICP", "cICP unspecified", "cICP of a video frame"],
)
def test_of_srgb_not_a_level_changes(tmp_path: Path, chunks: list[bytes]) -> None:
    levels = np.random.default_rng(3).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = tmp_path / "picture.png"
    path.write_bytes(png(levels, *chunks))
    picture = open_picture(path)
    assert np.array_equal(np.asarray(picture.image), levels)
    assert picture.facts.notes == ()


@pytest.mark.parametrize(
    "profile",
    [srgb_profile(), make_profile(SRGB_PRIMARIES, SRGB_CURVE), grey_profile(2.2)],
    ids=["lcms", "ours", "2.2"],
)
def test_of_an_srgb_profile_not_a_level_changes(tmp_path: Path, profile: bytes) -> None:
    """The last one is of another model and of another curve: the guard for the guard."""
    levels = np.random.default_rng(3).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = tmp_path / "picture.png"
    path.write_bytes(saved(Image.fromarray(levels), "PNG", icc_profile=profile))
    picture = open_picture(path)
    assert np.array_equal(np.asarray(picture.image), levels)
    assert picture.facts.converted_from is None


@pytest.mark.parametrize(
    ("name", "like", "within"),
    [
        ("bars_display_p3.png", "bars_srgb.png", 4),
        ("bars_display_p3.jpg", "bars_srgb.png", 6),
        ("picture_display_p3.png", "picture_srgb.png", 4),
        ("picture_linear_icc.png", "picture_srgb.png", 8),
        ("bars_srgb_profile.png", "bars_srgb.png", 0),
    ],
)
def test_the_same_picture_in_another_space_is_the_same_picture(name: str, like: str, within: int) -> None:
    folder = require_shared("inputs")
    one, other = (np.asarray(open_picture(folder / file).image).astype(int) for file in (name, like))
    assert np.abs(one - other).max() <= within


def test_code_points_count_before_a_profile_in_a_png_and_after_it_elsewhere(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    linear = make_profile(SRGB_PRIMARIES, 1.0)
    as_png = saved(image, "PNG", icc_profile=linear)
    header_end = 8 + 25
    both = as_png[:header_end] + cicp(1, 13) + as_png[header_end:]
    assert np.array_equal(converted(tmp_path / "both.png", both), np.asarray(image))
    (tmp_path / "both.heic").write_bytes(
        saved(image, "HEIF", icc_profile=linear, color_primaries=1, transfer_characteristics=13)
    )
    assert open_picture(tmp_path / "both.heic").facts.converted_from is not None
