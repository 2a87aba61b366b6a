"""A git checkout of NVlabs/Sana, and our patch in it: what it is, whether it may be patched, and patching it.

The patch creates the folder `sana_wm_mps` and touches nothing else.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sana_wm.errors import Problem, UsageError
from sana_wm.manifest.model import Manifest
from sana_wm.replacements.patch_format import read_patch
from sana_wm.replacements.upstream_catalogue import changed_symbols
from sana_wm.shipped import PATCHES

PACKAGE = "sana_wm_mps"
PATCH_NAME = "sana-wm-pr379-mps.patch"
REPOSITORY = "NVlabs/Sana"
#: What the patched code was run on, from import to a whole Stage 1 loop and refiner (reports/pr379).
TESTED_COMMITS = {
    "e694b27c153db3961d20404b690c9f5358cf721d": "PR #379",
    "40151c81172a981f4ba24286cf9ef4b08912f653": "the merge of PR #379",
}
#: Files that make a checkout one of NVlabs/Sana with SANA-WM in it.
LANDMARKS = (
    "diffusion/model/nets/sana_gdn_blocks_triton.py",
    "diffusion/model/nets/sana_multi_scale_video_camctrl.py",
    "diffusion/refiner/diffusers_ltx2_refiner.py",
)

_TESTED = " or ".join(f"{commit[:7]} ({what})" for commit, what in TESTED_COMMITS.items())

State = Literal["absent", "applied", "other"]


@dataclass(frozen=True)
class CheckoutReport:
    """What a checkout is.

    Attributes:
        root: Its folder.
        commit: The commit that is checked out.
        tested_as: What that commit is, if the patch was tested on it.
        changed: Files of upstream's that differ from the commit.
        state: The patch: `absent`, `applied` as this release has it, or an `other` version of it.
        differing: Files of the patch that are there and have another content.
        unknown_sources: What the patch stands for and this checkout has in another form than the tested commits.
    """

    root: str
    commit: str
    tested_as: str | None
    changed: tuple[str, ...]
    state: State
    differing: tuple[str, ...]
    unknown_sources: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything by name."""
        return asdict(self)


def load_patch() -> str:
    """The patch as it is shipped."""
    return (PATCHES / PATCH_NAME).read_text("utf-8")


def find_problems(manifest: Manifest) -> list[Problem]:
    """What keeps backend pr379 from running here: no checkout, not patched, a package missing."""
    problems: list[Problem] = []
    try:
        require_patched(Path(manifest.model.pr_root or ""))
    except UsageError as error:
        problems.append(Problem.of("model.pr_root", error))
    if find_spec("einops") is None:
        problems.append(
            Problem(
                "model.backend",
                "upstream's code needs the package einops",
                got="not installed",
                next_step="pip install 'sana-wm[pr379]'",
            )
        )
    return problems


def list_warnings(manifest: Manifest) -> list[str]:
    """What a user should know of a checkout that can be used."""
    report = inspect_checkout(Path(manifest.model.pr_root or ""))
    warnings: list[str] = []
    if report.tested_as is None:
        warnings.append(f"model.pr_root: this release was not tested with commit {report.commit[:12]}")
    if report.changed:
        warnings.append(f"model.pr_root: {', '.join(report.changed)} differ from the commit")
    return warnings


def describe_code(manifest: Manifest) -> dict[str, str]:
    """The commit of NVIDIA's code, and whether it was changed."""
    checkout = inspect_checkout(Path(manifest.model.pr_root or ""))
    return {"nvlabs_sana": checkout.commit + ("+changes" if checkout.changed else "")}


