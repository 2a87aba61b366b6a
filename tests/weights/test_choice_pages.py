"""The table of downloads, in the docs and by `weights list`, has the sizes, repositories and default of the facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.names import LAYOUTS, STAGES, VARIANTS, LayoutName, Stage, Variant
from sana_wm.variants import MODELS
from sana_wm.weights.facts import model_facts, published_bytes

ROOT = Path(__file__).resolve().parents[2]
DRAFTS: tuple[Stage, ...] = ("stage1", "vae_decode")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_docs_have_every_download_in_one_table(variant: Variant, layout: LayoutName) -> None:
    text = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| {variant}, `{layout}`"))
    whole, drafts = (f"{published_bytes(variant, layout, stages) / 1e9:.0f} GB" for stages in (STAGES, DRAFTS))
    assert f"| {whole} | {drafts} |" in row
    assert ("the default" in row) is (MODELS[variant].layout == layout)
    assert [one.repo_id for one in model_facts().layouts[variant][layout] if f"`{one.repo_id}`" not in row] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_list_shows_both_downloads(
    variant: Variant, sana_wm: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, out, _ = sana_wm("weights", "list", "--variant", variant, "--in", tmp_path)
    assert code == 0
    table = out.partition("layouts of the ")[2]
    for layout, repositories in model_facts().layouts[variant].items():
        said = f"{layout}{', the default' if layout == MODELS[variant].layout else ''}: about "
        assert f"{said}{published_bytes(variant, layout, STAGES) / 1e9:.2f} GB" in table
        assert [one.repo_id for one in repositories if f"{one.repo_id}, " not in table] == []
        assert all(f"licence: {one.licence}" in table for one in repositories)


def test_the_readme_says_the_size_of_the_default() -> None:
    default = published_bytes("bidirectional", MODELS["bidirectional"].layout, STAGES)
    assert f"{default / 1e9:.0f} GB" in (ROOT / "README.md").read_text(encoding="utf-8")
