"""Embeddings of clips by a network that no training uses, in which real and generated music are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genre_gan.audio import load_audio
from genre_gan.clip import Clip
from genre_gan.features import MUSICNN_SAMPLE_RATE_HZ, musicnn_log_mel
from genre_gan.pretrained import PretrainedModel

PATCH_FRAMES = 187  # 3 s, on which the network was trained
POOLINGS = (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)))  # size and stride, (frames, mel bands)
LAST_POOLING = 4  # frames and mel bands
PATCH_HOP_FRAMES = 16  # frames between two patches: the product of the strides


@dataclass(frozen=True)
class MTTVGGConfig:
    """Width of an `MTTVGG`; the default is that of the published network."""

    channels: int = 128

    @property
    def embedding_dim(self) -> int:
        return 2 * self.channels


class MTTVGG(PretrainedModel):
    """Log-mel spectrograms from `genre_gan.features.musicnn_log_mel` to embeddings of patches of 3 s.

    `MTT_vgg` of Pons & Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging" (2019), which
    learned the tags of MagnaTagATune, in torch and without its last layer. It takes part in no training, no choice of steps
    and no choice of candidates: only `genre_gan.evaluation` and the scripts that evaluate use it.
    """

    config_class = MTTVGGConfig
    family = "mtt-vgg"

    def __init__(self, config: MTTVGGConfig):
        super().__init__(config)
        self.input_norm = nn.BatchNorm2d(1, eps=1e-3)
        widths = [1] + 5 * [config.channels]
        self.convs = nn.ModuleList(nn.Conv2d(n_in, n_out, 3, padding=1) for n_in, n_out in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(config.channels, eps=1e-3) for _ in self.convs)
        self.requires_grad_(False)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Embeddings Tensor[B x n x embedding_dim] of patches that begin every 0.256 s of Tensor[B x T x 96], T at least 187.

        The first of a patch of exactly 187 frames is what the published network says of it; patches inside a longer
        spectrogram see their surroundings, where the published network sees zeros.
        """
        x = self.input_norm(log_mel[:, None])  # (B, 1, T, 96)
        for conv, norm, (size, stride) in zip(self.convs, self.norms, POOLINGS, strict=False):
            x = F.max_pool2d(norm(conv(x).relu()), size, stride)
        x = F.max_pool2d(self.norms[-1](self.convs[-1](x).relu()), LAST_POOLING, (1, LAST_POOLING))[..., 0]  # (B, C, positions)
        earlier, later = x[..., :-LAST_POOLING], x[..., LAST_POOLING:]
        return torch.cat([earlier, later], 1).transpose(1, 2)


class Embedder:
    """Clips to embeddings by a network that the caller names, such as `MTTVGG`.

    Attributes:
        name: of the network, for tables.
    """

    def __init__(self, network: MTTVGG, name: str):
        self.network, self.name = network, name

    @torch.inference_mode()
    def patches(self, clip: Clip) -> np.ndarray:
        """Embeddings of the patches of 3 s that begin every 0.256 s [shape=(n, embedding_dim)]; short clips are repeated."""
        samples = load_audio((clip.samples, clip.sample_rate_hz), MUSICNN_SAMPLE_RATE_HZ).samples
        log_mel = musicnn_log_mel(torch.from_numpy(samples)[None])
        if log_mel.shape[1] < PATCH_FRAMES:
            log_mel = log_mel.repeat(1, -(-PATCH_FRAMES // log_mel.shape[1]), 1)[:, :PATCH_FRAMES]
        return self.network(log_mel)[0].numpy()

    def clips(self, clips: Sequence[Clip]) -> np.ndarray:
        """One embedding a clip, the mean over its patches, float64 [shape=(n_clips, embedding_dim)]."""
        return np.stack([self.patches(clip).mean(0) for clip in clips]).astype(np.float64)
