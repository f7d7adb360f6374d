"""The classifier: a two-layer LSTM over a feature sequence, as the report has it, with options that help it generalise."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from genre_gan.features import FeatureConfig
from genre_gan.genres import GENRES
from genre_gan.pretrained import PretrainedModel

POOLINGS = ("last", "attention")


@dataclass(frozen=True)
class LSTMConfig:
    """Shape of a `GenreLSTM`; the defaults are the report's plain network.

    Attributes:
        features: what goes in.
        genres: the classes, in the order of the logits.
        hidden_size, n_layers: of the LSTM.
        bidirectional: read the sequence from both ends.
        front_channels: width of a convolutional front that shortens time fourfold; 0 for none.
        pooling: `last` takes the last step's output, `attention` a learned weighted mean over time.
        dropout: share of values dropped between layers and before the output.
    """

    features: FeatureConfig = field(default_factory=lambda: FeatureConfig("mfcc-segment", segment_s=3.0))
    genres: tuple[str, ...] = GENRES
    hidden_size: int = 128
    n_layers: int = 2
    bidirectional: bool = False
    front_channels: int = 0
    pooling: str = "last"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {self.pooling!r}")
        if not self.genres or len(set(self.genres)) != len(self.genres):
            raise ValueError(f"genres must be different names, got {self.genres!r}")


class GenreLSTM(PretrainedModel):
    """Feature sequence to genre logits. Features are standardised inside by buffers set from the training data."""

    config_class = LSTMConfig
    family = "lstm"

    def __init__(self, config: LSTMConfig):
        super().__init__(config)
        n_features = config.features.n_features
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_std", torch.ones(n_features))
        width = config.front_channels
        self.front = None
        if width:
            self.front = nn.Sequential(
                nn.Conv1d(n_features, width, 5, stride=2, padding=2),
                nn.GroupNorm(8, width),
                nn.GELU(),
                nn.Conv1d(width, width, 5, stride=2, padding=2),
                nn.GroupNorm(8, width),
                nn.GELU(),
                nn.Dropout(config.dropout),
            )
        self.lstm = nn.LSTM(
            width or n_features,
            config.hidden_size,
            config.n_layers,
            batch_first=True,
            bidirectional=config.bidirectional,
            dropout=config.dropout if config.n_layers > 1 else 0.0,
        )
        n_outputs = config.hidden_size * (2 if config.bidirectional else 1)
        self.attention = nn.Linear(n_outputs, 1) if config.pooling == "attention" else None
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(n_outputs, len(config.genres))

    def forward(self, features: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Logits Tensor[B x n_genres] of Tensor[B x T x F]; `n_frames` (B,) masks padding at the ends."""
        return self.output(self.dropout(self.embed(features, n_frames)))

    def embed(self, features: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """The pooled outputs of the LSTM, Tensor[B x n_outputs], that `forward` makes its logits of."""
        x = (features - self.feature_mean) / self.feature_std
        if n_frames is None:
            n_frames = torch.full((len(x),), x.shape[1], device=x.device)
        if self.front is not None:
            x = self.front(x.transpose(1, 2)).transpose(1, 2)
            n_frames = (n_frames + 3) // 4
        outputs, _ = self.lstm(x)  # (B, T, n_outputs)
        if self.attention is None:
            return outputs[torch.arange(len(outputs), device=x.device), n_frames - 1]
        scores = self.attention(outputs)[..., 0]
        padding = torch.arange(scores.shape[1], device=x.device)[None] >= n_frames[:, None]
        weights = scores.masked_fill(padding, -torch.inf).softmax(1)
        return (weights[..., None] * outputs).sum(1)
