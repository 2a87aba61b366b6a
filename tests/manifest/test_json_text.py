"""What people write into a manifest in place of JSON, and paths as others write them: said in words, with the place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.errors import ManifestError
from sana_wm.manifest.loading import read_manifest

Write = Callable[..., Path]


def refusal(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n "version": 1, // first\n "name": "a"}', "a comment (//) in line 2, column 16"),
        ('{\n # mine\n "version": 1}', "a comment (#) in line 2, column 2"),
        ('{"version": 1, /* a */ "name": "b"}', "a comment (/*) in line 1, column 16"),
        ('{"version": 1, “name”: "a"}', "a curly quote “ in line 1, column 16"),
        ('{"name”: "a"}', "a curly quote ” in line 1, column 7"),
        ('{"version": 1,\n "name": "a”\n}', "a curly quote ” in line 2, column 12"),
        ("{'version': 1}", "a single quote ' in line 1, column 2"),
        ('{"version": 1,}', "a comma before } in line 1, column 14"),
        ('{"a": [1, 2,]}', "a comma before ] in line 1, column 12"),
        ('{"a": True}', "the word True in line 1, column 7"),
        ('{"a": None}', "Write null."),
        ('{"a": 1 "b": 2}', "no comma before"),
        ('{"a": "x\ny"}', "a line end or tab inside quotes"),
        ('{"image": "My\\ Picture.png"}', "a backslash before ' ' in line 1, column 14"),
        ('{"image": "C:\\Users\\me.png"}', "Write / between folders"),
        ('{"version": 1', "an end in the middle, in line 1, column 14"),
        ('{"a": 1} {"b": 2}', "something after the manifest's end, in line 1, column 10"),
        ('{"a":\u200b 1}', "the invisible character U+200B ZERO WIDTH SPACE in line 1, column 6"),
        ('{"a": ~/x.png}', "a path without quotes"),
        ('{"a"： 1}', "a full-width mark"),
        ('{"a": .5}', "a number that begins with ."),
        ("version: 1\n", "not valid JSON"),
        ("{\\rtf1 {}}", "RTF, formatted text"),
        ("<html></html>", "a web page"),
        ("version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        ("", "not valid JSON"),
    ],
)
def test_what_stands_in_place_of_json_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text, encoding="utf-8")
    assert said in refusal(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_manifest(write_manifest: Write, encoding: str) -> None:
    path = write_manifest()
    plain = read_manifest(path, {})
    path.write_text(path.read_text(), encoding=encoding)
    marked = read_manifest(path, {})
    assert (marked.manifest, marked.problems) == (plain.manifest, ())
    assert marked.notes


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("https://example.org/a.png", "a URL, not a path"),
        ("file:///home/me/My%20Picture.png", 'Write "/home/me/My Picture.png".'),
        ("data:image/png;base64,AA", "a data URL"),
        ("smb://nas/pictures/a.png", "Connect the volume"),
        ("$HOME/a.png", 'Write "~/a.png".'),
        ("$PICTURES/a.png", 'Write "${PICTURES}/a.png".'),
        ("My\\ Picture.png", 'Write "My Picture.png".'),
        ("'a.png'", 'Write "a.png".'),
        (" a.png", "blanks around a path"),
        ("C:\\pictures\\a.png", "a Windows path"),
    ],
)
def test_a_path_as_others_write_it_is_said_with_line_and_column(write_manifest: Write, written: str, said: str) -> None:
    path = write_manifest(input__image=written)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    problems = [problem for problem in read_manifest(path, {}).problems if problem.field == "input.image"]
    assert len(problems) == 1
    assert said in str(problems[0])
    assert " in line " in str(problems[0])


def test_an_odd_name_that_is_there_is_a_name(write_manifest: Write, tmp_path: Path) -> None:
    (tmp_path / "$HOME is here.png").touch()
    assert read_manifest(write_manifest(input__image="$HOME is here.png"), {}).problems == ()
