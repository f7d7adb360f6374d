"""Embeddings of clips, in which real and generated music are compared, and the network for it that no training uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from genre_gan.clip import Clip
from genre_gan.data.cache import FeatureStore, save_array
from genre_gan.features import MUSICNN_SAMPLE_RATE_HZ, musicnn_log_mel
from genre_gan.files import cache_folder
from genre_gan.hub import packaged_weights
from genre_gan.models.musicnn import MusiCNN
from genre_gan.pretrained import PretrainedModel, read_config

EMBEDDINGS = ("MTT_vgg", "MSD_musicnn")
PATCH_FRAMES = 187  # 3 s, on which the network was trained
POOLINGS = (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)))  # size and stride, (frames, mel bands)
LAST_POOLING = 4  # frames and mel bands
PATCH_HOP_FRAMES = 16  # frames between two patches: the product of the strides
PATCH_S, PATCH_HOP_S = 3.0, 0.256


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
            x = F.max_pool2d(norm(conv(x).relu_()), size, stride)
        x = F.max_pool2d(self.norms[-1](self.convs[-1](x).relu_()), LAST_POOLING, (1, LAST_POOLING))[..., 0]  # (B, C, positions)
        earlier, later = x[..., :-LAST_POOLING], x[..., LAST_POOLING:]
        return torch.cat([earlier, later], 1).transpose(1, 2)


class Embedder:
    """Clips to embeddings of patches of 3 s.

    Args:
        name: of the network, one of `EMBEDDINGS`.
        embed: log-mel Tensor[B x T x 96] to embeddings Tensor[B x n x d] of the patches that begin every `PATCH_HOP_S`.
        key: that changes when the network does.
    """

    def __init__(self, name: str, embed: Callable[[Tensor], Tensor], key: str):
        self.name, self.key, self._embed = name, key, embed

    @torch.inference_mode()
    def patches(self, clip: Clip) -> np.ndarray:
        """Embeddings float32 of all patches of a clip [shape=(n, d)]; a clip shorter than a patch is repeated."""
        samples = soxr.resample(clip.samples, clip.sample_rate_hz, MUSICNN_SAMPLE_RATE_HZ)
        log_mel = musicnn_log_mel(torch.from_numpy(samples)[None])
        if log_mel.shape[1] < PATCH_FRAMES:
            log_mel = log_mel.repeat(1, -(-PATCH_FRAMES // log_mel.shape[1]), 1)[:, :PATCH_FRAMES]
        return self._embed(log_mel)[0].numpy()

    def clips(self, clips: Sequence[Clip]) -> np.ndarray:
        """One embedding a clip, the mean over its patches, float64 [shape=(n_clips, d)]."""
        return np.stack([self.patches(clip).mean(0) for clip in clips]).astype(np.float64)


def load_embedder(name: str) -> Embedder:
    """One of the packaged networks: `MTT_vgg`, which only measures, or `MSD_musicnn`, which training may use too."""
    if name not in EMBEDDINGS:
        raise ValueError(f"embedding must be one of {', '.join(EMBEDDINGS)}, got {name!r}")
    folder = packaged_weights("mtt_vgg" if name == "MTT_vgg" else "musicnn")
    key = read_config(folder)["weights_sha256"][:16]
    if name == "MTT_vgg":
        network = MTTVGG.load(folder).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster
        return Embedder(name, network, key)
    return Embedder(name, partial(_musicnn_patches, MusiCNN.load(folder)), key)


def _musicnn_patches(network: MusiCNN, log_mel: Tensor) -> Tensor:
    patches = network(log_mel).unfold(2, PATCH_FRAMES, PATCH_HOP_FRAMES)  # (B, n_features, n, PATCH_FRAMES)
    return network.embed(patches.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(log_mel), -1))


def track_patches(
    store: FeatureStore, tracks: np.ndarray, embedder: Embedder, cache_dir: Path | None = None
) -> list[np.ndarray]:
    """Embeddings of all patches of each track of a waveform store [shape=(n, d)], float16, kept on disk for the next time."""
    folder = (cache_dir or cache_folder()) / f"{embedder.name}-{embedder.key}"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for track in tqdm(tracks, desc=f"{embedder.name} of training tracks", unit="track", leave=False):
        path = folder / f"{store.content_key(int(track))}.npy"
        if not path.exists():
            clip = Clip(store.read(int(track))[:, 0], store.config.sample_rate_hz)
            save_array(path, embedder.patches(clip).astype(np.float16))
        found.append(np.load(path))
    return found
