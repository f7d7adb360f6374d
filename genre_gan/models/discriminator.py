"""The discriminator of the spectral generator's latents; beside it `projected.py` has the one that hears them."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genre_gan.models.generator import N_KEYS, SpectralGANConfig
from genre_gan.models.layers import GAIN, EqualConv2d, EqualLinear, RowMixer, group_deviation
from genre_gan.models.pulse import Pulse

HEARD_CYCLES = (0.5, 1.0)  # whose phases D is told, in beats: a beat tracker knows no bars


class LatentDiscriminator(nn.Module):
    """Latents, the label, the key and the pulse to one logit for each stretch of about six frames."""

    def __init__(self, config: SpectralGANConfig, widths: tuple[int, ...] = (64, 96, 160, 256)):
        super().__init__()
        self.config = config
        self.enter = EqualConv2d(config.n_coefficients, widths[0], (1, 1), GAIN)
        self.rows = nn.Parameter(torch.zeros(widths[0], config.n_rows))
        self.beat = EqualLinear(2 * len(HEARD_CYCLES), widths[0])
        self.mixer = RowMixer(widths[0], config.n_rows)
        self.stages = nn.ModuleList([_DownStage(*pair) for pair in pairwise(widths)])
        n_rows = config.n_rows >> (len(widths) - 1)
        self.gather = EqualConv2d((widths[-1] + 1) * n_rows, widths[-1], (1, 3), GAIN)
        self.output = EqualLinear(widths[-1], 1)
        self.label_embedding = nn.Embedding(config.n_labels, widths[-1])
        self.key_embedding = nn.Embedding(N_KEYS + 1, widths[-1])
        nn.init.zeros_(self.label_embedding.weight)
        nn.init.zeros_(self.key_embedding.weight)

    def forward(self, latents: Tensor, label_ids: Tensor, key_ids: Tensor, pulse: Pulse) -> Tensor:
        """Logits Tensor[B x T/8] of latents Tensor[B x C x R x T]."""
        x = self.enter(latents.contiguous(memory_format=torch.channels_last))
        phases = pulse.phases(HEARD_CYCLES, 0, latents.shape[3], self.config.latent_rate_hz)
        beat = self.beat(phases.transpose(1, 2)).transpose(1, 2)[:, :, None]  # (B, C, 1, T)
        x = x + (self.rows[:, :, None] + beat).to(x.dtype)
        x = self.mixer(F.leaky_relu(x, 0.2))
        for stage in self.stages:
            x = stage(x)
        spread = group_deviation(x).mean((1, 2, 3), keepdim=True).expand(-1, 1, *x.shape[2:])
        x = torch.cat([x, spread], 1).flatten(1, 2)[:, :, None]  # (B, (C + 1) * R, 1, T)
        features = F.leaky_relu(self.gather(x), 0.2)[:, :, 0].transpose(1, 2).float()  # (B, T, C)
        wanted = self.label_embedding(label_ids) + self.key_embedding(key_ids)
        projection = (wanted[:, None] * features).sum(2) / math.sqrt(features.shape[2])
        return self.output(features)[..., 0] + projection


class _DownStage(nn.Module):
    """Two convolutions that halve rows and frames, beside a straight way."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.first = EqualConv2d(n_in, n_in, (3, 3), GAIN)
        self.second = EqualConv2d(n_in, n_out, (3, 3), GAIN)
        self.skip = EqualConv2d(n_in, n_out, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.first(x), 0.2)
        y = F.leaky_relu(self.second(F.avg_pool2d(y, 2)), 0.2)
        return (y + self.skip(F.avg_pool2d(x, 2))) / math.sqrt(2.0)
