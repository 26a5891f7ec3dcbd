"""Batch norm of a few rows: of people or of clips, of which a batch may have one or none.

Shape legend: N rows, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RowNorm(nn.BatchNorm1d):
    """Batch norm of rows `(N, C)` or `(N, C, P)`.

    A single row has no variance, and none has not even a mean: in training, one row moves the
    running statistics and is normalised by them, no row leaves them alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`x`, each channel with mean 0 and variance 1 over the rows, then scaled and shifted."""
        if not self.training or x.numel() > self.num_features:
            normed: Tensor = super().forward(x)
            return normed
        if len(x) == 0:  # nothing to normalise, but a gradient for every parameter
            return x + 0 * (self.weight.sum() + self.bias.sum())
        mean, var = self.running_mean, self.running_var
        assert mean is not None and var is not None
        with torch.no_grad():
            share = 0.1 if self.momentum is None else self.momentum
            row = x.detach().reshape(-1).to(mean.dtype)
            var.lerp_((row - mean).square(), share)
            mean.lerp_(row, share)
        # Copies: a later row of the same step would change what the backward pass needs.
        return F.batch_norm(
            x, mean.clone(), var.clone(), self.weight, self.bias, False, 0.0, self.eps
        )
