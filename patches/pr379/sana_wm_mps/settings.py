"""What the replacements may be told."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class Settings:
    """Read whenever a replacement runs.

    Attributes:
        attention_dtype: What softmax self-attention rounds queries, keys and values to. Upstream takes bfloat16 even in
            a float32 model; float32 is the exact form.
        chunk_elements: Elements of one operand while it is worked on in float32; everything longer is cut by frames.
    """

    attention_dtype: torch.dtype = torch.bfloat16
    chunk_elements: int = 2**24


SETTINGS = Settings()
