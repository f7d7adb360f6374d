"""The classifiers: a linear probe of MusiCNN's frozen features, which ships, and the report's two-layer LSTM on any features."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from genre_gan.features import FeatureConfig
from genre_gan.genres import GENRES
from genre_gan.models.channel import ChannelCompensation
from genre_gan.models.musicnn import MusiCNN, MusiCNNConfig
from genre_gan.pretrained import PretrainedModel

POOLINGS = ("last", "attention")
BLOCK_FRAMES = 16  # of MusiCNN, 256 ms: what an LSTM reads as one step


@dataclass(frozen=True)
class ClassifierConfig:
    """What all classifiers have in common.

    Attributes:
        features: what goes in. `musicnn` features go through MusiCNN first.
        genres: the classes, in the order of the logits.
        musicnn: widths of MusiCNN, where `features` are for it.
        none_of_these: one more logit, the last, for what is no music or music of other genres.
        temperature: divides the logits, so that probabilities say how often they are right.
        agreement: how much many slices that agree make surer than one: the logits of n slices count n to that power.
        sure_above: what is one of the genres with a smaller probability counts as unsure.
    """

    features: FeatureConfig = field(default_factory=lambda: FeatureConfig("mfcc-segment", segment_s=3.0))
    genres: tuple[str, ...] = GENRES
    musicnn: MusiCNNConfig = field(default_factory=MusiCNNConfig, kw_only=True)
    none_of_these: bool = field(default=False, kw_only=True)
    temperature: float = field(default=1.0, kw_only=True)
    agreement: float = field(default=0.0, kw_only=True)
    sure_above: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        if not self.genres or len(set(self.genres)) != len(self.genres):
            raise ValueError(f"genres must be different names, got {self.genres!r}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature!r}")
        for name in ("agreement", "sure_above"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)!r}")

    @property
    def n_heard(self) -> int:
        """Values of one step of what `GenreNetwork.hear` gives."""
        return 2 * self.musicnn.n_features if self.features.name == "musicnn" else self.features.n_features

    @property
    def n_classes(self) -> int:
        """The genres, and what is none of them where that is a class."""
        return len(self.genres) + self.none_of_these


@dataclass(frozen=True)
class LSTMConfig(ClassifierConfig):
    """Shape of a `GenreLSTM`; the defaults are the report's plain network.

    Attributes:
        hidden_size, n_layers: of the LSTM.
        bidirectional: read the sequence from both ends.
        pooling: `last` takes the last step's output, `attention` a learned weighted mean over time.
        dropout: share of values dropped between layers and before the output.
    """

    hidden_size: int = 128
    n_layers: int = 2
    bidirectional: bool = False
    pooling: str = "last"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {self.pooling!r}")


@dataclass(frozen=True)
class ProbeConfig(ClassifierConfig):
    """Shape of a `LinearProbe`; `features` must be `musicnn`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features.name != "musicnn":
            raise ValueError(f"a linear probe needs musicnn features, got {self.features.name!r}")


