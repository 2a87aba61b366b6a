"""Each row of the shared inputs' README through the real command, and one input of our own making beside each kind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sana_wm.camera.poses.reading import load_poses
from sana_wm.video.picture import open_picture

Cli = Callable[..., tuple[int, str, str]]
Model = dict[str, dict[str, Any]]


@pytest.fixture
def validate(shared_inputs: Path, tiny_models: Model, tmp_path: Path, sana_wm: Cli) -> Callable[..., tuple[int, str]]:
    """Change one field of the shared manifest; names are of the folder, or of the test's own."""

    def run(section: str, name: str, value: object) -> tuple[int, str]:
        data = json.loads((shared_inputs / "manifest.json").read_text())
        data["model"] = dict(tiny_models["original"])
        data["output_dir"] = str(tmp_path / "run")
        data["input"]["image"] = str(shared_inputs / data["input"]["image"])
        if isinstance(value, str) and value != "estimate":
            value = str(tmp_path / value if (tmp_path / value).exists() else shared_inputs / value)
        for other in {"poses": ["action"], "prompt_file": ["prompt"]}.get(name, []):
            del data[section][other]
        data[section][name] = value
        if name == "image":
            with Image.open(str(value)) as picture:
                width, height = picture.size
            data["camera"]["intrinsics"] = [width * 0.7, width * 0.7, width / 2, height / 2]
        path = tmp_path / "m.json"
        path.write_text(json.dumps(data))
        code, _, err = sana_wm("validate-manifest", path)
        return code, err

    return run


def own_inputs(folder: Path) -> None:
    """One input of each kind that is not among the shared ones."""
    walk = np.tile(np.eye(4), (12, 1, 1))
    walk[:, 2, 3] = 0.05 * np.arange(12)
    np.save(folder / "centimetres.npy", walk * np.array([[1, 1, 1, 100]] * 3 + [[1, 1, 1, 1]]))
    backwards = walk.copy()
    backwards[:, 2, 3] *= -1
    np.save(folder / "backwards.npy", backwards)
    np.savetxt(folder / "tum.txt", [[i / 16, 0, 0, 0.05 * i, 0, 0, 0, 1] for i in range(12)])
    np.savetxt(folder / "kitti.txt", walk[:, :3].reshape(12, 12))
    np.save(folder / "normalised33.npy", np.array([[0.7, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]]))
    np.save(folder / "k33.npy", np.array([[106.0, 0, 112], [0, 106, 64], [0, 0, 1]]))
    (folder / "utf16.txt").write_text("A road.\r\n", encoding="utf-16")
    (folder / "rtf.txt").write_text("{\\rtf1\\ansi A road.}")
    (folder / "blank.txt").write_text("\u200b\u2060\n", encoding="utf-8")
    (folder / "nul.txt").write_bytes(b"A road\0by the sea.")
    (folder / "long.txt").write_text("Rain falls on a harbour wall. " * 200)
    (folder / "page.txt").write_text('<?xml version="1.0"?>\n<svg/>')
    Image.new("L", (64, 36), 90).save(folder / "two.tif", save_all=True, append_images=[Image.new("L", (64, 36))])
    Image.fromarray(np.full((36, 64), 900 * np.arange(64), np.uint16)).save(folder / "deep.tif")
    Image.new("CMYK", (64, 36), (10, 20, 30, 0)).save(folder / "cmyk.jpg")


@pytest.mark.parametrize(
    ("section", "name", "value", "code", "said"),
    [
        ("input", "image", "bars_display_p3.png", 0, "colours converted"),  # row 1
        ("input", "image", "bars_display_p3.jpg", 0, "colours converted"),
        ("input", "image", "picture_linear_icc.png", 0, "colours converted from Linear sRGB"),
        ("input", "image", "hdr_pq_cicp.png", 2, "an HDR picture (PQ)"),
        ("input", "image", "bars_srgb_profile.png", 0, ""),
        ("input", "image", "grey_with_rgb_profile.png", 0, "warning: input.image"),
        ("input", "image", "cmyk.jpg", 2, "CMYK without a colour profile"),
        ("camera", "poses", "walk_turn_right_as_w2c.npy", 0, "it moves against its view"),  # row 6
        ("camera", "poses", "walk_turn_right_opengl.npy", 0, "it moves against its view"),
        ("camera", "poses", "walk_in_millimetres.npy", 0, "are its positions in millimetres?"),
        ("camera", "poses", "backwards.npy", 0, "it moves against its view"),
        ("camera", "poses", "centimetres.npy", 0, "100 times the usual 0.05"),
        ("camera", "intrinsics", "normalised33.npy", 2, "normalised"),  # row 7
        ("camera", "intrinsics", "k33.npy", 0, ""),
        ("input", "prompt_file", "prompt_long_a.txt", 0, "it is cut after"),  # row 5
        ("input", "prompt_file", "prompt_long_b.txt", 0, "it is cut after"),
        ("input", "prompt_file", "long.txt", 0, "it is cut after"),
        ("input", "prompt_file", "prompt_bom.txt", 0, "its byte order mark is left out"),  # row 8
        ("input", "prompt_file", "prompt_onlybom.txt", 2, "is empty"),
        ("input", "prompt_file", "prompt_html.txt", 2, "a web page, HTML"),
        ("input", "prompt_file", "prompt_lfs.txt", 2, "a Git LFS pointer"),
        ("input", "prompt_file", "prompt_crlf.txt", 0, "read as line ends"),
        ("input", "prompt_file", "utf16.txt", 0, "read as UTF-16"),
        ("input", "prompt_file", "rtf.txt", 2, "Make Plain Text"),
        ("input", "prompt_file", "blank.txt", 2, "is empty"),
        ("input", "prompt_file", "nul.txt", 2, "a NUL in line 1"),
        ("input", "prompt_file", "page.txt", 2, "XML"),
        ("input", "image", "dark_16bit_rgb.png", 2, "16 bits a channel"),  # row 9
        ("input", "image", "animated_first_frame_red.gif", 0, "the first"),
        ("input", "image", "two.tif", 0, "the first"),
        ("input", "image", "deep.tif", 0, "16 bits a channel: taken with 8"),
        ("camera", "poses", "arkit_last_row_1.0000001.npy", 0, "re-orthonormalised"),  # row 14
        ("input", "image", "large_icc_profile.png", 0, ""),  # row 18
        ("camera", "poses", "realestate10k.txt", 0, ""),  # row 20
        ("camera", "poses", "realestate10k_3x4.npy", 0, ""),
        ("camera", "poses", "transforms.json", 0, ""),
        ("camera", "poses", "tum.txt", 0, ""),
        ("camera", "poses", "kitti.txt", 0, ""),
    ],
)
def test_each_row_is_as_its_column_right_says(
    validate: Callable[..., tuple[int, str]],
    tmp_path: Path,
    section: str,
    name: str,
    value: str,
    code: int,
    said: str,
) -> None:
    own_inputs(tmp_path)
    found, err = validate(section, name, value)
    assert (found, said in err) == (code, True), err


