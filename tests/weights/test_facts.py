from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sana_wm.names import STAGES, LayoutName, Variant
from sana_wm.weights.facts import Repository, model_facts
from sana_wm.weights.layout import FOLDERS, resolve_layout


def every_layout() -> list[tuple[tuple[Variant, LayoutName], tuple[Repository, ...]]]:
    return [
        ((variant, name), repositories)
        for variant, layouts in model_facts().layouts.items()
        for name, repositories in layouts.items()
    ]


def test_every_layout_names_its_repositories():
    repositories = {
        kind: [(repository.manifest_field, repository.repo_id) for repository in layout]
        for kind, layout in every_layout()
    }
    assert repositories == {
        ("bidirectional", "original"): [
            ("root", "Efficient-Large-Model/SANA-WM_bidirectional"),
            ("gemma_root", "Efficient-Large-Model/gemma-2-2b-it"),
        ],
        ("bidirectional", "diffusers"): [
            ("root", "Efficient-Large-Model/SANA-WM_bidirectional-diffusers"),
            ("refiner_root", "Efficient-Large-Model/SANA-WM_bidirectional-diffusers-refiner"),
        ],
        ("streaming", "original"): [
            ("root", "Efficient-Large-Model/SANA-WM_streaming"),
            ("gemma_root", "Efficient-Large-Model/gemma-2-2b-it"),
        ],
        ("streaming", "diffusers"): [
            ("root", "BBBBruce/SANA-WM_streaming-two-stage-diffusers"),
            ("gemma_root", "Efficient-Large-Model/gemma-2-2b-it"),
        ],
    }
    assert all(repository.licence for _, layout in every_layout() for repository in layout)


def test_the_files_of_a_stage_are_the_components_that_it_reads():
    root = Path("/weights")
    for (variant, name), repositories in every_layout():
        folders = {repository.manifest_field: root / repository.manifest_field for repository in repositories}
        layout = resolve_layout(
            name, folders["root"], folders.get("gemma_root"), folders.get("refiner_root"), variant=variant
        )
        for stage in STAGES:
            patterns = [
                folders[repository.manifest_field] / entry.pattern
                for repository in repositories
                for entry in repository.needed_files((stage,))
            ]
            for component in layout.of_stage(stage):
                for path in (component.config, *component.shards):
                    assert path is None or any(path.match(str(pattern)) for pattern in patterns), path


def test_the_decoder_alone_needs_the_vae_alone():
    for (variant, name), repositories in every_layout():
        needed = [entry.pattern for repository in repositories for entry in repository.needed_files(("vae_decode",))]
        assert needed == [f"{FOLDERS[variant, name].vae}/*"]


def test_the_original_layout_weighs_what_its_documentation_says():
    """Four numbers of the layout table, in GB and GiB as they stand there: 10, 2, 38 and 46."""
    sizes = {
        entry.pattern: entry.approximate_bytes for entry in model_facts().layouts["bidirectional"]["original"][0].files
    }
    assert sizes["dit/sana_wm_1600m_720p.safetensors"] // 1024**3 in (9, 10)
    assert sizes["vae/*"] // 1024**3 == 2
    assert sizes["refiner/transformer/*"] / 1000**3 == 37.75
    assert sizes["refiner/text_encoder/*"] // 1024**3 in (45, 46)


def test_checking_and_reading_facts_load_no_torch():
    code = (
        "import sys, sana_wm.weights.check, sana_wm.weights.facts, sana_wm.weights.layout; "
        "assert not {'torch', 'diffusers', 'transformers', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
