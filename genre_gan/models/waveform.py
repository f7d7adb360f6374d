"""The report's two conditional GANs on the raw waveform: `fcn` (fully connected) and `cnn` (one-dimensional convolutions).

After Mirza & Osindero, "Conditional Generative Adversarial Nets" (2014): the label's embedding is concatenated to the
latent z, and the discriminator is given the label too. Neither discriminator ends in a sigmoid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from genre_gan.audio import SAMPLE_RATE_HZ
from genre_gan.genres import GENRES
from genre_gan.pretrained import PretrainedModel

MODELS = ("fcn", "cnn")
ACTIVATIONS = ("none", "sigmoid")
FRAME = 256  # samples that one output vector of the fcn holds
_CNN_STRIDES = (4, 4, 4)
_CNN_FRAME = 16  # samples that one output vector of the cnn holds


@dataclass(frozen=True)
class WaveformGANConfig:
    """Shape of a waveform GAN.

    Attributes:
        model: `fcn` or `cnn`.
        n_samples: length of what it makes: one segment, or a whole track.
        genres: the labels, in the order of their ids.
        latent_dim: size of z.
        embedding_dim: size of the label's embedding.
        width: hidden units of the fcn; channels of the cnn's widest layer.
        output_activation: `none` as in the report, or `sigmoid`, whose (0, 1) is stretched to (-1, 1).
    """

    model: str = "fcn"
    n_samples: int = 4 * SAMPLE_RATE_HZ
    sample_rate_hz: int = SAMPLE_RATE_HZ
    genres: tuple[str, ...] = GENRES
    latent_dim: int = 100
    embedding_dim: int = 16
    width: int = 256
    output_activation: str = "none"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}, got {self.model!r}")
        if self.output_activation not in ACTIVATIONS:
            raise ValueError(f"output_activation must be one of {', '.join(ACTIVATIONS)}, got {self.output_activation!r}")
        for name in ("n_samples", "latent_dim", "embedding_dim", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def n_frames(self) -> int:
        return math.ceil(self.n_samples / FRAME)


class WaveformGenerator(PretrainedModel):
    """z and genre to samples."""

    config_class = WaveformGANConfig
    family = "waveform-gan"

    def __init__(self, config: WaveformGANConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(len(config.genres), config.embedding_dim)
        make = _fcn_generator if config.model == "fcn" else _cnn_generator
        self.net = make(config)

    def forward(self, z: Tensor, weights: Tensor) -> Tensor:
        """Samples Tensor[B x n_samples] of z Tensor[B x latent_dim] and genre weights Tensor[B x n_genres] (rows sum to 1)."""
        samples = self.net(torch.cat([z, weights @ self.embedding.weight], 1)).flatten(1)[:, : self.config.n_samples]
        if self.config.output_activation == "sigmoid":
            samples = 2.0 * samples.sigmoid() - 1.0
        return samples


class WaveformDiscriminator(nn.Module):
    """Samples and genre to one logit."""

    def __init__(self, config: WaveformGANConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(len(config.genres), config.embedding_dim)
        make = _fcn_discriminator if config.model == "fcn" else _cnn_discriminator
        self.net, n_hidden = make(config)
        self.judge = nn.Sequential(
            nn.Linear(n_hidden + config.embedding_dim, config.width), nn.LeakyReLU(0.2), nn.Linear(config.width, 1)
        )

    def forward(self, samples: Tensor, genre_ids: Tensor) -> Tensor:
        """Logits (B,) of samples Tensor[B x n_samples] and genre ids (B,)."""
        padding = samples.new_zeros(len(samples), self.config.n_frames * FRAME - self.config.n_samples)
        frames = torch.cat([samples, padding], 1).unflatten(1, (-1, FRAME))  # (B, n_frames, FRAME)
        return self.judge(torch.cat([self.net(frames), self.embedding(genre_ids)], 1))[:, 0]


def _fcn_generator(config: WaveformGANConfig) -> nn.Module:
    """Fully connected layers to a short code for each frame, then one layer, shared by all frames, to its samples.

    A single layer from `width` units to the 661 500 samples of a whole track would have 170 million weights; with codes of
    16 values a frame it is 10 million and one of four thousand.
    """
    code = 16
    return nn.Sequential(
        nn.Linear(config.latent_dim + config.embedding_dim, config.width),
        nn.LeakyReLU(0.2),
        nn.Linear(config.width, config.width),
        nn.LeakyReLU(0.2),
        nn.Linear(config.width, config.n_frames * code),
        nn.LeakyReLU(0.2),
        nn.Unflatten(1, (config.n_frames, code)),
        nn.Linear(code, FRAME),
    )


def _fcn_discriminator(config: WaveformGANConfig) -> tuple[nn.Module, int]:
    code = 16
    net = nn.Sequential(
        nn.Linear(FRAME, code),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(config.n_frames * code, config.width),
        nn.LeakyReLU(0.2),
        nn.Linear(config.width, config.width),
        nn.LeakyReLU(0.2),
    )
    return net, config.width


def _cnn_generator(config: WaveformGANConfig) -> nn.Module:
    """A linear layer to a short, deep sequence, then transposed convolutions that lengthen it 1024-fold.

    The last of them, of stride 16, is written as a convolution to the 16 samples of a frame: three times as fast.
    """
    n_start = math.ceil(config.n_samples / (math.prod(_CNN_STRIDES) * _CNN_FRAME))
    channels = [max(8, config.width // 2**i) for i in range(len(_CNN_STRIDES) + 1)]
    code = 8
    layers: list[nn.Module] = [
        nn.Linear(config.latent_dim + config.embedding_dim, n_start * code),
        nn.Unflatten(1, (code, n_start)),
        nn.Conv1d(code, channels[0], 7, padding=3),
        nn.LeakyReLU(0.2),
    ]
    for (n_in, n_out), stride in zip(pairwise(channels), _CNN_STRIDES, strict=True):
        layers += [nn.ConvTranspose1d(n_in, n_out, 6 * stride + 1, stride, 3 * stride, stride - 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv1d(channels[-1], _CNN_FRAME, 7, padding=3), _ChannelsLast())


class _ChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def _cnn_discriminator(config: WaveformGANConfig) -> tuple[nn.Module, int]:
    channels = [max(8, config.width // 2**i) for i in reversed(range(len(_CNN_STRIDES) + 1))]
    layers: list[nn.Module] = [
        nn.Flatten(),
        nn.Unflatten(1, (-1, _CNN_FRAME)),
        _ChannelsLast(),
        nn.Conv1d(_CNN_FRAME, channels[0], 7, padding=3),
        nn.LeakyReLU(0.2),
    ]
    for (n_in, n_out), stride in zip(pairwise(channels), _CNN_STRIDES, strict=True):
        layers += [nn.Conv1d(n_in, n_out, 6 * stride + 1, stride, 3 * stride), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(4), nn.Flatten()), 4 * channels[-1]
