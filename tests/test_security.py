"""The promises of docs/security.md that a machine can check."""

from __future__ import annotations

import ast
import io
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_wm.errors import HandoffError, PictureError, UsageError
from sana_wm.launcher.process import stage_command, stage_environment
from sana_wm.modules import run_module
from sana_wm.names import STAGES
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify
from sana_wm.video.picture import open_picture

SOURCES = sorted((Path(__file__).resolve().parents[1] / "src" / "sana_wm").rglob("*.py"))
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10_000_000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (20_000, 20_000), (8_001, 8_000)])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(width, height))
    started_s = time.process_time()
    with pytest.raises(PictureError, match="pixels"):
        open_picture(path)
    assert time.process_time() - started_s < 0.5


def test_postscript_is_no_picture(tmp_path: Path) -> None:
    """Pillow would start Ghostscript on it."""
    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(path, "EPS")
    with pytest.raises(PictureError, match="nothing of the kind"):
        open_picture(path)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    from sana_wm.camera.poses.reading import load_poses

    path = tmp_path / "poses.npy"
    np.save(path, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match="cannot be read"):
        load_poses(path)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_pickle_no_shell_no_remote_code(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"^\s*(import|from) (pickle|shelve|marshal|dill|joblib)\b", text, re.MULTILINE)
    if path.name == "streaming_checkpoint.py":  # the one pickle that NVIDIA released, opened weights-only
        text = text.replace('torch.load(source, map_location="cpu", mmap=True, weights_only=True)', "None")
    assert not re.search(r"torch\.load\(|allow_pickle=True|os\.system\b|(?<![.\w])(eval|exec)\(", text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            assert not [word for word in node.keywords if word.arg == "shell"], f"{path}:{node.lineno}"


def test_stages_are_told_to_stay_offline() -> None:
    switches = {"ATEN_CPU_CAPABILITY": "default", "NVIDIA_TF32_OVERRIDE": "0", "PYTORCH_MPS_FAST_MATH": "1"}
    assert switches.keys().isdisjoint(stage_environment(switches, 1024**3))
    environment = stage_environment({"HF_HUB_OFFLINE": "0", "PATH": os.environ["PATH"]}, 1024**3)
    assert {environment[name] for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")} == {
        "1"
    }


def test_what_goes_into_a_log_cannot_steer_a_terminal() -> None:
    from sana_wm.runtime.log import LogStream

    log = io.StringIO()
    print(f"loaded {ESCAPE}\nnext\r\u202e", file=LogStream(log))
    assert log.getvalue() == "loaded \\u001b]0;owned\\u0007\\u001b[2J\nnext\\u000d\\u202e\n"


@pytest.mark.long
def test_what_a_stage_says_of_a_prompt_is_spelled_out_in_its_log(
    write_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    """A real stage, with an error that holds text of the manifest."""
    from sana_wm.manifest.loading import load_manifest
    from sana_wm.preflight.checks import resolve_manifest

    manifest = resolve_manifest(load_manifest(write_manifest(name=ESCAPE, input__prompt=ESCAPE), {}))
    run = RunDirectory(tmp_path / "run")
    moved = manifest.model_copy(update={"model": manifest.model.model_copy(update={"root": f"/nowhere/{ESCAPE}"})})
    run.path.mkdir()
    run.write_manifest(moved)
    command = [sys.executable, "-m", "sana_wm.stages", "stage1", str(run.path)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode != 0
    assert b"owned" in done.stderr
    assert b"\x1b" not in done.stderr + done.stdout


def test_the_command_line_spells_out_what_a_manifest_holds(
    write_manifest: Callable[..., Path], sana_wm: Callable[..., tuple[int, str, str]]
) -> None:
    path = write_manifest(name=ESCAPE, output_dir=f"run{ESCAPE}", input__image=f"{ESCAPE}.png")
    for arguments in (("validate-manifest", path), ("run-pipeline", path, "--dry-run")):
        _, out, err = sana_wm(*arguments)
        assert "owned" in out + err
        assert "\x1b" not in out + err


def test_python_files_in_the_working_folder_are_not_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit(77)")
    monkeypatch.chdir(tmp_path)
    assert '"kind": "cpu"' in run_module("sana_wm.runtime", ["cpu"], quiet=True)
    stage = subprocess.run(stage_command("stage1", RunDirectory(tmp_path / "none")), capture_output=True, check=False)
    assert stage.returncode == HandoffError.exit_code
    assert b"cannot be opened" in stage.stderr


@pytest.mark.long
def test_all_stages_run_without_a_network(finished_run: Path, tmp_path: Path) -> None:
    alone = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished_run, run.path)
    for stage in STAGES:
        run.clear_stage(stage)
        run.start_over(stage)
    done = subprocess.run(
        [*alone, sys.executable, "-m", "sana_wm", "resume", str(run.path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [link for link in verify(run) if link.state != "holds"] == []
