"""Every command of the README and the pages: its options exist, and what is quick is run on a tiny checkpoint."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.pages.commands import PAGES, TOP, Command, commands_of, give_inputs

Cli = Callable[..., tuple[int, str, str]]

COMMANDS = [command for page in PAGES for command in commands_of(page)]
PAGES_WITH_COMMANDS = [page for page in PAGES if any(command.is_ours for command in commands_of(page))]

#: Programs that are not ours, and why no test runs them.
OTHER_PROGRAMS = {
    "make": "sets up environments; that the target is there is looked at",
    "mv": "run with its page's commands in the long test",
    "uv": "installs from a network",
    "pipx": "installs from a network",
    "pip": "installs from a network",
    "brew": "installs from a network",
    "git": "clones from a network",
    "hf": "asks the hub",
    "export": "sets a variable of the shell",
    "cd": "changes the folder of the shell",
    "source": "changes the shell",
}
#: Commands of ours that no test runs as they stand, by the words that they begin with; their options are looked at.
NOT_RUN = {
    "--install-completion": "writes into the files of the user's shell",
    "weights download": "asks the hub for up to 100 GB; tests/weights runs it against a hub of its own",
    "weights quantize": "writes beside the weights; tests/models/refiner/test_int8.py runs it",
    "weights verify --in": "wants the folders of a download; tests/weights runs it",
    "bench": "the released sizes: half an hour on a GPU",
    "studio": "serves until it is stopped; tests/studio starts it",
    "patches apply": "wants a checkout of NVIDIA's code",
    "doctor --parity": "wants a checkout of NVIDIA's code",
}
#: Commands that compute: here with --dry-run, as they stand in the long test.
COMPUTE = ("run", "run-pipeline", "resume", "refine", "vary", "promote", "branch")
#: Commands that only the long test runs: they compute and have no --dry-run, or go on from what a page's others made.
LONG_ONLY = ("demo", "extend", "queue run", "queue retry", "compare")
#: Pages whose every command goes on from the one before it: tests/pipeline/test_first_day.py runs them.
RUN_ELSEWHERE = ("first-day.md",)
#: Videos of the released size would take the tiny networks hours.
SMALL = ["--size", "160x96"]
#: Without a question that nobody answers.
ASK = ("runs rm", "runs prune")


def begins(command: Command, beginnings: tuple[str, ...] | dict[str, str]) -> bool:
    """Whether the words behind the program begin with one of these."""
    arguments = command.words[1:]
    return any(arguments[: len(start.split())] == start.split() for start in beginnings)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_the_options_of_a_command_are_there(command: Command, sana_wm: Cli) -> None:
    program, *arguments = command.words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (TOP / "Makefile").read_text(), flags=re.MULTILINE)
        assert [word for word in arguments if "=" not in word and word not in targets] == []
    elif not command.is_ours:
        assert program in OTHER_PROGRAMS, f"{command}: neither ours nor in OTHER_PROGRAMS, with why no test runs it"
    else:
        code, out, err = sana_wm(*arguments, "--help")
        assert code == 0, f"{command}\n{err}"
        options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
        assert [option for option in options if option not in out] == [], f"{command}\n{out}"


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=lambda page: page.name)
def test_quick_commands_of_a_page_run_in_its_order(
    page: Path,
    work: Path,
    finished_run: Path,
    tiny_models: dict[str, dict[str, Any]],
    remembered_weights: dict[str, str],
    sana_wm: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if page.name in RUN_ELSEWHERE:
        pytest.skip("its commands go on from each other: tests/pipeline/test_first_day.py runs them")
    monkeypatch.chdir(work)
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, remembered_weights[name])
    for command in commands_of(page):
        if not command.is_ours or begins(command, NOT_RUN) or begins(command, LONG_ONLY):
            continue
        arguments = command.words[1:]
        given = give_inputs(command, work, finished_run, tiny_models["diffusers"])
        if begins(command, COMPUTE) and not {"--dry-run", "--queue"} & set(arguments):
            arguments = [*arguments, "--dry-run"]
        if begins(command, ASK):
            arguments = [*arguments, "--yes"]
        code, out, err = sana_wm(*arguments)
        assert code == command.exit_code, f"{command}\n{out}\n{err}"
        for path in given:
            if path.is_dir():  # it stood for a run that the page's other commands have not made here
                shutil.rmtree(path)


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=lambda page: page.name)
def test_commands_of_a_page_run_as_they_stand(
    page: Path,
    work: Path,
    finished_run: Path,
    tiny_models: dict[str, dict[str, Any]],
    shell: Callable[[str], Any],
) -> None:
    if page.name in RUN_ELSEWHERE:
        pytest.skip("tests/pipeline/test_first_day.py runs them, and looks at what they leave")
    for command in commands_of(page):
        if (command.words[0] != "mv" and not command.is_ours) or begins(command, NOT_RUN):
            continue
        give_inputs(command, work, finished_run, tiny_models["diffusers"])
        arguments = command.words
        if begins(command, ("run", "init-manifest")) and not {"--like", "--template", "--size"} & set(arguments):
            arguments = [*arguments, *SMALL]
        if begins(command, ASK):
            arguments = [*arguments, "--yes"]
        done = shell(shlex.join(arguments))
        assert done.returncode == command.exit_code, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
