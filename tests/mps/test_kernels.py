"""The tables of MPS kernels: read from the installed torch, shipped for others, and held against every op."""

from __future__ import annotations

import pytest
import torch

from mps_check.kernels import (
    KernelKind,
    installed_version,
    kernel_table,
    pack_tables,
    parse_native_functions,
    parse_release,
    shipped_tables,
    unpack_tables,
)
from sana_wm.errors import UsageError

YAML = """
- func: plain(Tensor self) -> Tensor
  dispatch:
    CPU, MPS: plain_kernel
- func: delegating.out(Tensor self, *, Tensor(a!) out) -> Tensor(a!)
  structured: True
  dispatch:
    CPU: a
    MPS: b
- func: delegating(Tensor self) -> Tensor
  structured_delegate: delegating.out
- func: generic(Tensor self) -> Tensor
  dispatch:
    CompositeExplicitAutograd: generic
  autogen: generic.out
- func: composed(Tensor self) -> Tensor
- func: missing(Tensor self) -> Tensor
  dispatch:
    CPU: only_here
"""


def test_the_kind_of_an_op_follows_its_dispatch_keys():
    assert parse_native_functions(YAML) == {
        "plain": KernelKind.MPS,
        "delegating.out": KernelKind.MPS,
        "delegating": KernelKind.MPS,
        "generic": KernelKind.COMPOSITE_EXPLICIT,
        "generic.out": KernelKind.COMPOSITE_EXPLICIT,
        "composed": KernelKind.COMPOSITE_IMPLICIT,
        "missing": KernelKind.MISSING,
    }


def test_the_shipped_tables_hold_as_many_kernels_as_the_wheels_have_symbols():
    counts = {
        version: sum(kind is KernelKind.MPS for kind in table.values()) for version, table in shipped_tables().items()
    }
    assert counts == {"2.13.0": 890, "2.14.1": 912, "2.15.0": 928}


def test_the_installed_torch_is_read_from_its_own_file_and_agrees_with_the_shipped_table():
    if installed_version() not in shipped_tables():
        pytest.skip("no table is shipped for the installed torch")
    assert kernel_table(installed_version()) == shipped_tables()[installed_version()]


def test_packing_loses_nothing():
    tables = {"1.0.0": parse_native_functions(YAML), "1.1.0": {"plain": KernelKind.MISSING}}
    assert unpack_tables(pack_tables(tables)) == tables


def test_an_unknown_release_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"got 9\.9\.9; expected .*2\.15\.0"):
        kernel_table("9.9.9")


@pytest.mark.parametrize(
    ("version", "release"), [("2.13.0+cpu", (2, 13, 0)), ("2.15.0a0", (2, 15, 0)), ("2.14.1.dev20260901", (2, 14, 1))]
)
def test_a_release_is_read_from_a_version(version, release):
    assert parse_release(version) == release


def test_what_is_no_release_is_refused():
    with pytest.raises(UsageError, match="not a torch release"):
        parse_release("latest")


def test_an_op_without_an_mps_kernel_is_found(record):
    report = record(lambda: torch.linalg.eigvals(torch.empty(4, 4, device="mps")))
    assert [found.detail for found in report.of_rule("missing-kernel")] == ["linalg_eig"]
    assert report.faults


def test_a_kernel_that_a_later_release_lost_is_found_in_that_release_only(record):
    def factorise():
        torch.cholesky(torch.empty(4, 4, device="mps"))

    assert not record(factorise, "2.13.0").of_rule("missing-kernel")
    assert record(factorise, "2.15.0").of_rule("missing-kernel")


def test_an_op_of_another_library_is_no_mps_kernel(record):
    library = torch.library.Library("sana_wm_test", "DEF")
    library.define("double(Tensor x) -> Tensor")
    library.impl("double", lambda x: x.clone(), "CompositeExplicitAutograd")
    found = record(lambda: torch.ops.sana_wm_test.double(torch.empty(4, device="mps"))).of_rule("missing-kernel")
    library._destroy()
    assert [finding.detail for finding in found] == ["sana_wm_test::double"]
