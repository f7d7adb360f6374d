"""A genre classifier on autoencoder latents: it guides the generator's training and chooses among its drafts.

It learned from real music alone. What measures the generator in the end is another classifier, on sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genre_gan.genres import GENRES
from genre_gan.models.vocoder import ConvNeXtBlock
from genre_gan.pretrained import PretrainedModel


@dataclass(frozen=True)
class LatentJudgeConfig:
    """Shape of a `LatentJudge`.

    Attributes:
        genres: the classes, in the order of the logits.
        latent_dim: of the autoencoder's latents.
        width: channels of the layers.
        n_layers: ConvNeXt blocks.
        dropout: share of values dropped before the first and the last layer.
    """

    genres: tuple[str, ...] = GENRES
    latent_dim: int = 64
    width: int = 128
    n_layers: int = 3
    dropout: float = 0.3


class LatentJudge(PretrainedModel):
    """Latents of any length to genre logits."""

    config_class = LatentJudgeConfig
    family = "latent-judge"

    def __init__(self, config: LatentJudgeConfig):
        super().__init__(config)
        self.enter = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.latent_dim, config.width))
        self.blocks = nn.Sequential(*[ConvNeXtBlock(config.width, 2 * config.width, 0.5) for _ in range(config.n_layers)])
        self.norm = nn.LayerNorm(2 * config.width)
        self.output = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(2 * config.width, len(config.genres)))

    def forward(self, latents: Tensor) -> Tensor:
        """Logits Tensor[B x n_genres] of latents Tensor[B x T x latent_dim]."""
        x = self.blocks(self.enter(latents))
        mean = x.mean(1)
        # how much each channel moves says as much of a genre as where it stands
        pooled = torch.cat([mean, (x - mean[:, None]).square().mean(1).add(1e-6).sqrt()], 1)
        return self.output(self.norm(pooled))
