"""A stranger's manifest: paths that no system has, and variables that are none of its business."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sana_wm.camera.arrays import load_npy
from sana_wm.errors import ManifestError, UsageError
from sana_wm.manifest.field_table import path_fields
from sana_wm.manifest.loading import ALLOWING_VARIABLE, load_manifest
from sana_wm.manifest.paths import MAX_PATH_BYTES, why_no_path
from sana_wm.preflight.prospect import inspect

Command = Callable[..., tuple[int, str, str]]
MANIFEST: dict[str, Any] = {
    "version": 1,
    "name": "strange",
    "model": {"layout": "diffusers", "root": "weights"},
    "input": {"image": "a.png", "prompt": "A road."},
    "camera": {"action": "w-8", "intrinsics": [1.0, 1.0, 1.0, 1.0]},
    "video": {"num_frames": 9},
    "output_dir": "run",
}
NO_PATHS = {"NUL": "a\0b", "NUL after home": "~\0", "name": "x" * 300, "path": "/".join(["y" * 200] * 30)}


def write(folder: Path, **changes: Any) -> Path:
    data = json.loads(json.dumps(MANIFEST))
    for dotted, value in changes.items():
        *sections, name = dotted.split("__")
        holder = data
        for section in sections:
            holder = holder[section]
        holder[name] = value
    path = folder / "manifest.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("kind", NO_PATHS)
@pytest.mark.parametrize("field", path_fields())
def test_what_cannot_be_a_path_is_refused_with_its_field(tmp_path: Path, field: str, kind: str) -> None:
    """By everything that looks at a manifest, and nothing is made of it."""
    changes: dict[str, Any] = {field.replace(".", "__"): NO_PATHS[kind]}
    if field in ("input.prompt_file", "camera.poses"):
        changes |= {"input__prompt": None} if field == "input.prompt_file" else {"camera__action": None}
    errors = inspect(write(tmp_path, **changes), {}).errors
    assert errors
    assert errors[0].exit_code == 2
    told = [problem for error in errors if isinstance(error, ManifestError) for problem in error.problems]
    assert any(one.field == field and ("NUL" in one.what or "the most" in one.what) for one in told), told


def test_long_paths_that_a_system_can_have_are_taken() -> None:
    assert why_no_path("/" + "/".join(["y" * 255] * 3)) is None
    assert why_no_path("ü" * 127) is None
    assert why_no_path("/a" * (MAX_PATH_BYTES // 2)) is None
    assert why_no_path("/a" * (MAX_PATH_BYTES // 2) + "bb") is not None


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PATH", "USER", "sana_x", "", " HOME"])
def test_a_manifest_cannot_name_what_is_not_its_own(tmp_path: Path, name: str) -> None:
    environment = {name: "s3cret", "HOME": "/home/me"}
    for field in ("name", "input__prompt", "input__image", "output_dir", "model__root"):
        with pytest.raises(ManifestError, match="is no variable that a manifest may name") as caught:
            load_manifest(write(tmp_path, **{field: f"x ${{{name}}}"}), environment)
        assert "s3cret" not in str(caught.value)


def test_the_user_says_which_variables_else_a_manifest_may_name(tmp_path: Path) -> None:
    path = write(
        tmp_path, model__root="${SANA_WM_MODEL_ROOT}", input__image="${HOME}/a", output_dir="${DATA}/${SCRATCH}"
    )
    environment = {"SANA_WM_MODEL_ROOT": "/w", "HOME": "/home/me", "DATA": "/data", "SCRATCH": "s"}
    with pytest.raises(ManifestError, match=f"export {ALLOWING_VARIABLE}=DATA"):
        load_manifest(path, environment)
    manifest = load_manifest(path, environment | {ALLOWING_VARIABLE: "DATA, SCRATCH"})
    assert (manifest.model.root, manifest.input.image, manifest.output_dir) == ("/w", "/home/me/a", "/data/s")


@pytest.mark.parametrize("command", ["status", "report", "verify", "resume", "extend", "validate-manifest", "plan"])
def test_a_path_on_the_command_line_that_no_system_has(command: str, tmp_path: Path, sana_wm: Command) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in ("x" * 300, tmp_path / NO_PATHS["path"], tmp_path / "loop"):
        code, _, err = sana_wm(command, path)
        assert code in (2, 4)
        assert err.startswith("sana-wm: ")


def test_a_pipe_is_not_waited_for(tmp_path: Path, sana_wm: Command) -> None:
    os.mkfifo(tmp_path / "pipe")
    pipe = str(tmp_path / "pipe")
    for field in ("input__image", "camera__intrinsics", "input__prompt_file", "camera__poses"):
        changes = {field: pipe} | ({"camera__action": None} if field == "camera__poses" else {})
        assert inspect(write(tmp_path, **changes), {}).errors
    for command in (["validate-manifest", pipe], ["init-manifest", "--like", pipe, "-o", str(tmp_path / "m.json")]):
        assert sana_wm(*command)[0] in (2, 4)


def test_a_sparse_npy_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (100000000, 4, 4)}".ljust(117) + "\n"
    path = tmp_path / "poses.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    os.truncate(path, path.stat().st_size + 6_400_000_000)
    with pytest.raises(UsageError, match="too large to be one"):
        load_npy(path, holds="poses", expected="(F, 4, 4)")