def inspect_checkout(root: Path) -> CheckoutReport:
    """Say what a checkout is; nothing is changed.

    Raises:
        UsageError: It is no git checkout, or not one of NVlabs/Sana with SANA-WM.
    """
    root = root.resolve()
    asked = _run_git(root, ("rev-parse", "--show-toplevel"))
    if asked.returncode != 0 or Path(asked.stdout.rstrip("\n")).resolve() != root:
        raise UsageError(
            f"{root} is not the root of a git checkout",
            got=(asked.stdout or asked.stderr).strip(),
            expected=f"a clone of {REPOSITORY}",
            next_step="git clone https://github.com/NVlabs/Sana, and give its folder.",
        )
    missing = [name for name in LANDMARKS if not (root / name).is_file()]
    if missing:
        raise UsageError(
            f"{root} is not a checkout of {REPOSITORY} with SANA-WM in it",
            got=f"no {missing[0]}",
            expected=_TESTED,
            next_step="Check out the merge of PR #379: git checkout 40151c8",
        )
    commit = _git(root, "rev-parse", "HEAD") or "no commit yet"
    ours = read_patch(load_patch())
    there = {name: (root / name).read_text("utf-8") for name in ours if (root / name).is_file()}
    differing = tuple(sorted(name for name, text in there.items() if text != ours[name]))
    state: State = "absent" if not there else "applied" if there == ours and not _strangers(root, ours) else "other"
    changed = tuple(line[3:] for line in (_git(root, "status", "--porcelain", "-uno") or "").splitlines())
    tested_as = TESTED_COMMITS.get(commit)
    return CheckoutReport(str(root), commit, tested_as, changed, state, differing, changed_symbols(root))


def require_patched(root: Path) -> CheckoutReport:
    """Say what a checkout is, if this release's patch is in it and its code is what the patch stands for.

    Raises:
        UsageError: It is no such checkout, the patch is not applied to it, or its code is another.
    """
    report = inspect_checkout(root)
    if report.state != "applied":
        raise UsageError(
            f"the patch is not applied to {report.root}",
            got="none" if report.state == "absent" else "another version of it",
            next_step=f"Apply it: sana-wm patches apply --checkout {report.root}",
        )
    if report.unknown_sources:
        raise UsageError(
            f"{report.root} has other code than the patch was made for",
            got=f"commit {report.commit[:12]}, in which these differ: {', '.join(report.unknown_sources)}",
            expected=_TESTED,
            next_step="Check out the merge of PR #379: git checkout 40151c8",
        )
    return report


def apply_patch(root: Path) -> CheckoutReport:
    """Create the patch's files; a checkout that has them already stays as it is.

    Raises:
        UsageError: It is no such checkout, or has another version of the patch.
    """
    before = inspect_checkout(root)
    if before.state == "applied":
        return before
    if before.state == "other":
        raise UsageError(
            f"{root} has another {PACKAGE}",
            got=", ".join(before.differing) or "more files or fewer",
            expected="none, or the files of this release",
            next_step=f"Keep your changes elsewhere, remove the folder {PACKAGE}, and apply again.",
        )
    _git_or_raise(root, "apply", "--whitespace=nowarn", "-", text=load_patch())
    return inspect_checkout(root)


def revert_patch(root: Path) -> CheckoutReport:
    """Remove the patch's files; a checkout without them stays as it is.

    Raises:
        UsageError: It is no such checkout, or the files were changed.
    """
    before = inspect_checkout(root)
    if before.state == "absent":
        return before
    if before.state == "other":
        raise UsageError(
            f"{PACKAGE} in {root} is not as this release made it",
            got=", ".join(before.differing) or "more files or fewer",
            expected="the files of this release",
            next_step=f"Keep your changes elsewhere and remove the folder {PACKAGE} yourself.",
        )
    _git_or_raise(root, "apply", "--reverse", "--whitespace=nowarn", "-", text=load_patch())
    # What Python compiled beside them is all that can be left: anything else would have been a stranger.
    shutil.rmtree(root / PACKAGE, ignore_errors=True)
    return inspect_checkout(root)


def _strangers(root: Path, ours: dict[str, str]) -> list[str]:
    """Files in the patch's folder that it does not have, compiled ones aside."""
    found = [path.relative_to(root).as_posix() for path in (root / PACKAGE).rglob("*") if path.is_file()]
    return [name for name in found if name not in ours and "__pycache__" not in name]


def _git(root: Path, *arguments: str) -> str | None:
    """Output of a git command, `None` when it fails."""
    done = _run_git(root, arguments)
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


def _git_or_raise(root: Path, *arguments: str, text: str) -> None:
    done = _run_git(root, arguments, text)
    if done.returncode != 0:
        raise UsageError(f"git {arguments[0]} failed in {root}", got=done.stderr.strip().replace("\n", "; "))


def _run_git(root: Path, arguments: tuple[str, ...], text: str | None = None) -> subprocess.CompletedProcess[str]:
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder", next_step=f"Give the folder of a clone of {REPOSITORY}.")
    try:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], input=text, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise UsageError("git is not installed", next_step="Install git; on a Mac: xcode-select --install") from error
