"""Log-mel spectrograms to a short latent and back: what the spectral generator works on.

The generator then has 64 values at 10.8 Hz to invent instead of 96 at 86 Hz, as in Musika (Pasini & Schlüter, ISMIR 2022).
The way there is linear: the principal components of patches of eight frames, which cost no training. The way back adds what a
network knows of the components that were dropped. It is convolutional over time with finite context, so any length can be
decoded in pieces without seams.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genre_gan.features import FeatureConfig
from genre_gan.models.vocoder import ConvNeXtBlock, mel_features
from genre_gan.pretrained import PretrainedModel

WHITENING = 0.5  # 1 gives every component the same size, 0 its natural one


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of an `Autoencoder`.

    Attributes:
        features: the log-mel settings.
        latent_dim: values in one latent frame.
        widths: channels of the network at each frame rate, from the mel's own downwards; each further one halves the rate.
        n_blocks: ConvNeXt blocks at each rate.
        expansion: of each block's inner width.
    """

    features: FeatureConfig = field(default_factory=mel_features)
    latent_dim: int = 64
    widths: tuple[int, ...] = (160, 256, 384, 384)
    n_blocks: int = 2
    expansion: int = 2

    @property
    def stride(self) -> int:
        """Mel frames in one latent frame."""
        return 2 ** (len(self.widths) - 1)

    @property
    def latent_rate_hz(self) -> float:
        return self.features.frame_rate_hz / self.stride


class Autoencoder(PretrainedModel):
    """Linear encoder, set by `fit_components`; decoder of the same components and a network that refines what they give."""

    config_class = AutoencoderConfig
    family = "autoencoder"

    def __init__(self, config: AutoencoderConfig):
        super().__init__(config)
        widths, patch = config.widths, config.stride * config.features.n_mels
        self.register_buffer("mean", torch.zeros(patch))
        self.register_buffer("components", torch.zeros(config.latent_dim, patch))
        self.register_buffer("scale", torch.ones(config.latent_dim))
        climb: list[nn.Module] = [_TimeConv(config.latent_dim, widths[-1], 3)]
        for level in reversed(range(1, len(widths))):
            climb += [ConvNeXtBlock(widths[level], config.expansion * widths[level], 0.5) for _ in range(config.n_blocks)]
            climb.append(_Up(widths[level], widths[level - 1]))
        self.climb = nn.Sequential(*climb)
        self.look = _TimeConv(config.features.n_mels, widths[0], 3)
        self.refine = nn.Sequential(
            *[ConvNeXtBlock(widths[0], config.expansion * widths[0], 0.5) for _ in range(config.n_blocks)],
            nn.LayerNorm(widths[0]),
            nn.Linear(widths[0], config.features.n_mels),
        )
        nn.init.zeros_(self.refine[-1].weight)
        nn.init.zeros_(self.refine[-1].bias)

    @property
    def context(self) -> int:
        """Latent frames on either side that a decoded frame depends on."""
        n_levels, n_blocks = len(self.config.widths), self.config.n_blocks
        reach = 1 + 3 * n_blocks
        for _ in range(n_levels - 1):
            reach = 2 * reach + 1 + 3 * n_blocks  # in frames of the next, faster level
        return -(-reach // self.config.stride)

    @torch.no_grad()
    def fit_components(self, log_mel: Tensor) -> float:
        """Set the components from normalised log-mel Tensor[B x T x n_mels]; the share of variance that they keep comes back."""
        patches = self._to_patches(log_mel).flatten(0, 1).double()
        mean = patches.mean(0)
        covariance = (patches - mean).T @ (patches - mean) / len(patches)
        variances, vectors = torch.linalg.eigh(covariance)  # ascending
        variances, vectors = variances.flip(0)[: self.config.latent_dim], vectors.flip(1)[:, : self.config.latent_dim]
        vectors = vectors * vectors.sum(0).sign()  # eigenvectors have no sign of their own
        scale = variances.clamp_min(1e-12).sqrt() ** WHITENING
        scale = scale * (variances / scale**2).mean().sqrt()  # latents of unit size on the whole
        for buffer, value in ((self.mean, mean), (self.components, vectors.T), (self.scale, scale)):
            buffer.copy_(value)
        return float(variances.sum() / covariance.trace())

    def _to_patches(self, log_mel: Tensor) -> Tensor:
        return log_mel.unflatten(1, (-1, self.config.stride)).flatten(2)  # (B, T/stride, stride * n_mels)

    def encode(self, log_mel: Tensor) -> Tensor:
        """Latents Tensor[B x T/stride x latent_dim] of normalised log-mel Tensor[B x T x n_mels]; T a multiple of `stride`."""
        return (self._to_patches(log_mel) - self.mean) @ self.components.T / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised log-mel Tensor[B x T*stride x n_mels] of latents Tensor[B x T x latent_dim]."""
        coarse = self.decode_components(latents)
        return coarse + self.refine(self.climb(latents) + self.look(coarse))

    def decode_components(self, latents: Tensor) -> Tensor:
        """The same without the network: blurred, but the levels are right, and it costs next to nothing."""
        patches = (latents * self.scale) @ self.components + self.mean
        return patches.unflatten(2, (self.config.stride, -1)).flatten(1, 2)


class _TimeConv(nn.Module):
    """A convolution over the time axis of Tensor[B x T x C]."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, kernel_size, stride, padding=(kernel_size - 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


class _Up(nn.Module):
    """One frame to a pair, then a convolution over the seam between pairs."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.norm = nn.LayerNorm(n_in)
        self.divide = nn.Linear(n_in, 2 * n_out)
        self.smooth = _TimeConv(n_out, n_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.smooth(self.divide(self.norm(x)).unflatten(2, (2, -1)).flatten(1, 2))  # (B, 2T, n_out)


class MelDiscriminator(nn.Module):
    """Judges patches of log-mel spectrograms, so that decoded ones get the grain of real ones instead of a blur."""

    bands_per_group = 4

    def __init__(self, width: int = 48):
        super().__init__()
        self.embed = nn.Linear(2 * self.bands_per_group, width)
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(width, 2 * width, (3, 3), stride=(2, 1), padding=(1, 1)),
                nn.Conv2d(2 * width, 2 * width, (3, 3), stride=(1, 2), padding=(1, 1)),
                nn.Conv2d(2 * width, 2 * width, (3, 3), padding=(1, 1)),
            ]
        )
        self.judge = nn.Conv2d(2 * width, 1, (3, 3), padding=(1, 1))

    def forward(self, log_mel: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits Tensor[B x 1 x T/4 x groups] and the layers' outputs, of normalised log-mel Tensor[B x T x n_mels]."""
        pairs = log_mel.unflatten(1, (-1, 2)).transpose(2, 3)  # (B, T/2, n_mels, 2)
        x = self.embed(pairs.unflatten(2, (-1, self.bands_per_group)).flatten(3))
        x = F.leaky_relu(x, 0.1).permute(0, 3, 1, 2)
        features = [x]
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.judge(x), features
