"""A small network that tells genres and artists of the training side apart: fine-tuning compares its features beside MusiCNN's.

One network alone can be pleased in ways that no other hears. This one is of another kind, small filters over time and frequency
alike (Simonyan & Zisserman, 2015), and has learned from the generator's training side alone. What it learns from is changed,
mixed (Zhang et al., "mixup", 2018) and noisy, since the gradients of networks that do not mind such changes point at what people
perceive (Santurkar et al., "Image synthesis with a single (robust) classifier", 2019), and half of it are copies through the
codec, so that it does not mind the codec.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm, trange

from genre_gan.data.cache import FeatureStore, code_version
from genre_gan.data.latents import CODE, LatentStore
from genre_gan.data.splits import artist_groups
from genre_gan.models.codec import Codec
from genre_gan.models.musicnn import N_MELS, PATCH_FRAMES
from genre_gan.models.projected import MusiCNNOfLatents
from training.launch import is_main_process
from training.levelled import Levelled
from training.spectral_fit import content_keys, kept

WIDTHS, EMBEDDING_DIM = (32, 64, 96, 128, 160), 128
BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 64, 2e-3, 0.05
ARTISTS_WEIGHT = 0.5  # of telling artists apart, beside genres
MIXUP = 0.3  # both parameters of the beta distribution of shares
WARP, EQUALISER, NOISE = 0.08, 0.3, 0.1  # largest share, and deviations in log10 of power
LONGEST_MASKS = (30, 14)  # frames, bands


class FeatureNetwork(nn.Module):
    """MusiCNN's log-mel Tensor[B x PATCH_FRAMES x N_MELS] to what each layer finds, an embedding, and genres."""

    def __init__(self, n_genres: int, n_artists: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        sizes = pairwise((1, *WIDTHS))
        self.convs = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, padding=1) if n_in > 1 else nn.Conv2d(1, n_out, 5, stride=2, padding=2)
            for n_in, n_out in sizes
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS)
        self.dropout = nn.Dropout(0.4)
        self.dense = nn.Linear(2 * WIDTHS[-1] * (N_MELS >> len(WIDTHS)), EMBEDDING_DIM)
        self.genres = nn.Linear(EMBEDDING_DIM, n_genres)
        self.artists = nn.Linear(EMBEDDING_DIM, n_artists)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def layers(self, log_mel: Tensor) -> list[Tensor]:
        """Tensor[B x C x T x F] of each convolution, half as many frames and bands each time."""
        x, found = self.norm(log_mel[:, None]).contiguous(memory_format=torch.channels_last), []
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(conv(x.to(conv.weight.dtype))).relu()
            if number:
                x = F.max_pool2d(x, 2)
            found.append(x)
        return found

    def embed(self, last: Tensor) -> Tensor:
        """The embedding Tensor[B x EMBEDDING_DIM] of the last layer."""
        last = last.float()
        return self.dense(self.dropout(torch.cat([last.amax(2), last.mean(2)], 1).flatten(1))).relu()

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of genres and of artists."""
        embedding = self.dropout(self.embed(self.layers(log_mel)[-1]))
        return self.genres(embedding), self.artists(embedding)

    @property
    def vector(self) -> np.ndarray:
        """All its numbers, float32 [shape=(n,)]."""
        return torch.cat([number.detach().flatten() for number in self._numbers()]).numpy()

    @classmethod
    def of_vector(cls, vector: np.ndarray, n_genres: int, n_artists: int, dtype: torch.dtype) -> FeatureNetwork:
        """One that listens and does not learn, whose convolutions are of `dtype`."""
        network = cls(n_genres, n_artists)
        network.eval().requires_grad_(False)
        numbers = network._numbers()
        for number, part in zip(numbers, torch.from_numpy(vector).split([number.numel() for number in numbers]), strict=True):
            number.copy_(part.view(number.shape))
        network.convs.to(dtype)
        return network

    def _numbers(self) -> list[Tensor]:
        return [*self.parameters(), *(buffer for buffer in self.buffers() if buffer.is_floating_point())]


class Examples(NamedTuple):
    """What a feature network learns from.

    Attributes:
        originals, copies: log-mel Tensor[n x T x N_MELS] of clips and of their copies through the codec, float16.
        genres, artists: numbers from 0 (n,).
        shares: how often each is drawn (n,).
    """

    originals: Tensor
    copies: Tensor
    genres: Tensor
    artists: Tensor
    shares: Tensor


def artist_numbers(store: FeatureStore, tracks: np.ndarray) -> np.ndarray:
    """The artists of these tracks, numbered from 0; those that share a track are one."""
    return np.unique(artist_groups(store.tracks)[0][tracks], return_inverse=True)[1]


@torch.no_grad()
def examples_of(store: FeatureStore, tracks: np.ndarray, levelled: Levelled, codec: Codec) -> Examples:
    """Of these tracks. Genres are drawn alike, and within them artists by the root of the number of their tracks."""
    around = codec.config.samples_per_latent  # silence, as whole latents would end before the clip does
    genre_ids = np.array([store.tracks.genres.index(store.tracks.genre_names[track]) for track in tracks])
    artist_ids = artist_numbers(store, tracks)
    originals, copies, rows = [], [], []
    progress = tqdm(tracks, desc="copying", unit="track", leave=False, disable=not is_main_process())
    for row, track in enumerate(progress):
        clips = levelled.clips(store, int(track))
        if not len(clips):
            continue
        made = codec.decode(codec.encode(F.pad(clips, (around, 2 * around))))[:, around : around + levelled.n_samples]
        originals.append(levelled(clips).half())
        copies.append(levelled(made).half())
        rows += [row] * len(clips)
    places = np.array(rows, int)
    groups = np.stack([genre_ids, artist_ids], 1)
    n_tracks = (groups[:, None] == groups).all(2).sum(1)  # of the same artist in the same genre
    weights = (n_tracks**-0.5 / np.bincount(places, minlength=len(tracks)).clip(1))[places]
    shares = weights / np.bincount(genre_ids[places], weights)[genre_ids[places]]
    numbers = (torch.from_numpy(values) for values in (genre_ids[places], artist_ids[places], shares))
    return Examples(torch.cat(originals), torch.cat(copies), *numbers)


def train_network(given: Examples, n_genres: int, n_artists: int, n_steps: int, seed: int, dtype: torch.dtype) -> FeatureNetwork:
    """A network that has learned from these in `n_steps`, with convolutions of `dtype`; the same from the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FeatureNetwork(n_genres, n_artists)
        optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=n_steps, pct_start=0.15)
        beta = torch.distributions.Beta(MIXUP, MIXUP)
        for _ in trange(n_steps, desc="feature network", unit="step", leave=False, disable=not is_main_process()):
            rows = torch.multinomial(given.shares, BATCH_SIZE, replacement=True)
            patches = _changed(_patches(given.originals[rows], given.copies[rows]))
            share, order = beta.sample(), torch.randperm(BATCH_SIZE)
            with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
                found = network(torch.lerp(patches[order], patches, share))
            losses = []
            for logits, truth in zip(found, (given.genres[rows], given.artists[rows]), strict=True):
                ours, theirs = (F.cross_entropy(logits.float(), of, label_smoothing=0.05) for of in (truth, truth[order]))
                losses.append(torch.lerp(theirs, ours, share))
            (losses[0] + ARTISTS_WEIGHT * losses[1]).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return network


