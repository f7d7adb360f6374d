"""MusiCNN: features of music learned from the tags of the Million Song Dataset, frozen.

Pons & Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging" (2019), the network `MSD_musicnn`, in
torch. Most channels of its first layer say the same of any sound, because their ReLU never opens; the packaged weights
leave them out and add what they said to the next layer, which changes no later value and saves nine tenths of the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genre_gan.pretrained import PretrainedModel

N_MELS = 96
PATCH_FRAMES = 187  # 3 s, on which the network was trained
TIMBRE_KERNELS = ((7, 38), (7, 67))  # (frames, mel bands)
TEMPORAL_KERNELS = ((128, 1), (64, 1), (32, 1))
# fmt: off
TAGS = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock", "jazz",
    "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow", "electronica", "80s",
    "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic",
    "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy", "catchy",
    "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop", "sad", "House", "happy",
)
# fmt: on


@dataclass(frozen=True)
class MusiCNNConfig:
    """Widths of a `MusiCNN`; the defaults are those of the published network.

    Attributes:
        front_channels: of the five branches of the front end, the two of `TIMBRE_KERNELS` and the three of `TEMPORAL_KERNELS`.
        middle_channels: of each of the three layers over time.
        embedding_dim: of the embedding of a patch.
        tags: what the output says.
    """

    front_channels: tuple[int, ...] = (204, 204, 51, 51, 51)
    middle_channels: int = 64
    embedding_dim: int = 200
    tags: tuple[str, ...] = TAGS

    def __post_init__(self) -> None:
        if len(self.front_channels) != len(TIMBRE_KERNELS + TEMPORAL_KERNELS):
            raise ValueError(f"front_channels must be five numbers, got {self.front_channels!r}")

    @property
    def n_features(self) -> int:
        """Channels over time: front end and middle layers together."""
        return sum(self.front_channels) + 3 * self.middle_channels


class MusiCNNLayers(NamedTuple):
    """What the layers say over time, a frame every 16 ms.

    Attributes:
        front_end: timbre and rhythm, Tensor[B x sum(front_channels) x T].
        middle: the three layers above it, each Tensor[B x middle_channels x T].
    """

    front_end: Tensor
    middle: tuple[Tensor, Tensor, Tensor]


class MusiCNN(PretrainedModel):
    """Log-mel spectrograms from `genre_gan.features.musicnn_log_mel`, Tensor[B x T x 96], to features, an embedding and tags.

    Its weights ask for no gradients; the input may, so that a generator can learn through them.
    """

    config_class = MusiCNNConfig
    family = "musicnn"
    input_scale: Tensor
    input_shift: Tensor

    def __init__(self, config: MusiCNNConfig):
        super().__init__(config)
        width, n_front = config.middle_channels, sum(config.front_channels)
        self.register_buffer("input_scale", torch.ones(1))
        self.register_buffer("input_shift", torch.zeros(1))
        kernels = TIMBRE_KERNELS + TEMPORAL_KERNELS
        pairs = zip(config.front_channels, kernels, strict=True)
        self.front = nn.ModuleList(FrontBranch(channels, kernel) for channels, kernel in pairs)
        # One channel of ones speaks for all constant ones, also at the ends, where the padding cuts them off.
        self.middle = nn.ModuleList(MiddleLayer(n, width) for n in (n_front + 1, width, width))
        self.dense = nn.Linear(2 * config.n_features, config.embedding_dim)
        self.output = nn.Linear(config.embedding_dim, len(config.tags))
        self.requires_grad_(False)

    def layers(self, log_mel: Tensor) -> MusiCNNLayers:
        """What each layer says over the time of Tensor[B x T x 96]; T may be any length."""
        x = (log_mel * self.input_scale + self.input_shift)[:, None]  # (B, 1, T, 96)
        front_end = torch.cat([branch(x) for branch in self.front], 1)
        first = self.middle[0](F.pad(front_end, (0, 0, 0, 1), value=1.0))
        second = first + self.middle[1](first)
        return MusiCNNLayers(front_end, (first, second, second + self.middle[2](second)))

    def forward(self, log_mel: Tensor) -> Tensor:
        """All layers joined, Tensor[B x n_features x T], of Tensor[B x T x 96]."""
        layers = self.layers(log_mel)
        return torch.cat([layers.front_end, *layers.middle], 1)

    def embed(self, features: Tensor) -> Tensor:
        """The embedding Tensor[B x embedding_dim] of what `forward` gave for patches of `PATCH_FRAMES`, or of any length."""
        pooled = torch.stack([features.amax(2), features.mean(2)], 2)  # (B, n_features, 2)
        return self.dense(pooled.flatten(1)).relu()

    def tag(self, embedding: Tensor) -> Tensor:
        """The probability of each of `config.tags`, Tensor[B x n_tags]."""
        return self.output(embedding).sigmoid()


class FrontBranch(nn.Module):
    """Convolution, ReLU and normalisation, and the maximum over frequency: Tensor[B x 1 x T x F] to Tensor[B x C x T].

    A normalisation with a negative scale turns the maximum into a minimum. The weights of such channels are stored with
    their sign changed, so that the maximum comes right after the convolution, and all else on what is left.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, channels: int, kernel: tuple[int, int]):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, kernel)
        self.register_buffer("scale", torch.ones(channels, 1))
        self.register_buffer("shift", torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        before, after = same_padding(self.conv.kernel_size[0])
        peak = self.conv(F.pad(x, (0, 0, before, after))).amax(3)
        return (peak * self.scale.sign()).relu() * self.scale + self.shift


class MiddleLayer(nn.Module):
    """Convolution over 7 frames, ReLU, normalisation: Tensor[B x C x T] to Tensor[B x channels x T]."""

    scale: Tensor
    shift: Tensor

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv = nn.Conv1d(in_channels, channels, 7, padding=3)
        self.register_buffer("scale", torch.ones(channels, 1))
        self.register_buffer("shift", torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu() * self.scale + self.shift


def same_padding(n_frames: int) -> tuple[int, int]:
    """Frames of zeros before and after, so that a kernel of `n_frames` keeps the length."""
    return (n_frames - 1) // 2, n_frames // 2
