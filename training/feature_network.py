"""A small network that tells genres and artists of the training side apart: fine-tuning compares its features beside MusiCNN's.

One network alone can be pleased in ways that no other hears. This one is of another kind, small filters over time and frequency
alike (Simonyan & Zisserman, 2015), and has learned from the generator's training side alone. What it learns from is changed,
mixed (Zhang et al., "mixup", 2018) and noisy, since the gradients of networks that do not mind such changes point at what people
perceive (Santurkar et al., "Image synthesis with a single (robust) classifier", 2019), and half of it are copies through the
codec, so that it does not mind the codec. Another kind, which learns alike, is kept out of all training, for choosing weights.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm, trange

from genre_gan.data.cache import FeatureStore, code_version
from genre_gan.data.latents import CODE
from genre_gan.data.splits import artist_groups
from genre_gan.models.codec import Codec
from genre_gan.models.musicnn import N_MELS, PATCH_FRAMES
from training.changes import changed_at_random
from training.launch import is_main_process
from training.levelled import Levelled
from training.spectral_fit import content_keys, kept

WIDTHS, WIDTH, EMBEDDING_DIM = (32, 64, 96, 128, 160), 192, 128
N_STEPS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 1200, 64, 2e-3, 0.05
ARTISTS_WEIGHT = 0.5  # of telling artists apart, beside genres
MIXUP = 0.3  # both parameters of the beta distribution of shares

Network = TypeVar("Network", bound="FeatureNetwork")


class FeatureNetwork(nn.Module):
    """MusiCNN's log-mel Tensor[B x PATCH_FRAMES x N_MELS] to an embedding, genres and artists.

    Attributes:
        level_spread: deviation in log10 of power of the levels from which it learns.
    """

    level_spread = 0.0
    dropout: nn.Dropout
    dense: nn.Linear
    genres: nn.Linear
    artists: nn.Linear

    def _add_heads(self, n_pooled: int, n_genres: int, n_artists: int) -> None:
        self.dropout = nn.Dropout(0.4)
        self.dense = nn.Linear(n_pooled, EMBEDDING_DIM)
        self.genres = nn.Linear(EMBEDDING_DIM, n_genres)
        self.artists = nn.Linear(EMBEDDING_DIM, n_artists)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def pooled(self, log_mel: Tensor) -> Tensor:
        """What convolutions find, without the order in time, Tensor[B x n_pooled]."""
        raise NotImplementedError

    def embed(self, pooled: Tensor) -> Tensor:
        """The embedding Tensor[B x EMBEDDING_DIM]."""
        return self.dense(self.dropout(pooled)).relu()

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of genres and of artists."""
        embedding = self.dropout(self.embed(self.pooled(log_mel)))
        return self.genres(embedding), self.artists(embedding)

    @property
    def vector(self) -> np.ndarray:
        """All its numbers, float32 [shape=(n,)]."""
        return torch.cat([number.detach().flatten() for number in self._numbers()]).numpy()

    def listen(self, vector: np.ndarray) -> None:
        """Take these numbers, and learn no more."""
        self.eval().requires_grad_(False)
        numbers = self._numbers()
        for number, part in zip(numbers, torch.from_numpy(vector).split([number.numel() for number in numbers]), strict=True):
            number.copy_(part.view(number.shape))

    def _numbers(self) -> list[Tensor]:
        return [*self.parameters(), *(buffer for buffer in self.buffers() if buffer.is_floating_point())]