def kept_network(
    args: argparse.Namespace,
    store: FeatureStore,
    tracks: np.ndarray,
    levelled: Levelled,
    latents: LatentStore,
    listener: MusiCNNOfLatents,
) -> FeatureNetwork:
    """A network that has learned from these tracks in `args.network_steps`, once, and is kept in the cache."""
    n_genres, n_artists = len(store.tracks.genres), int(artist_numbers(store, tracks).max()) + 1

    def learn() -> np.ndarray:
        given = examples_of(store, tracks, levelled, listener.codec)
        return train_network(given, n_genres, n_artists, args.network_steps, args.seed, listener.dtype).vector

    code = [(Path(__file__).parent / name).read_bytes() for name in ("feature_network.py", "levelled.py")]
    content = [code_version(*CODE), *code, args.network_steps, args.seed, listener.dtype, *content_keys(store, tracks)]
    return FeatureNetwork.of_vector(kept(latents.folder, "feature-network", content, learn), n_genres, n_artists, listener.dtype)


def _patches(originals: Tensor, copies: Tensor) -> Tensor:
    """3 s of each clip or, as often, of its copy, Tensor[B x PATCH_FRAMES x N_MELS]."""
    clips = torch.where(torch.rand(len(originals), 1, 1) < 0.5, originals, copies).float()
    starts = torch.randint(0, clips.shape[1] - PATCH_FRAMES + 1, (len(clips), 1, 1))
    places = (starts + torch.arange(PATCH_FRAMES)[:, None]).expand(-1, -1, clips.shape[2])
    return clips.gather(1, places)


def _changed(log_mel: Tensor) -> Tensor:
    """Slightly faster, higher, louder or otherwise equalised, with parts hidden (Park et al., "SpecAugment", 2019) and noise."""
    n, n_frames, n_bands = log_mel.shape
    scales = 1.0 + WARP * (2.0 * torch.rand(n, 2, 1) - 1.0)
    times = torch.linspace(-1.0, 1.0, n_frames) * scales[:, 0]
    bands = torch.linspace(0.0, 2.0, n_bands) * scales[:, 1] - 1.0  # the lowest stays where it is
    grid = torch.stack([bands[:, None].expand(-1, n_frames, -1), times[:, :, None].expand(-1, -1, n_bands)], 3)
    x = F.grid_sample(log_mel[:, None], grid, padding_mode="border", align_corners=True)[:, 0]
    curve = F.interpolate(EQUALISER * torch.randn(n, 1, 5), n_bands, mode="linear", align_corners=True)
    x = x + curve * (x / 2.0).clamp(0.0, 1.0)  # silence stays silent
    mean = x.mean((1, 2), keepdim=True)
    for dim, longest in enumerate(LONGEST_MASKS, 1):
        length = longest * torch.rand(n, 1)
        place = torch.arange(x.shape[dim]) - torch.rand(n, 1) * (x.shape[dim] - length)
        x = torch.where(((place >= 0.0) & (place < length)).unsqueeze(3 - dim), mean, x)
    return x + NOISE * torch.rand(n, 1, 1) * torch.randn_like(x)
