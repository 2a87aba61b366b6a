"""A wheel holds everything the package needs at run time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

QUESTION = """
from importlib.resources import files
package = files("sana_wm")
names = [
    "templates/preview_25f.json", "templates/demo0_camera_321f_author_defaults.json",
    "manifest/manifest.schema.json", "configs/model_facts.json",
]
missing = [name for name in names if not (package / name).is_file()]
assert not missing, missing
assert len([item for item in (package / "templates").iterdir() if item.name.endswith(".json")]) == 8
assert list((package / "configs" / "expected_tensors").iterdir())
print(package)
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
    assert str(tmp_path / "empty") in run(python, "-c", QUESTION)


def test_the_readme_promises_what_the_makefile_does() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target} " in readme
        assert f"\n{target}:" in makefile
    assert "make test" in (ROOT / ".ci" / "run").read_text()
