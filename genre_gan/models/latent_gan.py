"""The spectral generator: a conditional GAN on the autoencoder's latents, convolutional in time, so that any length can be made.

One style and one tempo hold for a whole clip; noise at several rates varies along it. Genre and style scale the channels of
every layer (weight modulation with demodulation, Karras et al., "Analyzing and improving the image quality of StyleGAN",
2020, section 2.2), which needs no statistics over time. The tempo enters as sines and cosines of the position in cycles of
beats and bars: a steady pulse costs the generator nothing. The discriminators are projection discriminators (Miyato & Koyama,
"cGANs with projection discriminator", 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genre_gan.genres import GENRES
from genre_gan.pretrained import PretrainedModel

MIN_TEMPO_HZ, MAX_TEMPO_HZ = 1.0, 2.6  # 60 to 156 beats a minute
CYCLE_BEATS = (16.0, 8.0, 4.0, 2.0, 1.0, 0.5)
_GAIN = math.sqrt(2.0)  # keeps the variance through leaky rectifiers


@dataclass(frozen=True)
class LatentGANConfig:
    """Shape of a `LatentGenerator`.

    Attributes:
        genres: the labels, in the order of their ids.
        latent_dim, latent_rate_hz: of the autoencoder's latents, which the generator makes.
        style_dim: size of the style latent, one for a clip.
        noise_dim: channels of noise along time at each rate.
        width: channels of the layers.
        n_levels: frame rates, each twice the one before; the last is `latent_rate_hz`.
        n_layers: layers at each rate.
    """

    genres: tuple[str, ...] = GENRES
    latent_dim: int = 64
    latent_rate_hz: float = 22_050 / 256 / 8
    style_dim: int = 128
    noise_dim: int = 16
    width: int = 384
    n_levels: int = 4
    n_layers: int = 2

    @property
    def stride(self) -> int:
        """Latent frames in one frame of the slowest level: lengths are multiples of it."""
        return 2 ** (self.n_levels - 1)


class ClipLatents(NamedTuple):
    """The random numbers behind a batch of clips, all standard normal.

    Attributes:
        style: Tensor[B x style_dim].
        pulse: Tensor[B x 2], of which tempo and starting beat are made.
        noise: for each level from the slowest, Tensor[B x T/2^k x noise_dim].
    """

    style: Tensor
    pulse: Tensor
    noise: list[Tensor]


def noise_shapes(config: LatentGANConfig, n_frames: int) -> list[tuple[int, int]]:
    """Shapes of `ClipLatents.noise` without the batch axis, for `n_frames` latent frames (a multiple of `stride`)."""
    return [(n_frames >> (config.n_levels - 1 - level), config.noise_dim) for level in range(config.n_levels)]


class _Linear(nn.Module):
    """A linear layer with an equalised learning rate: weights of unit size, scaled as they are used."""

    def __init__(self, n_in: int, n_out: int, gain: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in))
        self.bias = nn.Parameter(torch.full((n_out,), bias))
        self.scale = gain / math.sqrt(n_in)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class _Conv(nn.Module):
    """The same for a convolution over the time axis of Tensor[B x C x T]."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, gain: float = 1.0, stride: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in, kernel_size))
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.scale, self.stride = gain / math.sqrt(n_in * kernel_size), stride

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight * self.scale, self.bias, self.stride, padding=(self.weight.shape[2] - 1) // 2)


