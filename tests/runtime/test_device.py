"""What a device is told about memory, as far as it can be shown without the device."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

GIB = 1024**3


@pytest.mark.parametrize(("cap_gib", "share", "limit_gib"), [(20, 0.25, 20), (96, 1.0, 80)])
def test_the_cap_reaches_cudas_allocator(
    monkeypatch: pytest.MonkeyPatch, cap_gib: int, share: float, limit_gib: int
) -> None:
    """Through torch's own checks of its arguments: they refuse a device without an index, which is what a run has."""
    import torch

    from sana_wm.runtime.device import limit_memory

    asked: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda.memory, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * GIB))
    monkeypatch.setattr(torch._C, "_cuda_setMemoryFraction", lambda *given: asked.append(given), raising=False)
    assert limit_memory(torch.device("cuda"), cap_gib * GIB) == limit_gib * GIB
    assert asked == [(share, 0)]
