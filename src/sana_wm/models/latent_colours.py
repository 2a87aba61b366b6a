"""Colours read off latents by a linear map: what a latent frame roughly shows, without its decoder.

The map is fitted where both are known, by ridge regression on normal equations: samples are added as they come, and can
be left out again. It knows nothing of other checkpoints and needs no table of factors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

Samples = NDArray[np.float64]

#: Weight of the ridge penalty relative to the data: 128 channels against 880 samples need a little.
RIDGE = 1e-2


@dataclass
class LatentColours:
    """The map's normal equations.

    Attributes:
        num_samples: How many tokens were added.
    """

    num_samples: int = 0
    _gram: Samples | None = field(default=None, repr=False)
    _moments: Samples | None = field(default=None, repr=False)

    def add(self, tokens: Samples, colours: Samples) -> None:
        """Add tokens (n, C) and what each shows, (n, any)."""
        samples = with_constant(tokens)
        gram, moments = samples.T @ samples, samples.T @ colours
        self._gram = gram if self._gram is None else self._gram + gram
        self._moments = moments if self._moments is None else self._moments + moments
        self.num_samples += len(tokens)

    def fit(self, without: tuple[Samples, Samples] | None = None) -> LatentMap:
        """The map of all samples.

        Args:
            without: Tokens and colours that were added and shall not count.
        """
        assert self._gram is not None
        assert self._moments is not None
        gram, moments, count = self._gram, self._moments, self.num_samples
        if without is not None:
            samples = with_constant(without[0])
            gram, moments = gram - samples.T @ samples, moments - samples.T @ without[1]
            count -= len(samples)
        penalty = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        return LatentMap(np.linalg.solve(gram + penalty, moments), np.linalg.inv(gram + penalty) * (count / len(gram)))


@dataclass(frozen=True)
class LatentMap:
    """A fitted map.

    Attributes:
        factors: (C + 1, any).
        precision: (C + 1, C + 1): what makes a token unlike those that the map was fitted on.
    """

    factors: Samples
    precision: Samples

    def colours(self, tokens: Samples) -> Samples:
        """What tokens (n, C) show, (n, any)."""
        return with_constant(tokens) @ self.factors

    def strangeness(self, tokens: Samples) -> Samples:
        """How unlike the fitted ones tokens (n, C) are, (n,): about 1 on average for those themselves.

        The leverage of each as a sample, over the mean leverage. Of a strange token the map says nothing.
        """
        samples = with_constant(tokens)
        return np.einsum("ij,jk,ik->i", samples, self.precision, samples, optimize=True)


def tokens_of(frame: torch.Tensor) -> Samples:
    """One latent frame (C, h, w) as its tokens, (h * w, C)."""
    return frame.detach().float().cpu().flatten(1).T.numpy().astype(np.float64)


def with_constant(tokens: Samples) -> Samples:
    """Tokens with a column of ones: a map has a constant, too."""
    return np.concatenate([tokens, np.ones((len(tokens), 1))], axis=1)
