"""Words that are no commands of ours but say what somebody wants, and options that had another name."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from sana_wm.errors import UsageError, nearest

#: Commands that another word may mean, with what belongs behind them; those that there are, are offered.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "add": ("queue add",),
    "branches": ("branch", "runs list"),
    "cancel": ("queue cancel",),
    "check": ("validate-manifest", "verify", "doctor"),
    "clean": ("runs prune", "runs rm"),
    "continue": ("resume", "extend"),
    "convert": ("camera convert", "weights convert"),
    "create": ("run", "init-manifest"),
    "crop": ("camera crop",),
    "decode": ("resume RUN_DIR --from vae_decode",),
    "delete": ("runs rm", "queue cancel"),
    "diff": ("compare", "runs compare", "runs list"),
    "download": ("weights download",),
    "export": ("camera export",),
    "fetch": ("weights download",),
    "generate": ("run", "run-pipeline"),
    "help": ("--help",),
    "info": ("status", "runs list"),
    "init": ("init-manifest",),
    "install": ("weights download", "doctor"),
    "jobs": ("queue list",),
    "list": ("runs list", "queue list", "weights list", "camera moves"),
    "ls": ("runs list", "queue list"),
    "make": ("run", "run-pipeline"),
    "models": ("weights list",),
    "move": ("camera moves",),
    "moves": ("camera moves",),
    "new": ("run", "init-manifest"),
    "pause": ("queue pause",),
    "preview": ("camera preview", "run-pipeline"),
    "progress": ("status",),
    "prune": ("runs prune",),
    "refiner": ("refine", "resume RUN_DIR --from refiner"),
    "remove": ("runs rm", "queue cancel"),
    "render": ("run", "run-pipeline"),
    "retry": ("queue retry", "resume"),
    "rm": ("runs rm",),
    "seeds": ("vary", "init-manifest --like RUN_DIR --seed"),
    "setup": ("doctor", "weights download"),
    "show": ("status", "report", "runs list"),
    "start": ("run", "run-pipeline", "queue run"),
    "stop": ("queue pause", "queue cancel"),
    "templates": ("init-manifest --list-templates",),
    "test": ("demo", "doctor"),
    "upscale": ("refine", "promote", "resume RUN_DIR --from refiner"),
    "use": ("weights use", "weights list"),
    "validate": ("validate-manifest",),
    "variations": ("vary", "init-manifest --like RUN_DIR"),
    "version": ("--version",),
    "watch": ("status RUN_DIR --watch",),
}

#: Commands for a file that was named where a command stands, by its suffix.
FILE_COMMANDS: Mapping[str, tuple[str, ...]] = {
    ".json": ("run-pipeline", "validate-manifest"),
    ".mp4": ("vary", "init-manifest --like"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".heic", ".webp", ".avif"), ("run", "init-manifest")),
}
FOLDER_COMMANDS = ("status", "resume", "report")

#: Options that had another name once; it is still understood, and said.
RENAMED: Mapping[tuple[str, str], str] = {
    ("init-manifest", "--from"): "--like",
    ("weights download", "--to"): "--in",
    ("patches apply", "--to"): "--checkout",
    ("camera convert", "--to"): "--as",
    ("report", "--output"): "--out",
}


def unknown_command(word: str, group: str, paths: Collection[str]) -> UsageError:
    """What to say of a word that is no command.

    Args:
        word: What stands where a command should.
        group: The group's path, such as `weights`; empty for the program itself.
        paths: All commands that there are, by their path, such as `weights download`.
    """
    siblings = [path.removeprefix(f"{group} ") for path in paths if path.startswith(group)]
    siblings = [name for name in siblings if " " not in name]
    meant = _meant(word, group, paths)
    if not meant and (near := nearest(word, siblings)) is not None:
        meant = [f"{group} {near}".strip()]
    return UsageError(
        f"there is no command {f'{group} {word}'.strip()}",
        expected=None if meant else ", ".join(siblings),
        next_step=f"Did you mean {_joined([f'sana-wm {one}' for one in meant])}?"
        if meant
        else f"sana-wm {f'{group} --help'.strip()} says what each does.",
    )


def with_new_names(command: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments of a command with the names that its options have now, and what a user should be told of it."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    renamed, told = list(arguments), list[str]()
    for place, argument in enumerate(arguments[:end]):
        option, equals, value = argument.partition("=")
        if (now := RENAMED.get((command, option))) is not None:
            renamed[place] = f"{now}{equals}{value}"
            told.append(f"{option} of {command} is called {now} now")
    return renamed, told


def _meant(word: str, group: str, paths: Collection[str]) -> list[str]:
    """Commands that somebody may have meant; of the group where it has some."""
    path = Path(word)
    if path.exists():
        candidates = FOLDER_COMMANDS if path.is_dir() else FILE_COMMANDS.get(path.suffix.lower(), ())
        return [f"{one} {shlex.quote(word)}" for one in candidates if _command_of(one) in paths]
    meant = [one for one in SYNONYMS.get(word.lower(), ()) if not _command_of(one) or _command_of(one) in paths]
    return [one for one in meant if group and one.startswith(f"{group} ")] or meant


def _command_of(said: str) -> str:
    """The command's path, without the arguments behind it."""
    return " ".join(itertools.takewhile(lambda word: word.islower() and not word.startswith("-"), said.split()))


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
