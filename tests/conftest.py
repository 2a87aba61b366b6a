"""Shared fixtures: reference data beside the checkout, tiny checkpoints, manifests that run."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared"


def require_shared(name: str) -> Path:
    """The folder `name` of the reference data beside the checkout; skips where there is none, except in CI."""
    folder = SHARED / name
    if not folder.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"reference data {name} is missing in CI")
        pytest.skip(f"reference data {name} is not beside this checkout")
    return folder


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """Take signals as a user's terminal would send them: a shell's background job, or nohup, starts us deaf to some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What runs and commands remember must not go into the user's own folders."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("settings"))


@pytest.fixture(scope="session")
def golden() -> Path:
    """Outputs of PR #379's own code."""
    return require_shared("golden")


@pytest.fixture(scope="session")
def demo() -> Path:
    """Real pictures, prompts and poses."""
    return require_shared("demo")


@pytest.fixture(scope="session")
def shared_inputs() -> Path:
    """Small inputs that fail, or passed without a word."""
    return require_shared("inputs")


@contextlib.contextmanager
def made_once(tmp_path_factory: pytest.TempPathFactory, name: str) -> Generator[tuple[Path, bool]]:
    """A folder that all test processes share, and whether it is still to be filled; the others wait."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "done"
        yield folder, not done.exists()
        done.touch()


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The `model` section of a tiny checkpoint in either layout, by layout. Copy the files to change them."""
    with made_once(tmp_path_factory, "tiny") as (folder, is_empty):
        if is_empty:
            sections: dict[str, dict[str, Any]] = {}
            for layout in ("original", "diffusers"):
                out = str(folder / layout)
                command = [sys.executable, "-m", "sana_wm.weights", "tiny", "--layout", layout, "--out", out]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                sections[layout] = json.loads(done.stdout)
            (folder / "sections.json").write_text(json.dumps(sections))
        return json.loads((folder / "sections.json").read_text())


def draw_picture(path: Path) -> Path:
    """A small picture with some structure."""
    rows, columns = np.mgrid[:120, :200]
    pixels = np.stack([rows * 2, columns, 128 + 60 * np.sin(columns / 9.0)], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def tiny_manifest(picture: Path, model: dict[str, Any]) -> dict[str, Any]:
    """A manifest that runs in seconds: 9 frames at 96x160, two steps, the tiny checkpoint, on the CPU, no preview."""
    return {
        "version": 1,
        "name": "tiny",
        "model": dict(model),
        "input": {"image": str(picture), "prompt": "A quiet road."},
        "camera": {"action": "w-8,l-8", "intrinsics": [160.0, 160.0, 100.0, 60.0]},
        "video": {"num_frames": 9, "height": 96, "width": 160},
        "stage1": {"num_inference_steps": 2, "checkpoint_every": 1},
        "preview": {"enabled": False},
        "device": "cpu",
        "output_dir": "run",
    }


@pytest.fixture(scope="session")
def tiny() -> Callable[..., dict[str, Any]]:
    """`tiny_manifest`, for tests that change it."""
    return tiny_manifest


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, dict[str, Any]]) -> Path:
    """A finished run: 8 latent frames, 8 steps, seven refiner blocks, two video segments. Copy it to change it."""
    with made_once(tmp_path_factory, "finished") as (folder, is_empty):
        if is_empty:
            manifest = tiny_manifest(draw_picture(folder / "picture.png"), tiny_models["diffusers"])
            manifest["camera"]["action"] = "w-40,wl-16"
            manifest["video"]["num_frames"] = 57
            manifest["video"]["overlay"] = True
            manifest["stage1"] = {"num_inference_steps": 8, "checkpoint_every": 2, "preview_every": 4}
            manifest["refiner"] = {"block_size": 1}
            (folder / "manifest.json").write_text(json.dumps(manifest))
            command = [
                sys.executable,
                "-m",
                "sana_wm",
                "run-pipeline",
                str(folder / "manifest.json"),
                "--json-progress",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (folder / "progress.jsonl").write_text(done.stdout)
        return folder / "run"


@pytest.fixture(scope="session")
def odd_calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library for LD_PRELOAD that lets one system call fail; see `odd_calls.c`."""
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("a C compiler and LD_PRELOAD make the odd volume")
    library = tmp_path_factory.mktemp("odd") / "odd_calls.so"
    source = Path(__file__).parent / "odd_calls.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture(scope="session")
def recorded() -> dict[str, Any]:
    """Recorded runs by name: `quiet`, `loaded` and the three hours; see `tests/progress/recording.py`."""
    from tests.progress.recording import load_recorded_runs

    return load_recorded_runs()


@pytest.fixture(scope="session")
def edit_run_manifest() -> Callable[..., None]:
    """Change a run directory's own manifest as this package would have written it, `section__field=value`."""

    def edit(run_dir: Path, **changes: Any) -> None:
        from sana_wm.runs.sealed import read_sealed, write_sealed

        path = run_dir / "manifest.json"
        data = json.loads(read_sealed(path, next_step=""))
        for dotted, value in changes.items():
            *sections, name = dotted.split("__")
            holder = data
            for section in sections:
                holder = holder[section]
            holder[name] = value
        write_sealed(path, json.dumps(data, indent=2))

    return edit


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small picture with some structure."""
    return draw_picture(tmp_path / "picture.png")


@pytest.fixture
def manifest_data(picture: Path, tiny_models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A manifest that runs in seconds; see `tiny_manifest`."""
    return tiny_manifest(picture, tiny_models["original"])


@pytest.fixture
def write_manifest(tmp_path: Path, manifest_data: dict[str, Any]) -> Callable[..., Path]:
    """Write the tiny manifest with changes given as `section__field=value`; `...` removes the field."""

    def write(**changes: Any) -> Path:
        for dotted, value in changes.items():
            *sections, name = dotted.split("__")
            holder = manifest_data
            for section in sections:
                holder = holder.setdefault(section, {})
            if value is ...:
                holder.pop(name)
            else:
                holder[name] = value
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps(manifest_data))
        return path

    return write


@pytest.fixture
def sana_wm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: arguments in, (exit code, standard output, standard error) out."""
    from sana_wm.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sana-wm", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
