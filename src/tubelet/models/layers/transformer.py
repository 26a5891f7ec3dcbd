"""Tubelet embedding, and a pre-norm transformer encoder on `scaled_dot_product_attention`.

Shape legend: B clips, S sequences, N tokens, D width. `nn.TransformerEncoderLayer` is not used
because it freezes the batch size on export.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.errors import ConfigError, ShapeError


class TubeletEmbedding(nn.Conv3d):
    """One embedding for each tubelet: `(B, 3, T, H, W)` → `(B, D, t, h, w)`; sides are zero-padded
    to whole tubelets, or without `pad` cut to them. Raises ShapeError unless the frames fill whole
    tubelets."""

    def __init__(self, *, width: int, tubelet: tuple[int, int, int], pad: bool = True) -> None:
        if tubelet[1] != tubelet[2]:
            raise ConfigError("tubelets are square", expected="equal sides", got=tubelet)
        super().__init__(3, width, tubelet, tubelet)
        self._pad = pad

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the base class's own word
        step, high, wide = self.kernel_size
        frames, height, width = input.shape[2:]
        if frames % step:
            raise ShapeError(
                "the clip does not fill whole tubelets",
                expected=f"a multiple of {step} frames",
                got=f"{frames} frames",
            )
        if not self._pad:  # a convolution leaves out what fills no kernel
            return super().forward(input)
        return super().forward(F.pad(input, (0, -width % wide, 0, -height % high)))


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); whole branches drop with `drop_path`.

    `key_bias` False: only queries and values have a bias (BEiT, VideoMAE, UMT). `layer_scale`: a
    learnt factor per channel on each branch, starting at that value; None for no factor.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        mlp: int,
        gelu: str,
        norm_eps: float,
        drop_path: float,
        key_bias: bool = True,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(
                "a transformer's width must be a multiple of its heads",
                got=f"width {width}, heads {heads}",
            )
        self.heads, self.gelu, self.drop_path = heads, gelu, drop_path
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.qkv = nn.Linear(width, 3 * width, bias=key_bias)
        self.key_bias = key_bias
        if not key_bias:
            self.q_bias = nn.Parameter(torch.zeros(width))
            self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.fc1 = nn.Linear(width, mlp)
        self.fc2 = nn.Linear(mlp, width)
        self.scaled = layer_scale is not None
        if layer_scale is not None:
            self.scale1 = nn.Parameter(torch.full((width,), layer_scale))
            self.scale2 = nn.Parameter(torch.full((width,), layer_scale))

    def _project(self, x: Tensor) -> Tensor:
        """Queries, keys and values of `(S, N, D)`, side by side: `(S, N, 3D)`."""
        out: Tensor = self.qkv(x)
        if self.key_bias:
            return out
        return out + torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])

    def _attend(self, x: Tensor) -> Tensor:
        sequences, tokens, width = x.shape
        qkv = self._project(x).view(sequences, tokens, 3, self.heads, width // self.heads)
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
        mixed = self._attend(self.norm1(x))
        x = x + self._drop(mixed * self.scale1 if self.scaled else mixed)
        hidden = self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate=self.gelu))
        return x + self._drop(hidden * self.scale2 if self.scaled else hidden)


class Encoder(nn.Module):
    """`layers` blocks and a final norm; stochastic depth grows linearly to `drop_path`.

    `final_eps`: of the final norm, `norm_eps` if None. The rest as in `EncoderBlock`.
    """

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
        key_bias: bool = True,
        layer_scale: float | None = None,
        final_eps: float | None = None,
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
                key_bias=key_bias,
                layer_scale=layer_scale,
            )
            for index in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps if final_eps is None else final_eps)

    def forward(self, x: Tensor, *, mean: bool = False) -> Tensor:
        """`(S, N, D)` → `(S, N, D)`, normed; or with `mean` the normed mean of the tokens,
        `(S, 1, D)`: a pooled classifier's norm comes after its mean."""
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x.mean(dim=1, keepdim=True) if mean else x)
        return out
