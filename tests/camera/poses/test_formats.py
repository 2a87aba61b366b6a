"""Every format that people have: to poses and back, and what is refused by what it is."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.camera.poses.writers import INTRINSICS, SIZE, WITH_INTRINSICS, WRITERS, write_realestate10k, write_tum

from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.poses.reading import load_poses, read_poses
from sana_wm.camera.rigid import matrices_from_quaternions, seen_from_first
from sana_wm.errors import UsageError

Writer = Callable[[np.ndarray, Path], None]


def walk() -> np.ndarray:
    """33 poses with turns and looks, somewhere in a world whose z points up."""
    c2w = action_trajectory("w-8,wl-8,ai-8,sjk-8").c2w.astype(np.float64)
    world = np.eye(4)
    world[:3, :3] = matrices_from_quaternions(np.array([[0.5, -0.5, 0.5, 0.5]]))[0]
    world[:3, 3] = 12.5, -3.25, 1.75
    return world @ c2w


@pytest.mark.parametrize(("name", "write"), WRITERS, ids=[name for name, _ in WRITERS])
def test_a_walk_comes_back_from_every_format(tmp_path: Path, name: str, write: Writer) -> None:
    c2w = walk()
    write(c2w, tmp_path / name)
    read = read_poses(tmp_path / name)
    np.testing.assert_allclose(read.trajectory.c2w, seen_from_first(c2w), rtol=0, atol=1e-6)
    assert read.trajectory.c2w.dtype == np.float32
    assert [note for note in read.notes if "order" not in note] == []


@pytest.mark.parametrize(("name", "write"), WITH_INTRINSICS, ids=[name for name, _ in WITH_INTRINSICS])
def test_intrinsics_in_a_file_are_those_of_the_picture(tmp_path: Path, name: str, write: Writer) -> None:
    write(walk(), tmp_path / name)
    stated = read_poses(tmp_path / name).intrinsics
    assert stated is not None
    np.testing.assert_allclose(stated.for_picture(*SIZE)[-1], INTRINSICS, rtol=1e-6)
    if not name.endswith("npz"):  # which does not say of what size they are
        np.testing.assert_allclose(stated.for_picture(1920, 1080)[0], np.multiply(INTRINSICS, 1.5), rtol=1e-6)


def test_intrinsics_of_a_picture_of_other_proportions_are_refused(tmp_path: Path) -> None:
    for name, write in WITH_INTRINSICS[1:3]:
        write(walk(), tmp_path / name)
        stated = read_poses(tmp_path / name).intrinsics
        assert stated is not None
        with pytest.raises(UsageError, match="got 1280x720; expected those of the input image, 1000x1000"):
            stated.for_picture(1000, 1000)


def test_the_view_angle_of_blender_is_that_of_the_picture(shared_inputs: Path) -> None:
    stated = read_poses(shared_inputs / "transforms.json").intrinsics
    assert stated is not None
    fx, fy, cx, cy = stated.for_picture(448, 256)[0].tolist()
    assert (fx, cx, cy) == (fy, 224, 128)
    assert 2 * np.arctan2(224, fx) == pytest.approx(1.2)


def test_public_examples_are_read(shared_inputs: Path) -> None:
    walked = load_poses(shared_inputs / "walk_turn_right_opencv.npy").c2w
    np.testing.assert_array_equal(load_poses(shared_inputs / "transforms.json").c2w, walked)
    text = load_poses(shared_inputs / "realestate10k.txt").c2w
    array = read_poses(shared_inputs / "realestate10k_3x4.npy", convention="opencv_w2c").trajectory.c2w
    np.testing.assert_allclose(text, array, atol=1e-6)
    assert text[-1, 2, 3] > 1  # the camera of this example goes forwards


def test_conventions_give_the_walk_that_they_mean(shared_inputs: Path) -> None:
    walked = load_poses(shared_inputs / "walk_turn_right_opencv.npy").c2w
    for name, convention in (("opengl", "opengl_c2w"), ("as_w2c", "opencv_w2c")):
        read = read_poses(shared_inputs / f"walk_turn_right_{name}.npy", convention=convention)
        np.testing.assert_array_equal(read.trajectory.c2w, walked)
        assert read.notes == ()


def test_a_convention_against_the_formats_own_is_followed_and_said(tmp_path: Path) -> None:
    write_realestate10k(walk(), tmp_path / "walk.txt")
    read = read_poses(tmp_path / "walk.txt", convention="opencv_c2w")
    assert "read as opencv_c2w, as told, though RealEstate10K or CameraCtrl means opencv_w2c" in read.notes


def test_poses_at_another_rate_are_resampled_and_said(tmp_path: Path) -> None:
    fine = action_trajectory("wl-64", translation_speed=0.025, rotation_speed_deg=0.6).c2w.astype(np.float64)
    np.save(tmp_path / "fine.npy", fine)
    read = read_poses(tmp_path / "fine.npy", poses_fps=32, video_fps=16)
    np.testing.assert_allclose(read.trajectory.c2w, fine[::2], atol=1e-6)
    assert read.notes == (
        "65 poses at 32 a second resampled to 33 at 16 a second: rotations by SLERP, positions linearly",
    )
    assert len(read_poses(tmp_path / "fine.npy", poses_fps=16, video_fps=16).trajectory) == 65


def test_timestamps_count_when_asked_for_and_are_spoken_of_when_not(tmp_path: Path) -> None:
    write_tum(walk()[::2], tmp_path / "walk.tum")  # which says 16 a second
    assert read_poses(tmp_path / "walk.tum").notes == ()
    plain = read_poses(tmp_path / "walk.tum", video_fps=32)
    assert "its times say 16 poses a second, the video shows 32" in plain.notes[0]
    read = read_poses(tmp_path / "walk.tum", poses_fps="timestamps", video_fps=32)
    np.testing.assert_allclose(read.trajectory.c2w[::2], plain.trajectory.c2w, atol=1e-5)
    np.save(tmp_path / "walk.npy", walk())
    with pytest.raises(UsageError, match="poses_fps is timestamps, and the poses file has none"):
        read_poses(tmp_path / "walk.npy", poses_fps="timestamps")
    lines = (tmp_path / "walk.tum").read_text().splitlines()
    (tmp_path / "walk.tum").write_text("\n".join([*lines, lines[-1]]))
    with pytest.raises(UsageError, match="the times in the poses file do not rise"):
        read_poses(tmp_path / "walk.tum", poses_fps="timestamps", video_fps=32)


def test_intrinsics_of_every_pose_are_resampled_with_them(tmp_path: Path) -> None:
    zoom = np.stack([np.linspace(800, 1000, 9), np.linspace(800, 1000, 9), np.full(9, 640), np.full(9, 360)], axis=1)
    np.savez(tmp_path / "walk.npz", c2w=walk()[:9], intrinsics=zoom)
    stated = read_poses(tmp_path / "walk.npz", poses_fps=8, video_fps=16).intrinsics
    assert stated is not None
    np.testing.assert_allclose(stated.for_picture(1280, 720)[:, 0], np.linspace(800, 1000, 17))


@pytest.mark.parametrize("digits", [3, 4])
def test_rounded_rotations_are_orthonormal_again_with_a_word(tmp_path: Path, digits: int) -> None:
    c2w = walk()
    rounded = c2w.copy()
    rounded[:, :3, :3] = rounded[:, :3, :3].round(digits)
    np.save(tmp_path / "rounded.npy", rounded)
    read = read_poses(tmp_path / "rounded.npy")
    np.testing.assert_allclose(read.trajectory.c2w, seen_from_first(c2w), atol=3 * 10.0**-digits)
    assert "rotations have few digits" in read.notes[0]
    assert "re-orthonormalised" in read.notes[0]


def test_a_last_row_of_float32_products_is_taken_with_a_word(shared_inputs: Path, tmp_path: Path) -> None:
    read = read_poses(shared_inputs / "arkit_last_row_1.0000001.npy")
    assert "9 of 9 matrices have a last row that is off by 1e-07" in read.notes[0]
    poses = walk()
    poses[3, 3] = 5e-6, -4e-6, 0, 0.999995
    np.save(tmp_path / "poses.npy", poses)
    assert "1 of 33 matrices" in read_poses(tmp_path / "poses.npy").notes[0]
    poses[3, 3, 0] = 2e-5
    np.save(tmp_path / "poses.npy", poses)
    with pytest.raises(UsageError, match=r"pose 3 of 33 .* has a wrong last row"):
        read_poses(tmp_path / "poses.npy")


def test_utm_coordinates_in_float32_are_said_to_have_lost_their_digits(shared_inputs: Path, tmp_path: Path) -> None:
    utm = np.load(shared_inputs / "walk_turn_right_utm.npy")
    np.save(tmp_path / "utm32.npy", utm.astype(np.float32))
    (note,) = read_poses(tmp_path / "utm32.npy").notes
    assert "5.4e+06 units from the origin and have float32's digits only, 0.5 units apart" in note
    assert read_poses(shared_inputs / "walk_turn_right_utm.npy").notes == ()


COLMAP_ROW = "1 1 0 0 0 0 0 0 9 a.png"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images.bin", b"\x01\0\0\0", "a binary COLMAP model"),
        ("poses.pkl", b"\x80\x04\x95", "a Python pickle"),
        ("scene.fbx", b"Kaydara FBX Binary", "an FBX scene"),
        ("poses.npy", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("transforms.json", b"<!DOCTYPE html><html>", "a web page"),
        ("empty.txt", b"", "got an empty file"),
        ("noise.npy", bytes(range(255)), "of no known format"),
        ("prose.txt", b"a walk to the left\nand back\n", "it begins with 'a walk to the left'"),
        ("euroc.csv", b"#t,p\n" + b",".join([b"1"] * 17), "got 17 numbers in a row; expected 19 (RealEstate10K"),
        ("cut.json", b'{"frames": [{"transform', "not valid JSON"),
        ("camera_path.json", b'{"camera_path": [], "fps": 24}', "got keys camera_path, fps"),
        ("transforms.json", b'{"frames": [{"file_path": "a"}]}', "frame 0 of the poses file has no usable"),
        ("transforms.json", b'{"frames": [{"transform_matrix": [[1, "a"]]}]}', "frame 0"),
        ("list.json", b"[[1, 2], [3]]", "but not of matrices"),
        ("list.json", b"[[1, 2], [3, 4]]", "got (2, 2); expected (F, 12)"),
        ("walk.tum", b"1 0 0 0 0 0 0 1\n2 0 0 0 0 0\n", "line 2 of the poses file is not like the ones before"),
        ("walk.tum", b"1 0 0 0 0 0 0 1\n2 0 0 x 0 0 0 1\n", "line 2"),
        ("walk.tum", b"1 nan 0 0 0 0 0 1\n", "values that are not finite"),
        ("walk.tum", b"1 0 0 0 0 0 0 0\n", "not orthonormal"),
        ("walk.npz", b"PK\x03\x04 and nothing", "the poses file cannot be read"),
    ],
)
def test_what_is_no_poses_file_is_refused_by_what_it_is(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as error:
        load_poses(tmp_path / name)
    assert message in str(error.value)


def test_arrays_are_told_apart_by_name_or_refused_with_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", anything=walk(), other=np.zeros(3))
    assert len(load_poses(tmp_path / "one.npz")) == 33
    np.savez(tmp_path / "two.npz", c2w=walk(), w2c=np.linalg.inv(walk()))
    with pytest.raises(UsageError, match=r"several arrays of poses: .* got c2w, w2c"):
        load_poses(tmp_path / "two.npz")
    np.savez(tmp_path / "none.npz", depths=np.zeros((2, 2)))
    with pytest.raises(UsageError, match=r"no array of poses: .* got depths"):
        load_poses(tmp_path / "none.npz")


def test_lenses_that_are_no_pinholes_are_said(tmp_path: Path) -> None:
    frames = [{"transform_matrix": np.eye(4).tolist()}]
    fisheye = {"camera_model": "OPENCV_FISHEYE", "fl_x": 9.0, "frames": frames}
    distorted = {"fl_x": 900.0, "w": 1280, "h": 720, "k1": 0.05, "frames": frames}
    for data, note in ((fisheye, "OPENCV_FISHEYE, and not used"), (distorted, "lens distortion is left out")):
        (tmp_path / "transforms.json").write_text(json.dumps(data))
        assert note in read_poses(tmp_path / "transforms.json").notes[0]
    (tmp_path / "images.txt").write_text(COLMAP_ROW + "\n\n")
    for model, note in (
        ("OPENCV_FISHEYE 1280 720 9 9 9 9 0 0 0 0", "not used"),
        ("SIMPLE_RADIAL 1280 720 900 640 360 0.1", "left out"),
    ):
        (tmp_path / "cameras.txt").write_text(f"9 {model}\n")
        assert note in read_poses(tmp_path / "images.txt").notes[0]
    (tmp_path / "cameras.txt").write_text("8 PINHOLE 1280 720 9 9 9 9\n")
    with pytest.raises(UsageError, match="camera 9 cannot be read"):
        read_poses(tmp_path / "images.txt")


def test_folders_and_pipes_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"got a folder; .* name images.txt"):
        load_poses(tmp_path)
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(UsageError, match="got a named pipe"):
        load_poses(tmp_path / "pipe.npy")


@given(data=st.data())
def test_a_damaged_file_of_any_format_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name, write = data.draw(st.sampled_from(WRITERS))
    path = tmp_path_factory.mktemp("damaged") / name
    write(walk()[:3], path)
    damaged = [path, *path.parent.glob("cameras.txt")][data.draw(st.integers(0, 1)) % (1 + (name == "images.txt"))]
    content = bytearray(damaged.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from([*b"\0 \n-#e9.,[]{}x\xff"]) | st.integers(0, 255))
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    with contextlib.suppress(UsageError):
        read = read_poses(path)
        assert np.isfinite(read.trajectory.c2w).all()
        if read.intrinsics is not None:
            read.intrinsics.for_picture(*SIZE)
