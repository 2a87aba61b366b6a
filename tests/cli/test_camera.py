"""The `camera` commands through the real command line."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.poses.reading import load_poses
from sana_wm.video.reader import probe, read_frames

Write = Callable[..., Path]
Cli = Callable[..., tuple[int, str, str]]


def test_explain_tells_length_rotation_view_and_every_segment(write_manifest: Write, sana_wm: Cli) -> None:
    code, out, err = sana_wm("camera", "explain", write_manifest(camera__action="w-4,wl-4"))
    assert code == 0, err
    assert "dialect   pr379: a step left, d step right, j turn left, l turn right" in out
    assert "path      0.40 scene units in 0.5 s at 16 fps" in out
    assert "rotation  9.6 degrees/s on average, 19.2 at most; looks 4.8 degrees right" in out
    assert "view      64.0 x 41.1 degrees (as given)" in out
    rows = [line.split("  ") for line in out.splitlines() if line.startswith(("w-4", "wl-4"))]
    assert [[cell.strip() for cell in row if cell] for row in rows] == [
        ["w-4", "0-4", "0.0-0.2", "forward", "0.20", "-", "-"],
        ["wl-4", "4-8", "0.2-0.5", "forward, turn right", "0.20", "4.8 right", "-"],
    ]
    assert "from above (up the page is forward)" in out


def test_explain_warns_of_a_doubtful_view_and_a_short_path(write_manifest: Write, sana_wm: Cli) -> None:
    path = write_manifest(camera__action="w-9", camera__intrinsics=[20, 20, 100, 60], video__num_frames=17)
    _, _, err = sana_wm("camera", "explain", path)
    assert "warning: a field of view of 157.4 degrees across the video, outside 25 to 120" in err
    assert "warning: video.num_frames is 17, and the path has 10 poses only" in err


def test_explain_as_json_and_as_a_picture(sana_wm: Cli, tmp_path: Path) -> None:
    png = tmp_path / "plot.png"
    arguments = ("camera", "explain", "--action", "wa-16", "--dialect", "smoothed", "--png", png)
    code, out, err = sana_wm(*arguments, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["motion"]["dialect"] == "smoothed"
    assert report["segments"][0]["held"] == "forward, turn left"
    assert report["path"]["final_yaw_deg"] == pytest.approx(-19.2, abs=1e-3)
    with Image.open(png) as picture:
        assert picture.size == (1248, 624)
    code, _, err = sana_wm(*arguments)
    assert code == 2
    assert "is there already" in err


def test_export_writes_poses_that_a_manifest_takes(sana_wm: Cli, tmp_path: Path) -> None:
    out = tmp_path / "poses.npy"
    assert sana_wm("camera", "export", "--action", "w-8,j-8", "-o", out)[0] == 0
    np.testing.assert_allclose(load_poses(out).c2w, action_trajectory("w-8,j-8").c2w, atol=3e-7)


def test_convert_prints_the_action_alone(write_manifest: Write, sana_wm: Cli) -> None:
    path = write_manifest(camera__action="w-8,j-8,w-2")
    assert sana_wm("camera", "convert", path, "--as", "smoothed")[:2] == (0, "w-8,a-8,w-2\n")
    code, out, err = sana_wm("camera", "convert", "--action", "w-8,wa-3,w-2", "--dialect", "smoothed", "--as", "pr379")
    assert (code, out) == (2, "")
    assert "dialect pr379 cannot express this path of dialect smoothed" in err


def test_preview_is_a_video_of_the_path_of_640_pixels_a_row(
    write_manifest: Write, sana_wm: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "preview.mp4"
    code, _, err = sana_wm("camera", "preview", write_manifest(camera__action="l-16"), "-o", out)
    assert code == 0, err
    info = probe(out)
    assert (info.width, info.height, info.num_frames, info.fps) == (640, 384, 9, 16)
    first, *_, last = read_frames(out)
    assert np.abs(first.astype(int) - last).mean() > 5


@pytest.mark.parametrize(("suffix", "kind", "num_frames"), [("webp", "WEBP", 9), ("GIF", "GIF", 5)])
def test_preview_is_a_moving_picture_that_pages_show(
    write_manifest: Write, sana_wm: Cli, tmp_path: Path, suffix: str, kind: str, num_frames: int
) -> None:
    """A GIF takes every second frame: its viewers slow down what is faster."""
    out = tmp_path / f"preview.{suffix}"
    code, said, err = sana_wm("camera", "preview", write_manifest(camera__action="l-16"), "-o", out)
    assert code == 0, err
    with Image.open(out) as picture:
        assert (picture.format, picture.size) == (kind, (640, 384))
        assert getattr(picture, "n_frames", 1) == num_frames
        assert picture.info["loop"] == 0
    assert ("1 in 2 of 9 frames, 0.6 s, 640x384" if kind == "GIF" else ": 9 frames, 0.6 s, 640x384") in said


def test_a_camera_is_looked_at_before_there_are_weights_and_in_a_new_folder(
    write_manifest: Write, sana_wm: Cli, tmp_path: Path
) -> None:
    model = {"layout": "original", "root": "${SANA_WM_MODEL_ROOT}", "gemma_root": "${SANA_GEMMA_2_2B_IT_ROOT}"}
    path = write_manifest(model=model)
    assert sana_wm("camera", "explain", path)[0] == 0
    out = tmp_path / "new" / "folder" / "preview.mp4"
    code, _, err = sana_wm("camera", "preview", path, "-o", out)
    assert code == 0, err
    assert out.is_file()


def test_preview_of_an_action_needs_a_picture_and_its_view(sana_wm: Cli, picture: Path, tmp_path: Path) -> None:
    arguments = ("camera", "preview", "--action", "w-8", "-o", tmp_path / "preview.mp4")
    assert "a preview needs a picture" in sana_wm(*arguments)[2]
    assert "Give --fov-deg" in sana_wm(*arguments, "--image", picture)[2]
    arguments = (*arguments, "--image", picture, "--fov-deg", "70")
    assert "the camera path leaves the scene" in sana_wm(*arguments, "--backdrop", "0.3")[2]
    assert sana_wm(*arguments)[0] == 0


@pytest.mark.long
def test_a_preview_of_321_frames_takes_seconds(demo: Path, tmp_path: Path) -> None:
    """CPU time of the whole command, so that other work on the machine does not count."""
    command = [sys.executable, "-m", "sana_wm", "camera", "preview", "--action", "w-80,jw-40,w-40,lw-60,w-100"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    picture = ["--image", str(demo / "demo_0.png"), "--fov-deg", "93", "-o", str(tmp_path / "preview.mp4")]
    subprocess.run([*command, *picture], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 25
    assert probe(tmp_path / "preview.mp4").num_frames == 321


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explain",), "got neither; expected either MANIFEST, --move or --action"),
        (("explain", "m.json", "--action", "w-8"), "got both"),
        (("explain", "m.json", "--dialect", "smoothed"), "--dialect and speeds belong to --action"),
        (("explain", "--action", "w-8", "--dialect", "main"), "--dialect names no dialect; got 'main'"),
        (("explain", "--action", "w-8", "--fov-deg", "70"), "--fov-deg, --size and --crop are of --image"),
        (("explain", "--action", "w-8", "--move", "hold:1s"), "--move and --action exclude each other"),
        (("explain", "--move", "hold:1s", "--dialect", "pr379"), "--dialect and speeds belong to --action"),
        (("explain", "--move", "hold"), "move 1 of 1, hold, has no time"),
        (("convert", "--move", "crane-up:1s", "--as", "pr379"), "no one action does these moves exactly"),
        (("explain", "--action", "x-8"), "has an unknown key"),
        (("explain", "nowhere.json"), "nowhere.json: no file nowhere.json"),
        (("export", "--action", "w-8", "-o", "poses.txt"), "expected a name ending in .npy"),
        (("preview", "--action", "w-8", "-o", "p.gif", "--image", "nowhere.png"), "no file"),
        (("preview", "--action", "w-8", "-o", "p.mov"), "a preview needs a picture"),
    ],
)
def test_bad_usage_is_refused(sana_wm: Cli, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = sana_wm("camera", *arguments)
    assert code == 2
    assert said in err


def test_no_camera_command_loads_torch(write_manifest: Write, tmp_path: Path) -> None:
    script = (
        "import sys; from sana_wm.cli import app\n"
        "manifest, folder = sys.argv[1:]\n"
        "for words in (['explain', '--png', folder + '/a.png'], ['preview', '-o', folder + '/a.mp4']):\n"
        "    sys.argv = ['sana-wm', 'camera', words[0], manifest, *words[1:]]\n"
        "    app(standalone_mode=False)\n"
        "assert not {'torch', 'transformers', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", script, str(write_manifest()), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