class _StyleConv(nn.Module):
    """A convolution whose input channels the style scales, and whose output is brought back to unit size."""

    def __init__(self, n_in: int, n_out: int, style_dim: int, kernel_size: int, demodulate: bool = True):
        super().__init__()
        self.affine = _Linear(style_dim, n_in, bias=1.0)
        self.conv = _Conv(n_in, n_out, kernel_size)
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.affine(style)  # (B, n_in)
        weight = self.conv.weight * self.conv.scale
        x = F.conv1d(x * scale[:, :, None], weight, padding=(weight.shape[2] - 1) // 2)
        if self.demodulate:
            norm = (scale.float().square() @ weight.float().square().sum(2).T + 1e-6).rsqrt()  # (B, n_out)
            x = x * norm[:, :, None]
        return x + self.conv.bias[:, None]


class LatentGenerator(PretrainedModel):
    """Random numbers and genre weights to latents."""

    config_class = LatentGANConfig
    family = "latent-gan"

    def __init__(self, config: LatentGANConfig):
        super().__init__(config)
        width, style_dim = config.width, 2 * config.style_dim
        self.embedding = nn.Embedding(len(config.genres), config.style_dim)
        self.mapping = nn.ModuleList([_Linear(style_dim, style_dim, _GAIN) for _ in range(3)])
        self.start = nn.Parameter(torch.randn(width))
        self.inject = nn.ModuleList([_Linear(config.noise_dim + 2 * len(CYCLE_BEATS), width) for _ in range(config.n_levels)])
        self.layers = nn.ModuleList(
            [
                nn.ModuleList([_StyleConv(width, width, style_dim, 5) for _ in range(config.n_layers)])
                for _ in range(config.n_levels)
            ]
        )
        self.outputs = nn.ModuleList(
            [_StyleConv(width, config.latent_dim, style_dim, 1, demodulate=False) for _ in range(config.n_levels)]
        )

    @property
    def context(self) -> int:
        """Latent frames on either side that a frame depends on."""
        reach = sum(layer.conv.weight.shape[2] // 2 for layer in self.layers[0])  # of one level, in its own frames
        return reach * (2**self.config.n_levels - 1)

    def map_style(self, style: Tensor, weights: Tensor, label_strength: float = 1.0) -> Tensor:
        """Mapped styles Tensor[B x 2*style_dim] of style latents and genre weights Tensor[B x n_genres] (rows sum to 1).

        `label_strength` 0 hides the genre; training raises it to 1 little by little, without which a conditional GAN on few
        data collapses (Shahbazi et al., "Collapse by conditioning", 2022).
        """
        x = torch.cat([style, label_strength * (weights @ self.embedding.weight)], 1)
        x = x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()
        for layer in self.mapping:
            x = F.leaky_relu(layer(x), 0.2)
        return x

    def forward(self, latents: ClipLatents, weights: Tensor, label_strength: float = 1.0) -> Tensor:
        """Autoencoder latents Tensor[B x T x latent_dim] for genre weights Tensor[B x n_genres]."""
        return self.synthesize(latents, self.map_style(latents.style, weights, label_strength))

    def synthesize(self, latents: ClipLatents, mapped: Tensor) -> Tensor:
        """The same from mapped styles, so that they can be moved first."""
        x, output = self.start[None, :, None], None
        for level, (inject, layers, to_output) in enumerate(zip(self.inject, self.layers, self.outputs)):
            noise = latents.noise[level]
            pulse = _pulse(latents.pulse, noise.shape[1], self.config.latent_rate_hz / 2 ** (self.config.n_levels - 1 - level))
            if level:
                x = x.repeat_interleave(2, dim=2)
                output = output.repeat_interleave(2, dim=2)
            x = x + inject(torch.cat([noise, pulse], 2)).transpose(1, 2)  # (B, width, T_level)
            for layer in layers:
                x = _GAIN * F.leaky_relu(layer(x, mapped), 0.2)
            made = to_output(x, mapped)
            output = made if output is None else output + made
        return output.transpose(1, 2)


def _pulse(pulse: Tensor, n_frames: int, rate_hz: float) -> Tensor:
    """Sines and cosines of the position in each cycle of beats, Tensor[B x n_frames x 2*len(CYCLE_BEATS)].

    A cycle too quick for the frame rate, at the fastest tempo, is left at zero.
    """
    uniform = 0.5 * (1.0 + torch.erf(pulse / math.sqrt(2.0)))
    tempo_hz = MIN_TEMPO_HZ * (MAX_TEMPO_HZ / MIN_TEMPO_HZ) ** uniform[:, 0]
    time_s = (torch.arange(n_frames, device=pulse.device) + 0.5) / rate_hz
    beats = CYCLE_BEATS[0] * uniform[:, 1, None] + tempo_hz[:, None] * time_s  # (B, T)
    cycles = torch.tensor(CYCLE_BEATS, device=pulse.device)
    angle = 2 * math.pi * beats[..., None] / cycles
    audible = (MAX_TEMPO_HZ / cycles <= rate_hz / 2).to(angle.dtype)
    return torch.cat([angle.sin() * audible, angle.cos() * audible], 2)


class LatentDiscriminator(nn.Module):
    """Latents of one fixed length and a genre to one logit."""

    def __init__(self, config: LatentGANConfig, n_frames: int, width: int):
        super().__init__()
        n_stages = int(math.log2(n_frames)) - 2  # down to four frames
        widths = [min(width, (width // 2) << (stage // 2)) for stage in range(n_stages + 1)]
        self.enter = _Conv(config.latent_dim, widths[0], 1, _GAIN)
        self.stages = nn.ModuleList([_DownStage(widths[i], widths[i + 1]) for i in range(n_stages)])
        self.gather = _Linear(4 * widths[-1], widths[-1], _GAIN)
        self.judge = _Linear(widths[-1], 1)
        self.embedding = nn.Embedding(len(config.genres), widths[-1])
        nn.init.zeros_(self.embedding.weight)

    def forward(self, latents: Tensor, genre_ids: Tensor, label_strength: float = 1.0) -> Tensor:
        """Logits (B,) of latents Tensor[B x n_frames x latent_dim] and genre ids (B,)."""
        x = F.leaky_relu(self.enter(latents.transpose(1, 2)), 0.2)
        for stage in self.stages:
            x = stage(x)
        features = F.leaky_relu(self.gather(x.flatten(1)), 0.2).float()
        projection = (self.embedding(genre_ids) * features).sum(1) / math.sqrt(features.shape[1])
        return self.judge(features)[:, 0].float() + label_strength * projection


class _DownStage(nn.Module):
    """Two convolutions that halve the frame rate, beside a straight way."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.first = _Conv(n_in, n_in, 5, _GAIN)
        self.second = _Conv(n_in, n_out, 5, _GAIN)
        self.skip = _Conv(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.first(x), 0.2)
        y = F.leaky_relu(self.second(F.avg_pool1d(y, 2)), 0.2)
        return (y + self.skip(F.avg_pool1d(x, 2))) / math.sqrt(2.0)
