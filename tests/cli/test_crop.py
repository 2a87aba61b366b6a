"""`--crop` and `--size` on the command line, and the drawing of what a video shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sana_wm.video.reader import read_frames

Cli = Callable[..., tuple[int, str, str]]

#: What `--fov-deg 60` is in pixels of a picture that is 300 wide.
FOCAL_PX = 150 / np.tan(np.radians(30))


@pytest.fixture
def upright(tmp_path: Path) -> Path:
    """Bright above, dark below; 300x400."""
    pixels = np.full((400, 300, 3), 200, dtype=np.uint8)
    pixels[200:] = 40
    Image.fromarray(pixels).save(tmp_path / "upright.png")
    return tmp_path / "upright.png"


def drafted(sana_wm: Cli, picture: Path, *more: str) -> tuple[dict[str, Any], str]:
    out = picture.with_name("manifest.json")
    said = ("--prompt", "A street", "--action", "w-8", "--seconds", "0.5", "--fov-deg", "60")
    code, _, err = sana_wm("init-manifest", picture, *said, *more, "--out", out)
    assert code == 0, err
    return json.loads(out.read_text()), err


def test_a_draft_that_says_nothing_of_it_is_what_it_was(sana_wm: Cli, upright: Path) -> None:
    manifest, err = drafted(sana_wm, upright)
    assert "crop" not in manifest["input"]
    assert "the video shows the middle 41% of its 300x400 pixels" in err
    assert "--crop top or --crop bottom shows another part, --size portrait 73% or --size square 75% of it" in err
    assert f"sana-wm camera crop {upright} -o crop.png" in err


@pytest.mark.parametrize(
    ("said", "kept"), [("top", "top"), ("centre", "centre"), ("right", "right"), ("0.5,0.2", [0.5, 0.2])]
)
def test_a_draft_keeps_what_is_said(sana_wm: Cli, upright: Path, said: str, kept: object) -> None:
    manifest, _ = drafted(sana_wm, upright, "--crop", said)
    assert manifest["input"].get("crop", "centre") == kept
    assert manifest["camera"]["intrinsics"] == pytest.approx([FOCAL_PX, FOCAL_PX, 150, 200])


def test_a_named_size_is_written_as_numbers_and_warned_of(sana_wm: Cli, upright: Path) -> None:
    manifest, err = drafted(sana_wm, upright, "--size", "portrait", "--crop", "top")
    assert (manifest["video"]["width"], manifest["video"]["height"]) == (704, 1280)
    assert "the model was trained at 1280x704, not at 704x1280: nothing is known of how it does there" in err
    assert "look at a draft of a few seconds first" in err
    assert "crop top changes nothing: what is cut off lies left and right" in err
    assert "--crop left or --crop right shows another part; look at it" in err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--crop", "tpo", "Did you mean top?"),
        ("--crop", "0.5", "or X,Y from 0 to 1"),
        ("--crop", "0.5,1.2", "or X,Y from 0 to 1"),
        ("--crop", "nan,0", "or X,Y from 0 to 1"),
        ("--size", "portrai", "Did you mean portrait?"),
        ("--size", "700x1280", "expected 704x1280, the nearest"),
    ],
)
def test_a_slip_is_refused_with_what_was_meant(sana_wm: Cli, upright: Path, option: str, value: str, said: str) -> None:
    code, _, err = sana_wm("camera", "crop", upright, option, value, "-o", upright.with_name("crop.png"))
    assert code == 2
    assert said in err
    assert not upright.with_name("crop.png").exists()


def test_the_drawing_keeps_the_light_of_what_is_shown_and_dims_the_rest(sana_wm: Cli, upright: Path) -> None:
    drawing = upright.with_name("crop.png")
    code, out, err = sana_wm("camera", "crop", upright, "--crop", "top", "-o", drawing)
    assert code == 0, err
    assert "--crop top: 41%, columns 0 to 300, rows 0 to 165" in out
    with Image.open(drawing) as opened:
        pixels = np.asarray(opened.convert("L"))
    column = pixels[12 : 12 + 1024, 12 + 384]  # 300x400 pixels at 1024/400
    edge = round(165 * 1024 / 400)
    assert set(column[20 : edge - 20].tolist()) == {200}
    assert column[edge + 20 : 490].max() < 100
    assert sana_wm("camera", "crop", upright, "-o", drawing)[0] == 2, "it is not replaced unasked"


def test_without_a_choice_each_is_drawn_and_a_manifest_is_one(sana_wm: Cli, upright: Path) -> None:
    all_of_them, of_manifest = upright.with_name("all.png"), upright.with_name("one.png")
    out = sana_wm("camera", "crop", upright, "-o", all_of_them)[1]
    assert [line.split(":")[0] for line in out.splitlines()[1:]] == ["--crop top", "--crop centre", "--crop bottom"]
    drafted(sana_wm, upright, "--crop", "bottom")
    code, out, err = sana_wm("camera", "crop", upright.with_name("manifest.json"), "-o", of_manifest)
    assert code == 0, err
    assert "--crop bottom: 41%, columns 0 to 300, rows 235 to 400" in out


def test_explain_says_which_part_is_shown_and_its_view(sana_wm: Cli, upright: Path) -> None:
    arguments = ("camera", "explain", "--action", "w-8", "--image", upright, "--fov-deg", "60")
    out = sana_wm(*arguments, "--crop", "top")[1]
    assert "picture   the top 41% of its 300x400 pixels: columns 0 to 300, rows 0 to 165" in out
    said = json.loads(sana_wm(*arguments, "--crop", "bottom", "--size", "square", "--json")[1])
    assert said["picture_box_px"] == pytest.approx([0, 100, 300, 400], abs=0.2)
    assert said["field_of_view_deg"][0] == pytest.approx(60)
    assert any("17% of the video's height above its middle" in one for one in said["warnings"])


@pytest.mark.parametrize(("crop", "light"), [("top", 200), ("bottom", 40)])
def test_a_preview_begins_with_the_part_that_is_shown(sana_wm: Cli, upright: Path, crop: str, light: int) -> None:
    out = upright.with_name("preview.mp4")
    said = ("--action", "w-8", "--image", upright, "--fov-deg", "60", "--crop", crop)
    code, _, err = sana_wm("camera", "preview", *said, "-o", out)
    assert code == 0, err
    first = next(iter(read_frames(out)))
    assert np.median(first) == pytest.approx(light, abs=6)
