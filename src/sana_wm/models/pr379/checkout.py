"""Upstream's code in this process: the checkout on the import path, guarded and with its replacements."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch

from sana_wm.errors import LibraryMismatchError, UsageError
from sana_wm.models.engine import EngineSetup
from sana_wm.replacements.checkout import PACKAGE, TESTED_COMMITS, CheckoutReport, require_patched


def open_checkout(root: Path, attention_dtype: torch.dtype) -> CheckoutReport:
    """Make `diffusion` importable from a patched checkout, once per process.

    Args:
        root: The checkout.
        attention_dtype: What softmax self-attention of a float32 network computes in; upstream takes bfloat16.

    Raises:
        UsageError: It is no checkout of NVlabs/Sana, or this release's patch is not applied to it.
        LibraryMismatchError: Its code is not what the patch was made for.
    """
    report = require_patched(root)
    if report.root not in sys.path:
        sys.path.insert(0, report.root)
    try:
        package = importlib.import_module(PACKAGE)
        package.install()
    except (ImportError, RuntimeError) as error:
        raise LibraryMismatchError(
            f"upstream's code in {root} cannot be used",
            got=f"{error}; commit {report.commit}",
            expected=" or ".join(commit[:7] for commit in TESTED_COMMITS),
            next_step="Check out the merge of PR #379 (git checkout 40151c8); pip install 'sana-wm[pr379]'.",
        ) from error
    package.SETTINGS.attention_dtype = attention_dtype
    return report


def checkout_root(setup: EngineSetup) -> Path:
    """Where the manifest says that the checkout lies.

    Raises:
        UsageError: It does not.
    """
    if setup.model.pr_root is None:
        raise UsageError(
            "no checkout of NVlabs/Sana is named", expected="model.pr_root", next_step="See docs/pr379.md."
        )
    return Path(setup.model.pr_root)


@contextlib.contextmanager
def without_chatter() -> Generator[None]:
    """Keep what upstream's code prints and warns of, while it is imported and built, from a table on the terminal."""
    nowhere = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        yield


def upstream(module: str) -> Any:
    """A module of the open checkout, or of the patch's package in it."""
    return importlib.import_module(module)
