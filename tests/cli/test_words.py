"""Words that are no commands, and names that options had: they lead somewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.tree import commands

from sana_wm.cli.words import RENAMED, SYNONYMS, unknown_command, with_new_names

Cli = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (["run-pipline"], "Did you mean sana-wm run-pipeline?"),
        (["list"], "sana-wm runs list, sana-wm queue list, sana-wm weights list or sana-wm camera moves?"),
        (["clean"], "Did you mean sana-wm runs prune or sana-wm runs rm?"),
        (["decode"], "Did you mean sana-wm resume RUN_DIR --from vae_decode?"),
        (["weights", "fetch"], "Did you mean sana-wm weights download?"),
        (["weights", "lst"], "Did you mean sana-wm weights list?"),
        (["runs", "delete"], "Did you mean sana-wm runs rm?"),
        (["help"], "Did you mean sana-wm --help?"),
        (["xyzzy"], "expected demo, weights, "),
        (["camera", "xyzzy"], "sana-wm camera --help says what each does."),
    ],
)
def test_another_word_leads_to_the_command(sana_wm: Cli, said: list[str], meant: str) -> None:
    code, _, err = sana_wm(*said)
    assert code == 2
    assert f"there is no command {' '.join(said)}" in err
    assert meant in err


def test_a_file_where_a_command_stands_leads_to_what_takes_it(sana_wm: Cli, tmp_path: Path) -> None:
    manifest = tmp_path / "my run.json"
    manifest.touch()
    assert f"sana-wm run-pipeline '{manifest}' or sana-wm validate-manifest '{manifest}'?" in sana_wm(manifest)[2]
    assert f"sana-wm status {tmp_path}" in sana_wm(tmp_path)[2]


def test_words_lead_to_whatever_commands_there_are() -> None:
    paths = ["make-it", "weights", "weights download"]
    assert "make-it" in str(unknown_command("make-itt", "", paths))
    assert "Did you mean sana-wm weights download?" in str(unknown_command("download", "", paths))
    assert "Did you mean" not in str(unknown_command("clean", "", paths))


def test_every_word_leads_somewhere_and_hides_no_command() -> None:
    paths = [path for path, command in commands() if path and not command.hidden]
    lost = [word for word in SYNONYMS if "Did you mean" not in str(unknown_command(word, "", paths))]
    assert [word for word in lost if word not in paths] == []


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (["camera", "explain", "--action", "w-8", "--dialect", "smooth"], "Did you mean smoothed?"),
        (["camera", "explain", "--move", "pann-left:1s"], "Did you mean pan-left?"),
        (["init-manifest", "--template", "streaming_31f"], "Did you mean streaming_313f?"),
        (["resume", ".", "--from", "vae-decode"], "Did you mean vae_decode?"),
        (["init-manifest", "PICTURE", "--prompt", "p", "--preset", "standart"], "Did you mean standard?"),
        (["camera", "explain", "--acton", "w-8"], "--action"),
    ],
)
def test_a_slip_in_a_value_or_an_option_leads_to_what_was_meant(
    sana_wm: Cli, picture: Path, tmp_path: Path, said: list[str], meant: str
) -> None:
    words = [str(picture) if word == "PICTURE" else word for word in said]
    out = ["-o", str(tmp_path / "m.json")] if said[0] == "init-manifest" else []
    code, _, err = sana_wm(*words, *out)
    assert (code, meant in err) == (2, True), err


@pytest.mark.parametrize("path", [path for path, _ in commands()])
def test_the_short_word_for_help_works_everywhere(sana_wm: Cli, path: str) -> None:
    code, out, err = sana_wm(*path.split(), "-h")
    assert code == 0, err
    assert out.lower().startswith("usage: ")


def test_an_option_s_old_name_is_understood_and_said(sana_wm: Cli) -> None:
    code, out, err = sana_wm("camera", "convert", "--action", "w-8,wa-3", "--to=smoothed")
    assert (code, out) == (0, "w-8,wj-3\n")
    assert err == "note: --to of camera convert is called --as now\n"
    assert with_new_names("camera convert", ["--", "--to"]) == (["--", "--to"], [])
    assert with_new_names("camera export", ["--to", "x"]) == (["--to", "x"], [])


def test_the_new_names_are_options_and_the_old_ones_are_not() -> None:
    names = {path: {name for one in command.params for name in one.opts} for path, command in commands()}
    for (path, before), now in RENAMED.items():
        assert now in names[path]
        assert before not in names[path]
