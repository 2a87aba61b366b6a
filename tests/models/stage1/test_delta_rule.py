from __future__ import annotations

import pytest
import torch

from sana_wm.models.stage1.delta_rule import bmm_float32, cross, gram, read, scan, store_transition


def recurrence(keys, values, beta, decay):
    """The delta rule of one head, token by token of the formula, in float64: states read by each frame."""
    frames, _, width = keys.shape
    identity = torch.eye(width, dtype=torch.float64)
    transitions = [decay[t] * (identity - keys[t].T @ (beta[t][:, None] * keys[t])) for t in range(frames)]
    updates = [keys[t].T @ (beta[t][:, None] * values[t]) for t in range(frames)]
    forward, states = torch.zeros_like(updates[0]), []
    for t in range(frames):
        forward = transitions[t] @ forward + updates[t]
        states.append(forward)
    backward = torch.zeros_like(updates[0])
    for t in range(frames - 2, -1, -1):
        backward = transitions[t + 1] @ backward + updates[t + 1]
        states[t] = states[t] + backward
    return torch.stack(states)


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_the_scan_runs_the_recurrence_in_both_directions(frames):
    generator = torch.Generator().manual_seed(frames)
    keys, values = (torch.randn((frames, 1, 1, 9, 5), generator=generator).double() * 0.3 for _ in range(2))
    beta = torch.rand((frames, 1, 1, 9, 1), generator=generator).double()
    decay = torch.rand((frames, 1, 1), generator=generator)
    weighted_keys, weighted_values = (x.float() * beta.sqrt().float() for x in (keys, values))
    transitions = torch.empty((frames, 1, 1, 5, 5))
    store_transition(gram(weighted_keys), torch.ones(()), decay, transitions)

    states = scan(transitions.flatten(1, 2), cross(weighted_keys, weighted_values).flatten(1, 2))

    expected = recurrence(keys[:, 0, 0], values[:, 0, 0], beta[:, 0, 0, :, 0], decay[:, 0, 0].double())
    torch.testing.assert_close(states[:, 0].double(), expected, rtol=1e-5, atol=1e-6)
    queries = torch.randn((frames, 1, 1, 9, 5), generator=generator)
    out = read(queries, states[:, None])
    torch.testing.assert_close(out[:, 0, 0].double(), queries[:, 0, 0].double() @ expected, rtol=1e-5, atol=1e-5)


def test_half_precision_products_are_summed_and_kept_in_float32():
    a, b = (torch.randn((3, 40, 40), generator=torch.Generator().manual_seed(n)).bfloat16() for n in range(2))
    out = bmm_float32(a, b)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), a.double() @ b.double(), rtol=1e-5, atol=1e-5)
