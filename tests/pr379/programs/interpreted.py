"""`golden.py --stock` where there is no card: upstream's Triton kernels in Triton's interpreter, on the CPU.

`TRITON_INTERPRET=1 python interpreted.py CHECKOUT GOLDEN --dtype bfloat16`. Two things stand in the way of bfloat16
there and are put right: the interpreter multiplies the bits of bfloat16 operands as whole numbers, and upstream refuses
to make the grid of its rays in bfloat16 on a CPU, so it is made in float32 and rounded, as a card rounds it.
"""

from __future__ import annotations

import sys
from typing import Any

import golden
import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter

GRIDS = "diffusion.model.nets.sana_camctrl_blocks"


def multiply_numbers() -> None:
    """Let the interpreter's `dot` read bfloat16 operands as numbers; refuse what else it would read as bits."""
    builder: Any = interpreter.InterpreterBuilder
    binary_op = builder.binary_op

    def numbers(operand: Any) -> Any:
        if operand.dtype.scalar != tl.bfloat16:
            return operand.data
        return (operand.data.astype(np.uint32) << 16).view(np.float32)

    def create_dot(_self: Any, a: Any, b: Any, total: Any, _precision: Any, _imprecise: Any) -> Any:
        product = np.matmul(numbers(a), numbers(b), dtype=total.data.dtype)
        return interpreter.TensorHandle(product + total.data, total.dtype.scalar)

    def checked(self: Any, left: Any, right: Any, operation: Any) -> Any:
        if left.dtype.scalar == tl.bfloat16:
            raise RuntimeError(f"the interpreter would take {operation.__name__} of the bits of bfloat16 numbers")
        return binary_op(self, left, right, operation)

    builder.create_dot, builder.binary_op = create_dot, checked


class InterpretedForm(golden.Form):
    """Upstream's code with its own kernels, interpreted."""

    def __init__(self, *, stock: bool, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(stock=stock, device=device, dtype=dtype)
        import importlib

        blocks: Any = importlib.import_module(GRIDS)
        create_grid = blocks.create_grid

        def rounded_grid(*arguments: Any, dtype: torch.dtype, **options: Any) -> torch.Tensor:
            return create_grid(*arguments, dtype=torch.float32, **options).to(dtype)

        blocks.create_grid = rounded_grid


if __name__ == "__main__":
    multiply_numbers()
    golden.Form = InterpretedForm
    sys.argv.append("--stock")
    golden.main()