class GenreNetwork(PretrainedModel):
    """Features of a slice to genre logits: `hear`, which is frozen, then `pool`, then `output`, a linear layer.

    Subclasses set `output`, and say in `pool` how a sequence becomes one vector.
    """

    config: ClassifierConfig
    output: nn.Linear
    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: ClassifierConfig, n_standardised: int):
        super().__init__(config)
        self.musicnn = MusiCNN(config.musicnn) if config.features.name == "musicnn" else None
        self.register_buffer("feature_mean", torch.zeros(n_standardised))
        self.register_buffer("feature_std", torch.ones(n_standardised))

    def compensate(self, features: Tensor) -> Tensor:
        """Features Tensor[T x F] of a whole sound, before it is cut into slices, without what its channel did to them."""
        return features

    def hear(self, features: Tensor) -> Tensor:
        """The sequence Tensor[B x T' x n_heard] of features Tensor[B x T x F].

        The features themselves, or with MusiCNN the maximum and the mean of each of its channels in blocks of 256 ms.
        """
        if self.musicnn is None:
            return features
        over_time = self.musicnn(features)
        blocks = over_time.tensor_split(max(1, round(over_time.shape[2] / BLOCK_FRAMES)), 2)
        return torch.stack([torch.cat([block.amax(2), block.mean(2)], 1) for block in blocks], 1)

    def pool(self, heard: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """One vector Tensor[B x D] of each sequence; `n_frames` (B,) are lengths without padding."""
        raise NotImplementedError

    def forward(self, features: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Logits Tensor[B x n_classes] of features Tensor[B x T x F]; `n_frames` (B,) masks padding at the ends."""
        return self.output(self.pool(self.hear(features), n_frames))

    def embed(self, features: Tensor) -> Tensor:
        """What the last layer makes its logits of, Tensor[B x D]: near each other for what sounds alike."""
        return self.pool(self.hear(features))

    def probabilities(self, features: Tensor) -> Tensor:
        """Calibrated probabilities Tensor[B x n_classes] of unpadded slices."""
        return (self(features) / self.config.temperature).softmax(1)

    def standardise(self, values: Tensor) -> Tensor:
        """Values of about zero mean and unit deviation, by statistics of the training data."""
        return (values - self.feature_mean) / self.feature_std

    def fit_statistics(self, values: Tensor) -> None:
        """Take the statistics of training data Tensor[n x D]."""
        self.feature_mean.copy_(values.mean(0))
        self.feature_std.copy_(values.std(0) + 1e-3)


class GenreLSTM(GenreNetwork):
    """The report's classifier: a two-layer LSTM over the sequence."""

    config_class = LSTMConfig
    family = "lstm"
    config: LSTMConfig

    def __init__(self, config: LSTMConfig):
        super().__init__(config, config.n_heard)
        self.lstm = nn.LSTM(
            config.n_heard,
            config.hidden_size,
            config.n_layers,
            batch_first=True,
            bidirectional=config.bidirectional,
            dropout=config.dropout if config.n_layers > 1 else 0.0,
        )
        n_outputs = config.hidden_size * (2 if config.bidirectional else 1)
        self.attention = nn.Linear(n_outputs, 1) if config.pooling == "attention" else None
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(n_outputs, config.n_classes)

    def pool(self, heard: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """The last step's output, or the mean of all weighted by attention, Tensor[B x n_outputs]."""
        outputs, padding = self._read(self.standardise(heard), n_frames)
        if self.attention is None:
            last = (~padding).sum(1) - 1
            return self.dropout(outputs[torch.arange(len(outputs), device=last.device), last])
        weights = self.attention(outputs)[..., 0].masked_fill(padding, -torch.inf).softmax(1)
        return self.dropout((weights[..., None] * outputs).sum(1))

    def _read(self, x: Tensor, n_frames: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs of all steps, and which are padding; packed where the backward direction must start at a sequence's end."""
        if n_frames is None:
            return self.lstm(x)[0], torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        padding = torch.arange(x.shape[1], device=x.device)[None] >= n_frames[:, None].to(x.device)
        if not self.config.bidirectional:  # what comes before the padding does not know of it, and packing is slow
            return self.lstm(x)[0], padding
        packed = pack_padded_sequence(x, n_frames.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])[0], padding


class LinearProbe(GenreNetwork):
    """Softmax regression on MusiCNN: on the maximum and the mean over time of its channels, and on its own embedding of these.

    What it hears goes through a `ChannelCompensation` first.
    """

    config_class = ProbeConfig
    family = "linear-probe"

    musicnn: MusiCNN

    def __init__(self, config: ProbeConfig):
        n_statistics = config.n_heard + config.musicnn.embedding_dim
        super().__init__(config, n_statistics)
        self.channel = ChannelCompensation(config.features.n_mels)
        self.output = nn.Linear(n_statistics, config.n_classes)

    def compensate(self, features: Tensor) -> Tensor:
        return self.channel(features)

    def statistics(self, heard: Tensor) -> Tensor:
        """What is standardised and weighed, Tensor[B x n_statistics]."""
        maxima, means = heard.chunk(2, 2)
        pooled = torch.stack([maxima.amax(1), means.mean(1)], 2).flatten(1)  # by turns, as MusiCNN's dense layer has them
        return torch.cat([pooled, self.musicnn.dense(pooled).relu()], 1)

    def pool(self, heard: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Standardised statistics over time, Tensor[B x n_statistics]; of sequences without padding alone."""
        return self.standardise(self.statistics(heard))


CLASSIFIERS: dict[str, type[GenreNetwork]] = {network.family: network for network in (GenreLSTM, LinearProbe)}
