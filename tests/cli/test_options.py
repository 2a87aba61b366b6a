"""One option has one meaning, whatever command it belongs to: read off the whole tree of commands."""

from __future__ import annotations

import typing
from collections import defaultdict
from typing import Any

from tests.cli.tree import commands, options

#: Names that a user learns once. A command whose option means something else calls it something else.
MEANINGS = {
    "--from": "STAGE",
    "--to": "STAGE",
    "--in": "DIR",
}


def kind(option: Any) -> tuple[str, str | None]:
    """What an option takes; one that may be repeated takes the same as one that may not."""
    annotation = option.type_descriptor.annotation
    while typing.get_origin(annotation) in (list, tuple):
        annotation = typing.get_args(annotation)[0]
    return str(annotation), option.metavar


def test_an_option_takes_the_same_everywhere() -> None:
    kinds: dict[str, dict[tuple[str, str | None], list[str]]] = defaultdict(lambda: defaultdict(list))
    for path, option in options():
        for name in (*option.opts, *option.secondary_opts):
            kinds[name][kind(option)].append(path)
    assert {name: dict(found) for name, found in kinds.items() if len(found) > 1} == {}


def test_a_letter_stands_for_one_option_which_always_has_it() -> None:
    spellings: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for _, option in options():
        names = tuple(sorted(option.opts, key=len))
        if len(names[0]) == 2 or any(len(name) == 2 for name in names):
            for name in names:
                spellings[name].add(names)
    for _, option in options():
        for name in option.opts:
            if name in spellings:
                spellings[name].add(tuple(sorted(option.opts, key=len)))
    assert {name: found for name, found in spellings.items() if len(found) > 1} == {}
    assert spellings["-o"] == {("-o", "--out")}


def test_words_that_others_use_for_much_have_one_meaning_here() -> None:
    found = {
        (path, name): option.metavar
        for path, option in options()
        for name in option.opts
        if name in MEANINGS and option.metavar != MEANINGS[name]
    }
    assert found == {}
    replacing = [(path, one.help) for path, one in options() if "--force" in one.opts]
    assert [(path, words) for path, words in replacing if not words.startswith("Replace")] == []
    assert len(replacing) > 3


def test_every_option_and_command_says_what_it_does() -> None:
    assert [(path, option.opts) for path, option in options() if not option.help] == []
    assert [path for path, command in commands() if not command.help] == []
