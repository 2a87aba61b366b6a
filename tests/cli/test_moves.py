"""Named moves through the real command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sana_wm.camera.move_path import resolve_move
from sana_wm.camera.moves import MOVES
from sana_wm.camera.poses.reading import load_poses
from sana_wm.video.reader import probe

Cli = Callable[..., tuple[int, str, str]]

ROOT = Path(__file__).resolve().parents[2]
DRAWINGS = ROOT / "docs" / "moves"


def test_each_move_is_listed_with_what_it_does(sana_wm: Cli) -> None:
    code, out, err = sana_wm("camera", "moves")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()[: len(MOVES)]] == list(MOVES)
    assert "pan-left     j     turns to the left on the spot            19.2 degrees a second" in out
    listed = json.loads(sana_wm("camera", "moves", "--json")[1])
    assert {name: kind["key"] for name, kind in listed.items()} == {name: kind.key for name, kind in MOVES.items()}


def test_moves_are_explained_by_their_names(sana_wm: Cli) -> None:
    code, out, err = sana_wm("camera", "explain", "--move", "push-in:2s,pan-right:1.5s@0.5,hold:1s")
    assert code == 0, err
    assert "the moves take 72 frames, 4.5 s at 16 fps: push-in 32, pan-right 24, hold 16" in out
    assert "action    w-32,l-24,none-16" in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("push", "pan", "hold"))] == [
        "push-in",
        "pan-right",
        "hold",
    ]
    assert "14.4 right" in out


def test_what_is_hardly_meant_is_warned_of(sana_wm: Cli) -> None:
    _, out, err = sana_wm("camera", "explain", "--move", "push-in:1s@5,pan-left:1s@0.2,orbit-left:1s:0.1u,hold:1s")
    assert "poses     of moves that no one action does" in out
    assert err.count("warning: ") == 3, err
    assert "warning: move 1, push-in, goes 0.25 scene units a frame, 5 times the usual 0.05" in err
    assert "warning: move 2, pan-left, turns 0.24 degrees a frame, 0.2 times the usual 1.2" in err
    assert "warning: move 3, orbit-left, turns 28.6 degrees a frame, 24 times the usual 1.2" in err
    assert "warning" not in sana_wm("camera", "explain", "--move", "push-in:1s@2,orbit-left:1s:9u,crane-up:1s@0.5")[2]


def test_moves_are_printed_as_an_action_of_either_dialect(sana_wm: Cli) -> None:
    move = "push-in:2s@0.5,pan-left:1s"
    code, out, err = sana_wm("camera", "convert", "--move", move, "--as", "pr379")
    assert (code, out) == (0, "w-32,j-16\n")
    assert err == "at --translation-speed 0.025 --rotation-speed-deg 1.2\n"
    assert sana_wm("camera", "convert", "--move", move, "--as", "smoothed")[1] == "w-32,a-16\n"


@pytest.mark.parametrize("move", ["push-in:1s", "crane-up:1s,orbit-left:2s"])
def test_moves_are_written_as_poses(sana_wm: Cli, tmp_path: Path, move: str) -> None:
    out = tmp_path / "poses.npy"
    code, said, err = sana_wm("camera", "export", "--move", move, "-o", out)
    assert code == 0, err
    path = resolve_move(move).trajectory
    assert f"{len(path)} poses" in said
    np.testing.assert_allclose(load_poses(out).c2w, path.c2w, rtol=0, atol=1e-6)


def test_moves_are_previewed(sana_wm: Cli, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "preview.mp4"
    options = ("--image", picture, "--fov-deg", "70", "-o", out)
    code, _, err = sana_wm("camera", "preview", "--move", "orbit-left:0.5s", *options)
    assert code == 0, err
    assert probe(out).num_frames == 9


def test_the_drawings_in_the_docs_are_those_of_the_moves(sana_wm: Cli, tmp_path: Path) -> None:
    code, _, err = sana_wm("camera", "moves", "--drawings", tmp_path)
    assert code == 0, err
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_text() for path in DRAWINGS.iterdir()}, (
        "make them again: sana-wm camera moves --drawings docs/moves"
    )
    page = (ROOT / "docs" / "camera.md").read_text()
    assert [name for name in drawn if f"](moves/{name})" not in page] == []
