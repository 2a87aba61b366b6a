from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sana_wm.names import STAGES
from sana_wm.weights.facts import model_facts
from sana_wm.weights.layout import resolve_layout


def test_every_layout_names_its_repositories():
    repositories = {
        name: [(repository.manifest_field, repository.repo_id) for repository in layout]
        for name, layout in model_facts().layouts.items()
    }
    assert repositories == {
        "original": [
            ("root", "Efficient-Large-Model/SANA-WM_bidirectional"),
            ("gemma_root", "google/gemma-2-2b-it"),
        ],
        "diffusers": [
            ("root", "Efficient-Large-Model/SANA-WM_bidirectional-diffusers"),
            ("refiner_root", "Efficient-Large-Model/SANA-WM_bidirectional-diffusers-refiner"),
        ],
    }


def test_the_files_of_a_stage_are_the_components_that_it_reads():
    root = Path("/weights")
    for layout_name, repositories in model_facts().layouts.items():
        folders = {repository.manifest_field: root / repository.manifest_field for repository in repositories}
        layout = resolve_layout(layout_name, folders["root"], folders.get("gemma_root"), folders.get("refiner_root"))
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
    for repositories in model_facts().layouts.values():
        needed = [entry.pattern for repository in repositories for entry in repository.needed_files(("vae_decode",))]
        assert needed == ["vae/*"]


def test_the_original_layout_weighs_what_its_documentation_says():
    """Four numbers of the layout table, in GB and GiB as they stand there: 10, 2, 38 and 46."""
    sizes = {entry.pattern: entry.approximate_bytes for entry in model_facts().layouts["original"][0].files}
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