def test_the_same_walk_in_other_worlds_is_the_same_path(shared_inputs: Path) -> None:
    """Rows 3 and 4."""
    walk = load_poses(shared_inputs / "walk_turn_right_opencv.npy").c2w
    for name in ("walk_turn_right_zup_world.npy", "walk_turn_right_utm.npy"):
        np.testing.assert_allclose(load_poses(shared_inputs / name).c2w, walk, atol=1e-6)


def test_a_renamed_heic_is_named(shared_inputs: Path) -> None:
    """Row 18."""
    with pytest.raises(Exception, match="HEIC"):
        open_picture(shared_inputs / "renamed_heic.jpg")


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("manifest_bom.json", 0, "its byte order mark is left out"),
        ("manifest_comment.json", 2, "a comment (//) in line 1, column 1"),
        ("manifest_smart_quotes.json", 2, "a curly quote “ in line 3, column 2"),
        ("manifest_url.json", 2, "a URL, not a path; got 'https://example.org/picture.png' in line"),
    ],
)
def test_manifests_of_row_19(
    shared_inputs: Path, tiny_models: Model, tmp_path: Path, sana_wm: Cli, name: str, code: int, said: str
) -> None:
    shutil.copy(shared_inputs / name, tmp_path)
    shutil.copy(shared_inputs / "picture_srgb.png", tmp_path)
    (tmp_path / "weights").symlink_to(tiny_models["original"]["root"])
    found, _, err = sana_wm("validate-manifest", tmp_path / name)
    assert (found, said in err) == (code, True), err


@pytest.fixture(scope="module")
def damaged(shared_inputs: Path, tiny_models: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The damaged weight folders of rows 2, 11 and 17."""
    out = tmp_path_factory.mktemp("damaged")
    script = shared_inputs / "make_faulty_weights.py"
    subprocess.run([sys.executable, str(script), tiny_models["original"]["root"], str(out)], check=True)
    return out


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("zero_tail", "nothing but zeros at tensor"),
        ("zero_tail_with_aria2_file", "the download of this file was not finished"),
        ("models--hub--damaged/snapshots/" + "0123abcd" * 5, "nothing but zeros at tensor"),
        ("lfs_pointer_tokenizer", "a Git LFS pointer"),
        ("cut_tokenizer", "tokenizer.json: this file of stage1_tokenizer is damaged"),
        ("models--hub--whole", "this is a repository in a hub cache"),
        ("one_level_up", "the weights are not in this folder but further down. Set model.root to "),
        ("lfs_pointer_dit", "a Git LFS pointer"),
        ("html_page_as_dit", "this is a web page"),
        ("links_without_blobs", "9 files are links that lead nowhere"),
    ],
)
def test_damaged_weights_are_one_line_that_says_what_they_are(
    validate: Callable[..., tuple[int, str]], damaged: Path, tmp_path: Path, sana_wm: Cli, folder: str, said: str
) -> None:
    validate("input", "prompt", "x")
    data = json.loads((tmp_path / "m.json").read_text())
    data["input"]["prompt"] = "A road."
    root = str(damaged / folder)
    data["model"] |= {"root": root, "gemma_root": os.path.join(root, "gemma-2-2b-it")}  # noqa: PTH118  # as typed
    (tmp_path / "m.json").write_text(json.dumps(data))
    code, _, err = sana_wm("validate-manifest", tmp_path / "m.json")
    assert (code, said in err, "1 problem\n" in err) == (3, True, True), err
