"""A wheel holds everything the package needs at run time."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

TEMPLATES = sorted(path.name for path in (ROOT / "templates").iterdir())
QUESTION = f"""
from importlib.resources import files
from sana_wm.shipped import CONFIGS, PATCHES, TEMPLATES
files_needed = [
    TEMPLATES / "preview_25f.json", TEMPLATES / "demo0_camera_321f_author_defaults.json",
    CONFIGS / "model_facts.json", PATCHES / "sana-wm-pr379-mps.patch",
    files("sana_wm") / "manifest/manifest.schema.json",
]
missing = [str(path) for path in files_needed if not path.is_file()]
assert not missing, missing
assert sorted(path.name for path in TEMPLATES.iterdir()) == {TEMPLATES}
assert list((CONFIGS / "expected_tensors").iterdir())
assert list((PATCHES / "catalogue" / "diffusers").iterdir()) and list((PATCHES / "catalogue" / "pr379").iterdir())
print(CONFIGS, PATCHES, TEMPLATES)
"""


def test_a_wheel_installed_into_an_empty_environment_has_its_data(tmp_path: Path) -> None:
    def run(*command: object) -> str:
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    pip = (sys.executable, "-m", "pip", "--quiet")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT)
    wheel = next(tmp_path.glob("*.whl"))
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "empty")
    python = tmp_path / "empty" / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", wheel)
    assert run(python, "-c", QUESTION).count(str(tmp_path / "empty")) == 3


def test_a_wheel_can_be_made_from_the_sdist(tmp_path: Path) -> None:
    def build(kind: str, source: Path) -> Path:
        command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(tmp_path / kind)]
        subprocess.run(command, check=True, capture_output=True, cwd=source)
        return next((tmp_path / kind).iterdir())

    with tarfile.open(build("sdist", ROOT)) as archive:
        archive.extractall(tmp_path, filter="data")
    source = next(path for path in tmp_path.glob("sana_wm-*") if path.is_dir())
    with zipfile.ZipFile(build("wheel", source)) as wheel:
        assert {f"sana_wm/_shipped/templates/{name}" for name in TEMPLATES} <= set(wheel.namelist())


def test_the_readme_promises_what_the_makefile_does() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target} " in readme
        assert f"\n{target}:" in makefile
    assert "make test" in (ROOT / ".ci" / "run").read_text()
