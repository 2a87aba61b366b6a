from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata

import pytest

from sana_wm import __version__
from sana_wm.cli.app import ORDER, app


def test_every_command_has_its_place_in_the_list() -> None:
    registered = {one.name for one in (*app.registered_commands, *app.registered_groups)}
    assert registered == set(ORDER)


def test_version_says_what_a_bug_report_needs_and_loads_nothing_heavy() -> None:
    question = (
        "import sys, sana_wm.cli; sys.argv = ['sana-wm', '--version']\n"
        "try: sana_wm.cli.main()\n"
        "finally: assert not {'torch', 'diffusers', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    facts = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert facts["sana-wm"] == __version__
    assert facts["python"] == platform.python_version()
    assert {name: facts[name] for name in ("torch", "diffusers", "transformers")} == {
        name: metadata.version(name) for name in ("torch", "diffusers", "transformers")
    }
    assert facts["system"].endswith(platform.machine())
    assert facts["chip"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_that_is_documented_gets_a_completion(shell: str) -> None:
    command = [sys.executable, "-m", "sana_wm", "--show-completion", shell]
    named = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # else it asks which shell we are in
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=named)
    assert f"complete_{shell}" in done.stdout
