"""Walk a new user's first hour in an empty home, and write the transcript: `python tests/first_hour.py --uv PATH`.

Two roads: uv alone, from a git address and in an empty folder; make alone, in an empty clone. What the hub would send
cannot be had everywhere: a tiny checkpoint stands in for it, and the record says so.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "reports" / "first-hour.json"
STEP_S = 1800
#: What only developers need; none of it may come with an installation.
TOOLS = ("pytest", "ruff", "pyright", "mkdocs", "hypothesis", "hatchling")
#: What a program for pictures does not need, and often comes with torch.
UNNEEDED = ("torchvision", "torchaudio")
RUN = 'run street.png --prompt "A quiet street." --fov-deg 70 --move push-in:1s --size 160x96'
#: The network of this machine, not of the user.
PASSED_ON = ("PATH", "LANG", "SSL_CERT_FILE", "UV_FIND_LINKS", "UV_HTTP_TIMEOUT", "OMP_NUM_THREADS")
PASSED_ON_OF = ("PIP_", "HTTP", "http", "NO_PROXY", "no_proxy")


class Road:
    """One way from nothing to a first run.

    Args:
        folder: Empty; home and working folder are made in it.
        program: How the user calls the program.
        shown: What stands in the record instead of addresses and paths of this machine.
    """

    def __init__(self, folder: Path, program: str, shown: dict[str, str]) -> None:
        self.home, self.work = folder / "home", folder / "work"
        self.home.mkdir(parents=True)
        self.work.mkdir()
        self.program = program
        self.steps: list[dict[str, Any]] = []
        self._shown = {str(self.work): ".", str(self.home): "~", **shown}
        keep = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_OF)}
        self._environment = keep | {"HOME": str(self.home), "PATH": f"{self.home}/.local/bin:{keep['PATH']}"}

    def type(self, command: str, instead_of: str | None = None, *, is_counted: bool = True) -> str:
        """Run a line as a shell would; returns what it printed.

        Args:
            command: The line.
            instead_of: What a user types there, where this machine cannot.
            is_counted: Whether a user types it on the way; what only looks is not counted.
        """
        print(f"$ {command}", flush=True)
        begun = time.monotonic()
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.work,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=STEP_S,
            check=False,
        )
        seconds = round(time.monotonic() - begun, 1)
        lines = [line for line in (done.stdout or done.stderr).splitlines() if line.strip()]
        step = {
            "command": self._show(instead_of or command),
            **({"run_here_instead": self._show(command)} if instead_of else {}),
            "is_counted": is_counted,
            "exit_code": done.returncode,
            "seconds": seconds,
            "last_lines": [self._show(line) for line in lines[-8:]],
        }
        self.steps.append(step)
        print(f"  exit code {done.returncode}, {seconds} s", *lines[-8:], sep="\n  ", flush=True)
        if done.returncode:
            raise SystemExit(f"this step of the first hour failed: {command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def ask_for_packages(self, python: str) -> dict[str, Any]:
        """What the installation brought, and that no tool of developers is among it."""
        question = "from importlib.metadata import distributions; print(*{d.name.lower() for d in distributions()})"
        names = self.type(f'{python} -c "{question}"', is_counted=False).split()
        self.steps.pop()
        found = sorted({*TOOLS, *UNNEEDED} & set(names))
        if found:
            raise SystemExit(f"the installation brought what no user needs: {', '.join(found)}")
        return {"packages": len(names), "of_these_for_developers": found, "torchvision": "torchvision" in names}

    def walk(self) -> None:
        """From the demo to a first run."""
        if not (self.work / "runs" / "demo" / "demo.html").is_file():
            raise SystemExit("the demo left no page")
        shutil.copy(self.work / "runs" / "demo" / "road.png", self.work / "street.png")
        tiny = self.work / "tiny"
        self.type(f"{self.program} weights tiny --layout diffusers --out {tiny}", is_counted=False)
        self.type(f"{self.program} weights use {tiny}", instead_of=f"{self.program} weights download")
        self.type(f"{self.program} {RUN}")

    def describe(self) -> dict[str, Any]:
        """The road for the record; the first run's commands count the demo's."""
        counted = [step["command"] for step in self.steps if step["is_counted"]]
        return {
            "commands_to_the_demo": next(at for at, text in enumerate(counted, 1) if text.endswith(" demo")),
            "commands_to_a_first_real_run": len(counted),
            "seconds_in_all": round(sum(step["seconds"] for step in self.steps), 1),
            "steps": self.steps,
        }

    def _show(self, text: str) -> str:
        for path, shown in self._shown.items():
            text = text.replace(path, shown)
        return text


def walk_with_uv(folder: Path, uv: Path, constraints: Path) -> Road:
    """`uv tool install` from a git address, in an empty folder."""
    source = f"git+file://{ROOT}"
    road = Road(folder, "sana-wm", {source: "git+ADDRESS", str(uv): "uv", f" --constraints {constraints}": ""})
    road.type(f"{uv} tool install --python 3.11 --constraints {constraints} {source}")
    python = road.home / ".local" / "share" / "uv" / "tools" / "sana-wm" / "bin" / "python"
    road.steps[0] |= road.ask_for_packages(str(python))
    road.type("sana-wm demo")
    road.walk()
    return road


def walk_with_make(folder: Path) -> Road:
    """`make demo` in an empty clone."""
    road = Road(folder, ".venv/bin/sana-wm", {f"file://{ROOT}": "ADDRESS"})
    road.type(f"git clone --quiet file://{ROOT} sana-wm")
    road.work /= "sana-wm"
    road.steps[0]["command"] += " && cd sana-wm"
    road.type("make demo")
    road.steps[1] |= road.ask_for_packages(".venv/bin/python")
    road.walk()
    return road


def main() -> None:
    """Walk the roads, each in a folder that goes again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", type=Path, help="uv's program; without it only make is tried")
    parser.add_argument("--only", choices=("uv", "make"), help="one road only; the other's record stays")
    parser.add_argument("--out", type=Path, default=RECORD)
    arguments = parser.parse_args()
    before = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    roads: dict[str, Any] = before.get("roads", {})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        constraints = folder / "torch.txt"
        constraints.write_text("torch==2.13.0\n")
        for name in ("uv", "make"):
            if arguments.only not in (None, name) or (name == "uv" and arguments.uv is None):
                continue
            road = (
                walk_with_uv(folder / name, arguments.uv, constraints)
                if name == "uv"
                else walk_with_make(folder / name)
            )
            roads[name] = {"date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(), **road.describe()}
            record = {
                "what": "a new user's first hour from an empty home: with uv alone, with make alone in a clone",
                "command": "python tests/first_hour.py --uv PATH",
                "hardware": f"{platform.machine()}, {os.cpu_count()} cores, no GPU, shared with other work; packages "
                "from a mirror and torch's CPU build (2.13.0, named for this machine alone) from its disk",
                "python": sys.version.split()[0],
                "not_tried": "downloading the released weights and a run with them: a tiny checkpoint stands in; a Mac",
                "roads": roads,
            }
            arguments.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
