"""Layers that several networks share: weights of unit size (StyleGAN's equalised learning rate), style-modulated convolutions.

Axes: B batch, C channels, R rows of the latent grid (frequency, low to high), T frames of it (time), S style.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP_ROWS = 4  # of a batch, whose differences a discriminator sees
GAIN = math.sqrt(2.0)  # what a leaky ReLU of slope 0.2 takes away, about


class EqualLinear(nn.Module):
    """A linear layer whose weights are drawn at unit size and scaled when used, so that Adam moves all layers alike."""

    def __init__(self, n_in: int, n_out: int, gain: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in))
        self.bias = nn.Parameter(torch.full((n_out,), bias))
        self.scale = gain / math.sqrt(n_in)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class EqualConv2d(nn.Module):
    """The same for a convolution over rows and frames of Tensor[B x C x R x T].

    Rows are padded with zeros, so that their number stays; frames are too unless told otherwise.
    """

    def __init__(self, n_in: int, n_out: int, kernel_size: tuple[int, int], gain: float = 1.0, pad_frames: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in, *kernel_size))
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.scale = gain / math.sqrt(n_in * kernel_size[0] * kernel_size[1])
        self.padding = (kernel_size[0] // 2, kernel_size[1] // 2 if pad_frames else 0)

    def forward(self, x: Tensor) -> Tensor:
        return _convolve(x, self.weight * self.scale, self.bias, self.padding)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """`F.conv2d`, as a product where the kernel is a point.

    As a convolution oneDNN divides by zero in a second derivative of some sizes in bfloat16, and a single thread is slow.
    """
    if weight.shape[2:] == (1, 1):
        return F.linear(x.movedim(1, 3), weight[:, :, 0, 0], bias).movedim(3, 1)
    return F.conv2d(x, weight, bias, padding=padding)


class StyleConv2d(nn.Module):
    """A convolution whose input channels the style scales, and whose output is brought back to unit size.

    After Karras et al., "Analyzing and improving the image quality of StyleGAN" (2020), section 2.2, with the scales applied to
    the input instead of the weights, which is the same and needs no weights of its own for each clip of the batch. Frames are
    not padded: a kernel of k frames takes k - 1 of them away.
    """

    def __init__(
        self, n_in: int, n_out: int, style_dim: int, kernel_size: tuple[int, int], gain: float = 1.0, demodulate: bool = True
    ):
        super().__init__()
        self.affine = EqualLinear(style_dim, n_in, bias=1.0)
        self.conv = EqualConv2d(n_in, n_out, kernel_size, pad_frames=False)
        self.gain, self.demodulate = gain, demodulate
        self._kept: tuple[tuple[int, int], Tensor] | None = None

    def _power(self) -> Tensor:
        """Sum over the kernel of the squared weights (n_out, n_in), kept while nothing learns: half the time of a short clip."""
        weight = self.conv.weight
        if torch.is_grad_enabled():
            return weight.float().square().sum((2, 3))
        of = weight._version, weight.data_ptr()
        if self._kept is None or self._kept[0] != of:
            self._kept = of, weight.float().square().sum((2, 3))
        return self._kept[1]

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Tensor[B x n_in x R x T] and styles Tensor[B x S] to Tensor[B x n_out x R x (T - k + 1)]."""
        scale = self.affine(style) * self.conv.scale  # (B, n_in)
        x = _convolve(x * scale[:, :, None, None].to(x.dtype), self.conv.weight, None, self.conv.padding)
        bias = self.conv.bias[:, None, None].to(x.dtype)
        if not self.demodulate:
            return x + bias
        norm = self.gain * (scale.float().square() @ self._power().T + 1e-6).rsqrt()  # (B, n_out)
        return torch.addcmul(bias, x, norm[:, :, None, None].to(x.dtype))


class RowMixer(nn.Module):
    """Lets every row hear all others of its frame, each channel with weights of its own: what partials of a chord need.

    Starts as nothing added.
    """

    def __init__(self, n_channels: int, n_rows: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_channels, n_rows, n_rows))

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[B x C x R x T] to the same shape."""
        # (C, R, R) @ (B, C, R, T); channels last in memory, each of the matrices would be copied by itself
        mixed = torch.matmul(self.weight.to(x.dtype), x.contiguous())
        return torch.add(x, mixed, alpha=1.0 / math.sqrt(self.weight.shape[1]))


def group_deviation(x: Tensor) -> Tensor:
    """How much the rows of a batch differ from others of their group, Tensor[B x ...] to the same shape.

    Groups are `GROUP_ROWS` rows that follow each other, or fewer where the batch cannot be divided. A discriminator that sees
    this notices a generator that makes too few things (Karras et al., "Progressive growing of GANs" 2018, section 3).
    """
    group = math.gcd(len(x), GROUP_ROWS)
    deviation = (x.float().unflatten(0, (-1, group)).var(1, correction=0) + 1e-8).sqrt()
    return deviation.repeat_interleave(group, 0).to(x.dtype)
