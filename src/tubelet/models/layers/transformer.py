"""Pre-norm transformer encoder on `scaled_dot_product_attention`.

Shape legend: S sequences, N tokens, D width. `nn.TransformerEncoderLayer` is not used because it
freezes the batch size on export.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.types import ConfigError


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); whole branches drop with `drop_path`."""

    def __init__(
        self, *, width: int, heads: int, mlp: int, gelu: str, norm_eps: float, drop_path: float
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(
                "a transformer's width must be a multiple of its heads",
                got=f"width {width}, heads {heads}",
            )
        self.heads, self.gelu, self.drop_path = heads, gelu, drop_path
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.fc1 = nn.Linear(width, mlp)
        self.fc2 = nn.Linear(mlp, width)

    def _attend(self, x: Tensor) -> Tensor:
        sequences, tokens, width = x.shape
        qkv = self.qkv(x).view(sequences, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(sequences, tokens, width))
        return out

    def _drop(self, branch: Tensor) -> Tensor:
        """Stochastic depth (Huang et al. 2016): drop the branch for whole sequences."""
        if not self.training or self.drop_path == 0:
            return branch
        keep = 1 - self.drop_path
        mask = torch.rand(len(branch), 1, 1, device=branch.device) < keep
        return branch * (mask / keep).to(branch.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """`(S, N, D)` → `(S, N, D)`."""
        x = x + self._drop(self._attend(self.norm1(x)))
        hidden = F.gelu(self.fc1(self.norm2(x)), approximate=self.gelu)
        return x + self._drop(self.fc2(hidden))


class Encoder(nn.Module):
    """`layers` blocks and a final norm; stochastic depth grows linearly to `drop_path`."""

    def __init__(
        self,
        *,
        width: int,
        layers: int,
        heads: int,
        mlp: int,
        gelu: str = "tanh",
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if gelu not in ("tanh", "none"):
            raise ConfigError("unknown form of GELU", expected="tanh or none (exact)", got=gelu)
        self.blocks = nn.ModuleList(
            EncoderBlock(
                width=width,
                heads=heads,
                mlp=mlp,
                gelu=gelu,
                norm_eps=norm_eps,
                drop_path=drop_path * index / max(1, layers - 1),
            )
            for index in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """`(S, N, D)` → `(S, N, D)`, normed."""
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out
