from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_wm.camera.crop import Crop
from sana_wm.camera.intrinsics import (
    crop_geometry,
    crop_intrinsics,
    read_intrinsics,
    resize_and_crop,
)
from sana_wm.errors import UsageError

VECTOR = np.array([800.0, 810.0, 640.0, 352.0])
MATRIX = np.array([[800.0, 0, 640.0], [0, 810.0, 352.0], [0, 0, 1]])
RISING = VECTOR + np.arange(20)[:, None]


@pytest.mark.parametrize(
    "array", [VECTOR, MATRIX, np.tile(VECTOR, (17, 1)), np.tile(MATRIX, (20, 1, 1)), VECTOR.astype(int)]
)
def test_every_shape_gives_a_row_per_frame(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "k.npy", array)
    intrinsics = read_intrinsics(tmp_path / "k.npy", 17)
    assert intrinsics.dtype == np.float32
    np.testing.assert_array_equal(intrinsics, np.tile(VECTOR, (17, 1)))


def test_a_pipe_and_a_folder_are_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "k.npy")
    for path, kind in ((tmp_path / "k.npy", "a named pipe"), (tmp_path, "a folder")):
        with pytest.raises(UsageError, match=f"the intrinsics file is {kind}"):
            read_intrinsics(path, 9)


def test_four_numbers_serve_all_frames() -> None:
    np.testing.assert_array_equal(read_intrinsics([800, 810.0, 640, 352], 3), np.tile(VECTOR, (3, 1)))


def test_of_a_longer_array_the_first_rows_are_taken(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", RISING)
    np.testing.assert_array_equal(read_intrinsics(tmp_path / "k.npy", 9), RISING[:9])


@pytest.mark.parametrize("name", ["demo_0", "demo_1"])
def test_real_intrinsics_load(demo: Path, name: str) -> None:
    path = demo / f"{name}_intrinsics.npy"
    matrix = np.load(path)[320]
    np.testing.assert_array_equal(
        read_intrinsics(path, 321)[320], [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]]
    )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (VECTOR[:3], "wrong shape in the intrinsics file: {path}; got (3,); expected (4,), (3, 3), (F, 4)"),
        (np.tile(MATRIX, (2, 20, 1, 1)), "wrong shape"),
        (np.float32(3), "wrong shape"),
        (RISING[:16], "too few rows in the intrinsics file: {path}; got 16; expected 17 or more"),
        (np.tile(MATRIX, (16, 1, 1)), "too few rows"),
        (MATRIX.T, "not a pinhole camera matrix in the intrinsics file: {path}"),
        (MATRIX + np.array([[0, 2, 0]] * 3), "not a pinhole camera matrix"),
        (MATRIX * 2, "not a pinhole camera matrix"),
        (VECTOR * [0, 1, 1, 1], "unusable numbers in row 0 of the intrinsics file: {path}; got [0.0, 810.0,"),
        (RISING * np.where(np.arange(20) == 5, -1, 1)[:, None], "unusable numbers in row 5"),
        (VECTOR * [1, 1, np.inf, 1], "holds values that are not finite"),
        (VECTOR.astype(str), "does not hold real numbers"),
    ],
)
def test_what_is_no_intrinsics_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "k.npy"
    np.save(path, array)
    with pytest.raises(UsageError) as error:
        read_intrinsics(path, 17)
    assert message.format(path=path) in str(error.value)
    assert None not in (error.value.got, error.value.expected, error.value.next_step)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([800.0, 800.0, 640.0], "wrong shape in the intrinsics: the list; got (3,)"),
        ([800.0, -800.0, 640.0, 352.0], "unusable numbers in row 0 of the intrinsics: the list"),
        ([800.0, 800.0, float("nan"), 352.0], "unusable numbers in row 0"),
    ],
)
def test_a_bad_list_is_refused(numbers: list[float], message: str) -> None:
    with pytest.raises(UsageError) as error:
        read_intrinsics(numbers, 9)
    assert message in str(error.value)


def cropped_to(image: Image.Image, *, height: int = 704, width: int = 1280, crop: Crop = "centre") -> Image.Image:
    return resize_and_crop(image, crop_geometry(image.size, height=height, width=width, crop=crop))


def test_crop_geometry_and_intrinsics_are_upstreams(golden: Path) -> None:
    reference = np.load(golden / "intrinsics_crop.npz")
    for index, src_size in enumerate(reference["src_size"].tolist()):
        geometry = crop_geometry(tuple(src_size), height=704, width=1280)
        assert geometry.resized_size == tuple(reference["resized_size"][index])
        assert geometry.crop_offset == tuple(reference["crop_offset"][index])
        cropped = crop_intrinsics(reference["intr_in"][index], geometry)
        assert cropped.dtype == np.float32
        np.testing.assert_allclose(cropped, reference["intr_out"][index], rtol=2e-6, atol=2e-4)


def test_the_cropped_image_is_upstreams(golden: Path) -> None:
    reference = np.load(golden / "image_crop.npz")
    height, width = reference["target"].tolist()
    cropped = cropped_to(Image.fromarray(reference["image"]), height=height, width=width)
    # Pillow's Lanczos differs by one level between releases.
    np.testing.assert_allclose(np.asarray(cropped).astype(int), reference["cropped"].astype(int), rtol=0, atol=1)


