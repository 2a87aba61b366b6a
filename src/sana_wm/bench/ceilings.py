"""What this machine can do at most: its matrix products and its copies."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from sana_wm.bench.measure import measure


@dataclass(frozen=True)
class Ceilings:
    """Measured limits of a device.

    Attributes:
        matmul_tflops: Dense square matrix product on random data.
        copy_gb_s: Device-to-device copy, bytes read plus bytes written.
    """

    matmul_tflops: float
    copy_gb_s: float

    def as_json(self) -> dict[str, float]:
        """For the report."""
        return asdict(self)


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Measure both limits, on sizes that suit the kind of device."""
    side, copy_bytes = (1024, 2**26) if device.type == "cpu" else (8192, 2**31)
    a, b = (torch.randn((side, side), device=device, dtype=dtype) for _ in range(2))
    calls = 8
    matmul = measure(lambda: [a @ b for _ in range(calls)], device, repeats=5)
    source = torch.ones(copy_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = measure(lambda: [target.copy_(source) for _ in range(calls)], device, repeats=5)
    return Ceilings(
        matmul_tflops=calls * 2 * side**3 / matmul.seconds / 1e12,
        copy_gb_s=calls * 2 * copy_bytes / copy.seconds / 1e9,
    )
