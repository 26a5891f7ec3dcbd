"""Conv3d whose kernels of one frame run as 2D convolutions on the CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.numerics.layers import exporting, left_by_torch, may_crash


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` with the same parameters and results.

    A 1×k×k kernel sees each frame by itself, so on the CPU time is folded into the batch and
    the convolution runs in 2D. Besides being faster, this steers clear of oneDNN's bf16 kernels:
    with AMX, torch 2.13's weight gradient of a bf16 1×7×7 Conv3d of stride 2 is NaN. A shape that
    could crash the process in bf16 runs in fp32 on the CPU.

    A result of one cell a frame is not folded: it could lie in memory either way, and torch 2.13's
    CPU batch norm computes a wrong gradient, silently, where its input and what comes back lie
    differently.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the parent's name)
        if input.device.type == "cpu" and may_crash(self):
            return self._whole(input)
        if exporting():  # other engines have their own ways
            return super().forward(input)
        if left_by_torch(self, input):
            return self._by_onednn(input)
        one_frame = self.kernel_size[0] == 1 and self.stride[0] == 1 and self.padding[0] == 0
        if input.device.type != "cpu" or not one_frame or isinstance(self.padding, str):
            return super().forward(input)
        if self._one_cell(input):
            return super().forward(input)
        batch, _, frames, _, _ = input.shape
        flat = F.conv2d(
            input.transpose(1, 2).flatten(0, 1),
            self.weight[:, :, 0],
            self.bias,
            self.stride[1:],
            self.padding[1:],
            self.dilation[1:],
            self.groups,
        )
        return flat.reshape(batch, frames, *flat.shape[1:]).transpose(1, 2)

    def _one_cell(self, x: Tensor) -> bool:
        """Whether the result is a single cell in space."""
        assert isinstance(self.padding, tuple)
        axes = (1, 2)
        reach = [self.dilation[a] * (self.kernel_size[a] - 1) - 2 * self.padding[a] for a in axes]
        return all(
            (x.shape[2 + a] - r - 1) // self.stride[a] == 0
            for a, r in zip(axes, reach, strict=True)
        )

    def _by_onednn(self, x: Tensor) -> Tensor:
        assert isinstance(self.padding, tuple)
        return torch.mkldnn_convolution(
            x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )

    def _whole(self, x: Tensor) -> Tensor:
        """In fp32, also where the weights are not; the result has the type it would have had."""
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast("cpu", enabled=False):
            whole: Tensor = self._conv_forward(x.float(), self.weight.float(), bias)
        return whole.to(kind)