@pytest.mark.parametrize("size", [(1691, 930), (640, 480), (480, 640), (3000, 1000)])
def test_of_a_normal_picture_the_whole_is_scaled_as_upstream_does(size: tuple[int, int]) -> None:
    image = Image.effect_noise(size, 80).convert("RGB")
    geometry = crop_geometry(size, height=704, width=1280)
    left, top = geometry.crop_offset
    whole = image.resize(geometry.resized_size, Image.Resampling.LANCZOS)
    expected = whole.crop((left, top, left + 1280, top + 704))
    assert cropped_to(image).tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", [(30, 900), (900, 25)])
def test_a_thin_picture_is_cut_before_it_is_scaled_and_looks_the_same(size: tuple[int, int]) -> None:
    image = Image.effect_noise(size, 80).convert("RGB")
    geometry = crop_geometry(size, height=704, width=1280)
    left, top = geometry.crop_offset
    whole = image.resize(geometry.resized_size, Image.Resampling.LANCZOS)
    expected = whole.crop((left, top, left + 1280, top + 704))
    cropped = cropped_to(image)
    apart = np.abs(np.asarray(cropped).astype(int) - np.asarray(expected).astype(int))
    assert apart.max() <= 2
    assert apart.mean() < 0.01


def test_the_thinnest_picture_costs_no_memory() -> None:
    """Scaled as a whole it would be of 49 GB."""
    image = Image.new("RGB", (2, 20_000), (90, 120, 60))
    cropped = cropped_to(image)
    assert cropped.size == (1280, 704)
    assert cropped.getextrema() == ((90, 90), (120, 120), (60, 60))


@pytest.mark.parametrize(
    ("size", "crop", "offset"),
    [
        ((3000, 4000), "centre", (0, 501)),
        ((3000, 4000), "top", (0, 0)),
        ((3000, 4000), "bottom", (0, 1003)),
        ((3000, 4000), (0.5, 0.1), (0, 100)),
        ((3000, 4000), "left", (0, 501)),
        ((4000, 1000), "left", (0, 0)),
        ((4000, 1000), "right", (1536, 0)),
        ((4000, 1000), (0.25, 1.0), (384, 0)),
        ((1280, 704), "bottom", (0, 0)),
    ],
)
def test_a_crop_lies_where_it_is_said_and_no_part_of_it_beyond_the_picture(
    size: tuple[int, int], crop: Crop, offset: tuple[int, int]
) -> None:
    geometry = crop_geometry(size, height=704, width=1280, crop=crop)
    assert geometry.crop_offset == offset
    left, top, right, bottom = geometry.kept_box_px
    assert 0 <= left < right <= size[0] + 1e-9
    assert 0 <= top < bottom <= size[1] + 1e-9
    share = (right - left) * (bottom - top) / (size[0] * size[1])
    assert geometry.kept_share == pytest.approx(share)


@pytest.mark.parametrize("crop", ["top", "bottom", "left", (0.2, 0.9)])
@pytest.mark.parametrize("size", [(300, 420), (700, 200)])
def test_a_point_of_the_scene_is_seen_at_the_pixel_that_shows_it(size: tuple[int, int], crop: Crop) -> None:
    """Brute force: paint where the whole camera sees a point, crop the picture, find the paint."""
    width, height = size
    intrinsics = np.array([250.0, 240.0, width / 2 + 7, height / 2 - 11], dtype=np.float32)
    geometry = crop_geometry(size, height=128, width=160, crop=crop)
    left, top, right, bottom = geometry.kept_box_px
    seen = np.array([left + 0.3 * (right - left), top + 0.7 * (bottom - top)])
    depth = 5.0
    point = np.append((seen - intrinsics[2:]) / intrinsics[:2], 1.0) * depth
    rows, columns = np.mgrid[:height, :width] + 0.5
    spot = 255 * np.exp(-((columns - seen[0]) ** 2 + (rows - seen[1]) ** 2) / (2 * 6.0**2))
    picture = Image.fromarray(np.repeat(spot[..., None], 3, axis=2).round().astype(np.uint8))
    shown = np.asarray(resize_and_crop(picture, geometry), dtype=np.float64)[..., 0]
    assert shown.shape == (128, 160)
    rows, columns = np.mgrid[:128, :160] + 0.5
    found = np.array([(columns * shown).sum(), (rows * shown).sum()]) / shown.sum()
    fx, fy, cx, cy = crop_intrinsics(intrinsics, geometry).tolist()
    projected = np.array([fx * point[0] / point[2] + cx, fy * point[1] / point[2] + cy])
    np.testing.assert_allclose(found, projected, atol=0.05)


@pytest.mark.parametrize("crop", ["top", "bottom", (0.5, 0.3)])
def test_a_thin_picture_that_is_cut_first_shows_the_same_part(crop: Crop) -> None:
    image = Image.effect_noise((30, 900), 20).convert("RGB")  # no overshoot is clipped between the passes
    geometry = crop_geometry(image.size, height=704, width=1280, crop=crop)
    left, top = geometry.crop_offset
    whole = image.resize(geometry.resized_size, Image.Resampling.LANCZOS)
    expected = whole.crop((left, top, left + 1280, top + 704))
    apart = np.abs(np.asarray(resize_and_crop(image, geometry)).astype(int) - np.asarray(expected).astype(int))
    assert apart.max() <= 2
