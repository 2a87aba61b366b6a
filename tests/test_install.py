"""What a user installs: small, without the tools of developers, and whole in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LARGEST_WHEEL_BYTES = 2 * 1000**2
#: What only developers need, and what torch often brings and nothing here uses.
NOT_FOR_USERS = {"pytest", "ruff", "pyright", "mkdocs", "mkdocs-material", "hypothesis", "hatchling", "torchvision"}


def _run(*command: object, cwd: Path, environment: dict[str, str] | None = None) -> str:
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture
def empty_home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who never ran it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SANA_", "XDG_", "PYTHON"))}
    return kept | {"HOME": str(tmp_path)}


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST_WHEEL_BYTES


def test_an_installed_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path, empty_home: dict[str, str]) -> None:
    """Its dependencies are those of this environment, by a .pth; this package's own sources are not among them."""
    environment = tmp_path / "environment"
    _run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--quiet", "--python", python, "install", "--no-deps", wheel, cwd=tmp_path)
    packages = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    link = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(packages) / "dependencies.pth").write_text(link)
    where = _run(python, "-c", "import sana_wm; print(sana_wm.__file__)", cwd=tmp_path, environment=empty_home)
    assert where.startswith(packages)
    program = environment / "bin" / "sana-wm"
    assert "Usage" in _run(program, "--help", cwd=tmp_path, environment=empty_home)
    listed = _run(program, "init-manifest", "--list-templates", cwd=tmp_path, environment=empty_home)
    names = {path.stem for path in (ROOT / "templates").glob("*.json")}
    assert names
    assert [name for name in sorted(names) if name not in listed] == []


def _required(*extras: str) -> set[str]:
    """Names of what an installation brings, one thing after the other; from this environment's own metadata."""
    known = {_plain(found.name): found for found in distributions()}
    todo, names = [("sana-wm", extra) for extra in ("", *extras)], set[str]()
    done = set[tuple[str, str]]()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in done or name not in known:
            continue
        done.add((name, extra))
        for line in known[name].requires or ():
            requirement, _, marker = line.partition(";")
            of_extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker)
            if (of_extra[1] if of_extra else "") != extra:
                continue
            wanted = re.match(r"\s*([\w.-]+)\s*(?:\[([\w,\s-]+)\])?", requirement)
            assert wanted
            needed = _plain(wanted[1])
            names.add(needed)
            todo += [(needed, ""), *((needed, part.strip()) for part in (wanted[2] or "").split(",") if part.strip())]
    return names


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_a_user_gets_no_tools_of_developers() -> None:
    needed = _required()
    assert {"torch", "diffusers", "typer"} <= needed
    assert needed & NOT_FOR_USERS == set()
    assert "pytest" in _required("dev")


def test_make_brings_them_only_where_they_are_used() -> None:
    makefile = (ROOT / "Makefile").read_text()
    rules = re.findall(r"^([\w-]+):[ ]*(.*)\n((?:\t.*\n)*)", makefile, re.MULTILINE)
    assert ("demo", "install") in [(name, needs) for name, needs, _ in rules]
    tools = [(name, needs) for name, needs, recipe in rules if re.search(r"/(ruff|pytest|pyright|mkdocs)\b", recipe)]
    assert tools
    assert [name for name, needs in tools if needs != "dev"] == []
    runtime = makefile.partition("\n$(STAMP):")[2].partition("\n\n")[0]
    assert "--editable .\n" in runtime
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert not {re.split(r"[^\w-]", line)[0].lower() for line in dependencies} & NOT_FOR_USERS


@pytest.mark.long
def test_a_wheel_alone_runs_the_demo_in_an_empty_folder(
    wheel: Path, tmp_path: Path, empty_home: dict[str, str]
) -> None:
    """From the index into an environment of its own: by uv where it is, as a user would, else by pip."""
    constraints = tmp_path / "torch.txt"
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constraints.write_text("".join(f"{line}\n" for line in lines if line.startswith("torch")))
    if uv := shutil.which("uv"):
        _run(uv, "tool", "install", "--constraints", constraints, wheel, cwd=tmp_path, environment=empty_home)
        program = tmp_path / ".local" / "bin" / "sana-wm"
        python = tmp_path / ".local" / "share" / "uv" / "tools" / "sana-wm" / "bin" / "python"
    else:
        environment = tmp_path / "environment"
        _run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
        program, python = environment / "bin" / "sana-wm", environment / "bin" / "python"
        _run(python, "-m", "pip", "--quiet", "install", "-c", constraints, wheel, cwd=tmp_path)
    question = "from importlib.metadata import distributions; print(*(d.name.lower() for d in distributions()))"
    assert not set(_run(python, "-c", question, cwd=tmp_path).split()) & NOT_FOR_USERS
    work = tmp_path / "work"
    work.mkdir()
    _run(program, "demo", "--no-open", cwd=work, environment=empty_home)
    assert (work / "runs" / "demo" / "demo.html").is_file()
