"""The MPS check: fake tensors on a fake `mps` device."""
