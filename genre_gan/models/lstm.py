"""The classifier: a two-layer LSTM over a feature sequence, as the report has it, with options that help it generalise."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from genre_gan.features import FeatureConfig
from genre_gan.genres import GENRES
from genre_gan.models.summary import N_COARSE, SummaryKernel, summarise, summary_sizes
from genre_gan.pretrained import PretrainedModel

POOLINGS = ("last", "attention")
WINDOW_FRAMES, WINDOW_HOP = 64, 16
FLOOR_DB = -60.0  # under the level of a slice; what is weaker counts as this


@dataclass(frozen=True)
class LSTMConfig:
    """Shape of a `GenreLSTM`; the defaults are the report's plain network.

    Attributes:
        features: what goes in.
        genres: the classes, in the order of the logits.
        hidden_size, n_layers: of the LSTM.
        bidirectional: read the sequence from both ends.
        front_channels: width of a convolutional front that shortens time fourfold; 0 for none.
        window_channels: the LSTM reads that many mixtures of the statistics of windows of 64 frames, one every 16; 0 for frames.
        pooling: `last` takes the last step's output, `attention` a learned weighted mean over time.
        dropout: share of values dropped between layers and before the output.
        relative_level: measure log-mel values from the level of their slice, so that loudness does not matter.
        not_music: one more logit, the last, for sound that is no music.
        n_centres: size of a kernel machine on statistics of the slice that judges along with the LSTM; 0 for none.
        kernel_gain: turns the kernel machine's scores into logits.
        kernel_share: its part in the mean of both logits; the LSTM has the rest.
        temperature: divides the logits, so that probabilities say how often they are right.
        agreement: how much many slices that agree make surer than one: the logits of n slices count n to that power.
        sure_above: a guess whose likeliest genre is less probable than this counts as unsure.
    """

    features: FeatureConfig = field(default_factory=lambda: FeatureConfig("mfcc-segment", segment_s=3.0))
    genres: tuple[str, ...] = GENRES
    hidden_size: int = 128
    n_layers: int = 2
    bidirectional: bool = False
    front_channels: int = 0
    window_channels: int = 0
    pooling: str = "last"
    dropout: float = 0.0
    relative_level: bool = False
    not_music: bool = False
    n_centres: int = 0
    kernel_gain: float = 6.0
    kernel_share: float = 0.5
    temperature: float = 1.0
    agreement: float = 0.0
    sure_above: float = 0.0

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {self.pooling!r}")
        if not self.genres or len(set(self.genres)) != len(self.genres):
            raise ValueError(f"genres must be different names, got {self.genres!r}")
        if (self.relative_level or self.n_centres or self.window_channels) and self.features.name != "log-mel":
            raise ValueError(f"relative_level, n_centres and window_channels need log-mel features, got {self.features.name!r}")
        if (self.n_centres or self.window_channels) and self.features.n_mels % N_COARSE:
            raise ValueError(f"statistics need n_mels to be a multiple of {N_COARSE}, got {self.features.n_mels!r}")
        if self.front_channels and self.window_channels:
            raise ValueError("front_channels and window_channels exclude each other")
        for name in ("kernel_gain", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)!r}")
        for name in ("kernel_share", "agreement", "sure_above"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)!r}")


class GenreLSTM(PretrainedModel):
    """Feature sequence to genre logits. Features are standardised inside by buffers set from the training data."""

    config_class = LSTMConfig
    family = "lstm"

    def __init__(self, config: LSTMConfig):
        super().__init__(config)
        n_features = sum(summary_sizes(config.features.n_mels)) if config.window_channels else config.features.n_features
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
        if config.window_channels:
            mixer = nn.Linear(n_features, config.window_channels)
            self.mixer = nn.Sequential(nn.Dropout(config.dropout), mixer, nn.Dropout(config.dropout))
        self.lstm = nn.LSTM(
            width or config.window_channels or n_features,
            config.hidden_size,
            config.n_layers,
            batch_first=True,
            bidirectional=config.bidirectional,
            dropout=config.dropout if config.n_layers > 1 else 0.0,
        )
        n_outputs = config.hidden_size * (2 if config.bidirectional else 1)
        self.attention = nn.Linear(n_outputs, 1) if config.pooling == "attention" else None
        self.dropout = nn.Dropout(config.dropout)
        n_classes = len(config.genres) + config.not_music
        self.output = nn.Linear(n_outputs, n_classes)
        self.kernel = SummaryKernel(config.features.n_mels, config.n_centres, n_classes) if config.n_centres else None

    def forward(self, features: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Logits of the LSTM, Tensor[B x n_classes], of Tensor[B x T x F]; `n_frames` (B,) masks padding at the ends."""
        return self.output(self.dropout(self.embed(features, n_frames)))

    def embed(self, features: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """The pooled outputs of the LSTM, Tensor[B x n_outputs], that `forward` makes its logits of."""
        sequence = summarise_windows(self.level(features)) if self.config.window_channels else self.level(features)
        return self.listen(sequence, None if self.config.window_channels else n_frames)

    def listen(self, sequence: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """`embed` from the sequence that the standardisation wants: levelled features, or statistics of windows."""
        x = (sequence - self.feature_mean) / self.feature_std
        if n_frames is None:
            n_frames = torch.full((len(x),), x.shape[1], device=x.device)
        if self.config.window_channels:
            x = self.mixer(x)
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

    def level(self, features: Tensor) -> Tensor:
        """`features` unchanged, or with `relative_level` in dB from their slice's mean power, down to the floor."""
        return relative_level(features) if self.config.relative_level else features

    def probabilities(self, features: Tensor) -> Tensor:
        """Calibrated probabilities Tensor[B x n_classes] of unpadded slices; with `not_music` the last is that of no music."""
        logits = self(features)
        if self.kernel is not None:
            share = self.config.kernel_share
            logits = share * self.config.kernel_gain * self.kernel(self.level(features)) + (1.0 - share) * logits
        return (logits / self.config.temperature).softmax(1)


def relative_level(features: Tensor) -> Tensor:
    """Log-mel slices Tensor[B x T x F] in dB from each slice's mean power, down to the floor."""
    level_db = 10.0 * (10.0 ** (features / 10.0)).sum(2).mean(1).clamp_min(1e-9).log10()
    return (features - level_db[:, None, None]).clamp_min(FLOOR_DB)


def summarise_windows(level_db: Tensor) -> Tensor:
    """Statistics of overlapping windows of log-mel slices, Tensor[B x n_windows x n_statistics]; one of all where it is short."""
    windows = level_db.unfold(1, min(WINDOW_FRAMES, level_db.shape[1]), WINDOW_HOP)  # (B, n_windows, F, length)
    return summarise(windows.flatten(0, 1).transpose(1, 2)).unflatten(0, windows.shape[:2])