class SmallFilters(nn.Module):
    """Convolutions over time and frequency alike."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.convs = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, padding=1) if n_in > 1 else nn.Conv2d(1, n_out, 5, stride=2, padding=2)
            for n_in, n_out in pairwise((1, *WIDTHS))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS)

    def forward(self, log_mel: Tensor) -> list[Tensor]:
        """Tensor[B x C x T x F] of each convolution, half as many frames and bands each time."""
        x, found = self.norm(log_mel[:, None]).contiguous(memory_format=torch.channels_last), []
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(conv(x.to(conv.weight.dtype))).relu()
            if number:
                x = F.max_pool2d(x, 2)
            found.append(x)
        return found


class TunedThrough(FeatureNetwork):
    """Small filters; fine-tuning compares what its layers find."""

    def __init__(self, n_genres: int, n_artists: int):
        super().__init__()
        self.filters = SmallFilters()
        self._add_heads(2 * WIDTHS[-1] * (N_MELS >> len(WIDTHS)), n_genres, n_artists)

    def layers(self, log_mel: Tensor) -> list[Tensor]:
        """What each convolution finds; see `SmallFilters`."""
        return self.filters(log_mel)

    def pool(self, last: Tensor) -> Tensor:
        """Of the last layer."""
        last = last.float()
        return torch.cat([last.amax(2), last.mean(2)], 1).flatten(1)

    def pooled(self, log_mel: Tensor) -> Tensor:
        return self.pool(self.filters(log_mel)[-1])


class HeldOut(FeatureNetwork):
    """Filters over time that see all bands at once, of any level; it takes part in no training and is for choosing weights."""

    level_spread = 0.6

    def __init__(self, n_genres: int, n_artists: int):
        super().__init__()
        self.norm, self.first = nn.BatchNorm1d(N_MELS), nn.Conv1d(N_MELS, WIDTH, 5, padding=2)
        self.blocks = nn.ModuleList(_Residual(dilation) for dilation in (1, 2, 4, 8))
        self._add_heads(3 * WIDTH, n_genres, n_artists)

    def pooled(self, log_mel: Tensor) -> Tensor:
        return self._pool(self._over_time(log_mel))

    def patches(self, log_mel: Tensor, hop_frames: int) -> Tensor:
        """Embeddings Tensor[B x n x EMBEDDING_DIM] of patches that begin every `hop_frames` of Tensor[B x T x N_MELS].

        Inside a longer spectrogram they see their surroundings.
        """
        return self.embed(self._pool(self._over_time(log_mel).unfold(2, PATCH_FRAMES, hop_frames)).transpose(1, 2))

    def _over_time(self, log_mel: Tensor) -> Tensor:
        """Tensor[B x WIDTH x T]."""
        x = self.first(self.norm(log_mel.transpose(1, 2)))
        for block in self.blocks:
            x = x + block(x)
        return x.float()

    @staticmethod
    def _pool(x: Tensor) -> Tensor:
        """Tensor[B x WIDTH x ... x T] to Tensor[B x 3*WIDTH x ...]."""
        return torch.cat([x.amax(-1), x.mean(-1), x.std(-1)], 1)


class _Residual(nn.Sequential):
    def __init__(self, dilation: int):
        parts = [nn.Conv1d(WIDTH, WIDTH, 5, padding=2 * dilation, dilation=dilation), nn.Conv1d(WIDTH, WIDTH, 1)]
        super().__init__(*(layer for part in parts for layer in (nn.BatchNorm1d(WIDTH), nn.GELU(), part)))


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


def genre_numbers(store: FeatureStore, tracks: np.ndarray) -> np.ndarray:
    """The genres of these tracks, as numbers from 0."""
    return np.array([store.tracks.genres.index(store.tracks.genre_names[track]) for track in tracks])


def artist_numbers(store: FeatureStore, tracks: np.ndarray) -> np.ndarray:
    """The artists of these tracks, numbered from 0; those that share a track are one."""
    return np.unique(artist_groups(store.tracks)[0][tracks], return_inverse=True)[1]


@torch.no_grad()
def examples_of(store: FeatureStore, tracks: np.ndarray, levelled: Levelled, codec: Codec) -> Examples:
    """Of these tracks. Genres are drawn alike, and within them artists by the root of the number of their tracks.

    Raises:
        ValueError: all tracks are too short.
    """
    genre_ids, artist_ids = genre_numbers(store, tracks), artist_numbers(store, tracks)
    originals, copies, rows = [], [], []
    progress = tqdm(tracks, desc="copying", unit="track", leave=False, disable=not is_main_process())
    for row, track in enumerate(progress):
        clips = levelled.clips(store, int(track))
        if not len(clips):
            continue
        originals.append(levelled(clips).half())
        copies.append(levelled(codec.copied(clips)).half())
        rows += [row] * len(clips)
    if not rows:
        duration_s = levelled.n_samples / levelled.rate_hz
        raise ValueError(f"no track lasts {duration_s:.1f} s, which is what a feature network learns from")
    places = np.array(rows, int)
    groups = np.stack([genre_ids, artist_ids], 1)
    n_tracks = (groups[:, None] == groups).all(2).sum(1)  # of the same artist in the same genre
    weights = (n_tracks**-0.5 / np.bincount(places, minlength=len(tracks)).clip(1))[places]
    shares = weights / np.bincount(genre_ids[places], weights)[genre_ids[places]]
    numbers = (torch.from_numpy(values) for values in (genre_ids[places], artist_ids[places], shares))
    return Examples(torch.cat(originals), torch.cat(copies), *numbers)


def train_network(
    kind: type[Network], given: Examples, n_genres: int, n_artists: int, n_steps: int, seed: int, dtype: torch.dtype
) -> Network:
    """A network that has learned from these in `n_steps`, with convolutions of `dtype`; the same from the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind(n_genres, n_artists)
        optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=n_steps, pct_start=0.15)
        beta = torch.distributions.Beta(MIXUP, MIXUP)
        for _ in trange(n_steps, desc="feature network", unit="step", leave=False, disable=not is_main_process()):
            rows = torch.multinomial(given.shares, BATCH_SIZE, replacement=True)
            patches = _patches(given.originals[rows], given.copies[rows])
            if kind.level_spread:
                gain = 10.0 ** (kind.level_spread * torch.randn(BATCH_SIZE, 1, 1))
                patches = ((10.0**patches - 1.0) * gain + 1.0).log10()
            patches = changed_at_random(patches)
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
    kind: type[Network],
    store: FeatureStore,
    tracks: np.ndarray,
    codec: Codec,
    folder: Path,
    n_steps: int,
    seed: int,
    dtype: torch.dtype,
) -> Network:
    """A network that learns from these tracks once, and is kept in `folder`."""
    genre_ids, artist_ids = genre_numbers(store, tracks), artist_numbers(store, tracks)
    n_genres, n_artists = len(store.tracks.genres), int(artist_ids.max()) + 1

    def learn() -> np.ndarray:
        given = examples_of(store, tracks, Levelled(codec.config.features.sample_rate_hz), codec)
        return train_network(kind, given, n_genres, n_artists, n_steps, seed, dtype).vector

    code = [(Path(__file__).parent / name).read_bytes() for name in ("feature_network.py", "changes.py", "levelled.py")]
    learned_from = [genre_ids.tolist(), artist_ids.tolist(), *content_keys(store, tracks)]
    content = [code_version(*CODE), *code, n_steps, seed, dtype, *learned_from]
    network = kind(n_genres, n_artists)
    network.listen(kept(folder, kind.__name__, content, learn))
    return network


def _patches(originals: Tensor, copies: Tensor) -> Tensor:
    """3 s of each clip or, as often, of its copy, Tensor[B x PATCH_FRAMES x N_MELS]."""
    clips = torch.where(torch.rand(len(originals), 1, 1) < 0.5, originals, copies).float()
    starts = torch.randint(0, clips.shape[1] - PATCH_FRAMES + 1, (len(clips), 1, 1))
    places = (starts + torch.arange(PATCH_FRAMES)[:, None]).expand(-1, -1, clips.shape[2])
    return clips.gather(1, places)
