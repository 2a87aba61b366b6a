from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_wm.manifest.loading import escape_variables, load_manifest, parse_manifest
from sana_wm.manifest.model import Manifest
from sana_wm.manifest.portable import MAX_CHARACTERS, parse_portable, portable_json, rerun_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.manifest.schema import SCHEMA_KEY, render_schema
from sana_wm.video.encoder import VideoEncoder
from sana_wm.video.reader import probe

HOME = Path("/Users/jane")
NASTY = 'A "quiet" road; costs ${PRICE} = #1 \\ back,\nsecond line: 街道 🚗 $${X}'


def run_manifest(prompt: str = NASTY) -> RunManifest:
    data: dict[str, Any] = {
        "version": 1,
        "name": "a run",
        "model": {"root": "/Users/jane/weights", "gemma_root": "/Users/janet/gemma"},
        "input": {"image": "/Users/jane/pictures/road.png", "prompt": prompt},
        "camera": {"action": "w-8", "intrinsics": [160.0, 160.5, 100.0, 60.0]},
        "output_dir": "/Users/jane/runs/a",
        "inputs": {"input.image": {"path": "/Users/jane/pictures/road.png", "sha256": "0" * 64}},
    }
    return parse_manifest(data, RunManifest)


def test_a_video_does_not_name_its_makers_home_folder() -> None:
    text = portable_json(run_manifest(), HOME)
    assert text is not None
    assert text.isascii()
    assert "/Users/jane/" not in text
    kept = parse_portable(text)
    assert (kept.model.root, kept.model.gemma_root) == ("~/weights", "/Users/janet/gemma")
    assert (kept.input.image, kept.inputs["input.image"].path) == ("~/pictures/road.png", "~/pictures/road.png")
    assert kept.input.prompt == NASTY
    assert portable_json(kept, HOME) == text, "the same manifest gives the same text"


@pytest.mark.parametrize("prompt", [NASTY, "A street. " + '"' * 48_500], ids=["nasty", "longer than an argument"])
def test_it_survives_the_video_file(tmp_path: Path, prompt: str) -> None:
    text = portable_json(run_manifest(prompt), HOME)
    assert text is not None
    metadata = {"name": "x", "manifest": text}
    with VideoEncoder(tmp_path / "video.mp4", width=64, height=32, fps=16, metadata=metadata) as encoder:
        encoder.put(np.zeros((4, 32, 64, 3), dtype=np.uint8))
    read = probe(tmp_path / "video.mp4").metadata
    assert read == metadata
    assert parse_portable(read["manifest"]).input.prompt == prompt


def test_what_does_not_fit_into_a_comment_is_left_out() -> None:
    assert portable_json(run_manifest("long " * (MAX_CHARACTERS // 5)), HOME) is None


def test_a_rerun_is_read_back_as_what_ran(tmp_path: Path) -> None:
    manifest = run_manifest()
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(rerun_manifest(manifest)))
    again = load_manifest(path, {})
    assert again == parse_manifest(
        manifest.model_dump(mode="json", exclude={"inputs", "intrinsics_estimate", "picture"}), Manifest
    )


@given(st.text("${}aX\n", max_size=12))
def test_escaped_text_is_read_back_as_it_was(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.json"
        path.write_text(json.dumps({**rerun_manifest(run_manifest("p")), "name": escape_variables(f"n{text}")}))
        assert load_manifest(path, {}).name == f"n{text}"


def test_an_editors_schema_key_is_allowed_and_known_to_the_schema(tmp_path: Path) -> None:
    data = rerun_manifest(run_manifest())
    assert Path(data[SCHEMA_KEY].removeprefix("file://")).read_text() == render_schema()
    assert SCHEMA_KEY in json.loads(render_schema())["properties"]
