"""What a device's fused attention kernels need: it decides how much memory attention takes."""

from __future__ import annotations

from dataclasses import dataclass

# PyTorch's Metal kernels by head dim, the same list in 2.13.0, 2.14.1 and 2.15.0 (read from the wheels' metallib).
MPS_FLASH_HEAD_DIMS = (32, 64, 72, 80, 96, 128, 256)
#: macOS aborts GPU work that keeps the display waiting for some seconds, and torch goes on without an error (pytorch
#: #193571, ml-explore/mlx #3267 and #3302): a third of a second at the 3.5 TFLOP/s of an M3 Max, two on a first M1.
MPS_DISPATCH_FLOP = 1e12


#: Query rows are cut at multiples of this, where kernels begin a new tile anyway.
ROW_STEP = 128


@dataclass(frozen=True)
class KernelRules:
    """What a device's fused kernel needs.

    Attributes:
        head_dims: Head dims that have a kernel, ascending; `None`: every one.
        fold_scale: Whether the kernel rounds `scale * log2(e)` to the dtype of the query, so that the scale has to be
            multiplied into the query beforehand.
        dispatch_flop: The most arithmetic that one call of the kernel may be; `None`: any amount.
    """

    head_dims: tuple[int, ...] | None = None
    fold_scale: bool = False
    dispatch_flop: float | None = None

    def kernel_head_dim(self, head_dim: int) -> int | None:
        """The head dim to pad `head_dim` to, or `None` when no kernel is wide enough."""
        if self.head_dims is None:
            return head_dim
        return next((wide for wide in self.head_dims if wide >= head_dim), None)

    def query_rows(self, batch_heads: int, queries: int, keys: int, head_dim: int) -> int:
        """Query rows that one call of the kernel may take, of `queries`."""
        if self.dispatch_flop is None:
            return queries
        rows = int(self.dispatch_flop / (4 * batch_heads * keys * head_dim))
        return min(queries, max(ROW_STEP, rows - rows % ROW_STEP))


def kernel_rules(device_type: str, torch_version: str) -> KernelRules:
    """The rules of a device type in a torch release.

    Torch 2.13 on MPS rounds `scale * log2(e)` to bfloat16, which makes logits 0.29 % too large for head dim 112;
    2.14 scales in float32.
    """
    if device_type != "mps":
        return KernelRules()
    release = tuple(int(part) for part in torch_version.split(".")[:2])
    return KernelRules(MPS_FLASH_HEAD_DIMS, fold_scale=release < (2, 14), dispatch_flop=MPS_DISPATCH_FLOP)
