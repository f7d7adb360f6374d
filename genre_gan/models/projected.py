"""A discriminator that listens through a frozen, trained network: real and generated latents pass MusiCNN, small heads judge.

Sauer et al., "Projected GANs converge faster" (NeurIPS 2021); for loops of music Yeh, Chen & Yang, "Exploiting pre-trained
feature networks for generative adversarial networks in audio-domain loop generation" (ISMIR 2022).

Axes: B batch, C channels, T frames; F bands of MusiCNN's input, G bands of the codec.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from genre_gan.features import MUSICNN_SETTINGS, mel_frequencies
from genre_gan.models.codec import CENTRE_DB, UNIT_DB, Codec
from genre_gan.models.layers import group_deviation
from genre_gan.models.musicnn import N_MELS, FrontBranch, MusiCNN, same_padding


class MusiCNNOfLatents(nn.Module):
    """The codec's latents to MusiCNN's layers, differentiable and frozen.

    Codec and MusiCNN see different spectrograms. Between them stand an interpolation in time and a matrix of filters over power,
    which `fit` sets from music. MusiCNN's front end is written as dense products, which take more multiplications than its
    convolutions but run many times faster backwards; they are what `dtype` says, the rest is float32.
    """

    filters: Tensor
    timbre_0: Tensor
    timbre_1: Tensor

    def __init__(self, codec: Codec, musicnn: MusiCNN, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.codec, self.musicnn, self.dtype = codec, musicnn, dtype
        self.requires_grad_(False)
        self.register_buffer("filters", torch.zeros(codec.config.features.n_mels, N_MELS))  # (G, F)
        dense = [_over_all_bands(branch.conv.weight) for branch in self._branches[:2]]
        for name, weight in zip(("timbre_0", "timbre_1"), dense, strict=True):
            self.register_buffer(name, weight, persistent=False)
        self._temporal: tuple[int, Tensor] | None = None

    @property
    def _branches(self) -> list[FrontBranch]:
        """MusiCNN's front end: two branches that look at timbre, three at what happens over time."""
        return [cast(FrontBranch, branch) for branch in self.musicnn.front]

    def fit(self, log_mel: Tensor, wanted: Tensor, n_steps: int = 500) -> float:
        """Set the filters from log-mel spectrograms of the codec Tensor[n x N x G] and of MusiCNN Tensor[n x T x F].

        Returns:
            The mean absolute error that is left, in the units of MusiCNN's input.
        """
        power = self._resampled(10.0 ** ((log_mel * UNIT_DB + CENTRE_DB) / 10.0))
        n_frames = min(power.shape[1], wanted.shape[1])
        power, wanted = power[:, :n_frames], wanted[:, :n_frames]
        logarithms = nn.Parameter(_overlap(self.codec).log().to(power.device))
        optimizer = torch.optim.Adam([logarithms], 2e-2)
        generator = torch.Generator().manual_seed(0)
        for _ in range(n_steps):
            rows = torch.randint(len(power), (12,), generator=generator)
            error = ((power[rows] @ logarithms.exp() + 1.0).log10() - wanted[rows]).abs().mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        self.filters.copy_(logarithms.detach().exp())
        return float(error.detach())

    def _resampled(self, power: Tensor) -> Tensor:
        """Frames of the codec Tensor[B x N x G] at MusiCNN's frame rate, Tensor[B x T x G]."""
        ours, n_frames = self.codec.config.features, power.shape[1]
        ratio = ours.sample_rate_hz * MUSICNN_SETTINGS["hop_length"] / (MUSICNN_SETTINGS["sample_rate_hz"] * ours.hop_length)
        place = torch.arange(int((n_frames - 1) / ratio) + 1, device=power.device) * ratio
        below = place.long().clamp_max(n_frames - 2)
        return torch.lerp(power[:, below], power[:, below + 1], (place - below)[:, None])

    def log_mel(self, latents: Tensor) -> Tensor:
        """MusiCNN's input Tensor[B x T x F] of latents Tensor[B x C x R x T']."""
        return (self._resampled(self.codec.decode_power(latents)) @ self.filters + 1.0).log10()

    def forward(self, latents: Tensor) -> list[Tensor]:
        """Front end and the three middle layers, each Tensor[B x C x T], of latents Tensor[B x C x R x T']."""
        return self.layers(self.log_mel(latents))

    def layers(self, log_mel: Tensor) -> list[Tensor]:
        """The same layers of MusiCNN's own input Tensor[B x T x F]."""
        front_end = self._front_end(log_mel)
        first, second, third = self.musicnn.middle
        a = first(F.pad(front_end, (0, 0, 0, 1), value=1.0))
        b = a + second(a)
        return [front_end, a, b, b + third(b)]

    def _front_end(self, log_mel: Tensor) -> Tensor:
        x = (log_mel * self.musicnn.input_scale + self.musicnn.input_shift).to(self.dtype)  # (B, T, F)
        n_clips, n_frames, n_bands = x.shape
        over_time, peaks = x.transpose(1, 2).contiguous(), []
        for branch, weight in zip(self._branches[:2], (self.timbre_0, self.timbre_1), strict=True):
            everywhere = F.conv1d(over_time, weight.to(self.dtype), padding=weight.shape[2] // 2)
            peaks.append(everywhere.unflatten(1, (-1, branch.conv.weight.shape[0])).amax(1))
        padded = F.pad(over_time, same_padding(128)).flatten(0, 1)  # (B * F, T + 127)
        temporal = (padded @ self._toeplitz(n_frames)).view(n_clips, n_bands, n_frames, -1).amax(1)
        peaks += temporal.transpose(1, 2).split([branch.conv.out_channels for branch in self._branches[2:]], 1)
        joined = []
        for branch, peak in zip(self._branches, peaks, strict=True):
            assert branch.conv.bias is not None
            peak = (peak.float() + branch.conv.bias[:, None]) * branch.scale.sign()
            joined.append(peak.relu() * branch.scale + branch.shift)
        return torch.cat(joined, 1)

    def _toeplitz(self, n_frames: int) -> Tensor:
        """The three temporal branches for so many frames as one matrix, Tensor[(n_frames + 127) x (n_frames * C)]."""
        if self._temporal is None or self._temporal[0] != n_frames or self._temporal[1].device != self.filters.device:
            longest, parts = same_padding(128)[0], []
            frames = torch.arange(n_frames, device=self.filters.device)
            for branch in self._branches[2:]:
                kernel = branch.conv.weight[:, 0, :, 0]  # (C, k)
                matrix = torch.zeros(n_frames + 127, n_frames, len(kernel), device=kernel.device)
                offset = longest - same_padding(kernel.shape[1])[0]
                for place in range(kernel.shape[1]):
                    matrix[frames + offset + place, frames] = kernel[:, place]
                parts.append(matrix)
            self._temporal = (n_frames, torch.cat(parts, 2).flatten(1).to(self.dtype))
        return self._temporal[1]


def _over_all_bands(kernel: Tensor) -> Tensor:
    """Kernels Tensor[C x 1 x frames x bands], shifted over all bands: Tensor[(places * C) x F x frames]."""
    n_channels, _, n_frames, n_bands = kernel.shape
    n_places = N_MELS - n_bands + 1
    weight = torch.zeros(n_places, n_channels, N_MELS, n_frames)
    for place in range(n_places):
        weight[place, :, place : place + n_bands] = kernel[:, 0].transpose(1, 2)
    return weight.flatten(0, 1)


def _overlap(codec: Codec) -> Tensor:
    """Where `MusiCNNOfLatents.fit` begins: each of MusiCNN's bands hears those of the codec near to it, Tensor[G x F]."""
    settings = codec.config.features
    ours = mel_frequencies(settings.n_mels + 2, settings.sample_rate_hz / 2, settings.htk)[1:-1]
    theirs = mel_frequencies(N_MELS + 2, MUSICNN_SETTINGS["sample_rate_hz"] / 2)[1:-1]
    distance_hz = (torch.from_numpy(ours)[:, None] - torch.from_numpy(theirs)).abs()
    width_hz = 60.0 + 0.1 * torch.from_numpy(theirs)
    return (2e3 * torch.exp(-0.5 * (distance_hz / width_hz).square())).clamp_min(1e-4).float()


class ProjectedDiscriminator(nn.Module):
    """One small head for each layer of a frozen network; a hinge loss on their logits belongs to it."""

    def __init__(self, n_channels: list[int], n_labels: int, width: int = 128):
        super().__init__()
        self.heads = nn.ModuleList(_Head(n, n_labels, width) for n in n_channels)

    @torch.no_grad()
    def standardize(self, layers: list[Tensor]) -> None:
        """Set what each head takes away from its layer and divides it by, from real music."""
        for head, layer in zip(self.heads, layers, strict=True):
            cast(_Head, head).mean.copy_(layer.mean((0, 2))[:, None])
            cast(_Head, head).scale.copy_(layer.std((0, 2))[:, None] + 0.05 * layer.std())

    def pooled(self, layers: list[Tensor]) -> Tensor:
        """Mean and deviation over time of each layer's standardised channels, Tensor[B x 2C], all layers joined."""
        parts = []
        for head, layer in zip(self.heads, layers, strict=True):
            variance, mean = torch.var_mean(cast(_Head, head).standardized(layer), 2, correction=0)
            parts += [mean, (variance + 1e-4).sqrt()]
        return torch.cat(parts, 1)

    def forward(self, layers: list[Tensor], label_ids: Tensor) -> Tensor:
        """Logits Tensor[B x n] of all heads, over time and of the whole, for layers Tensor[B x C x T] and labels (B,)."""
        return torch.cat([head(layer, label_ids) for head, layer in zip(self.heads, layers, strict=True)], 1)


class _Head(nn.Module):
    mean: Tensor
    scale: Tensor

    def __init__(self, n_in: int, n_labels: int, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_in, 1))
        self.register_buffer("scale", torch.ones(n_in, 1))
        strided = [spectral_norm(nn.Conv1d(n, width, 5, 2, 2)) for n in (n_in, width, width)]
        self.layers = nn.ModuleList(strided)
        self.over_time, self.of_whole = spectral_norm(nn.Conv1d(width, 1, 1)), spectral_norm(nn.Linear(2 * width, 1))
        self.time_labels, self.whole_labels = nn.Embedding(n_labels, width), nn.Embedding(n_labels, width)
        for embedding in (self.time_labels, self.whole_labels):
            nn.init.normal_(embedding.weight, std=0.05)

    def standardized(self, layer: Tensor) -> Tensor:
        return (layer - self.mean) / self.scale

    def forward(self, layer: Tensor, label_ids: Tensor) -> Tensor:
        x = self.standardized(layer)
        for convolution in self.layers:
            x = F.leaky_relu(convolution(x), 0.2)
        pooled, size = x.mean(2), math.sqrt(x.shape[1])
        over_time = self.over_time(x)[:, 0] + (self.time_labels(label_ids)[:, :, None] * x).sum(1) / size
        of_whole = self.of_whole(torch.cat([pooled, group_deviation(pooled)], 1))
        of_whole = of_whole + (self.whole_labels(label_ids) * pooled).sum(1, keepdim=True) / size
        return torch.cat([over_time, of_whole], 1)
