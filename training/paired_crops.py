"""The rows that the two discriminators of `train_cgan.py --model mel` see: a long and a short crop each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from genre_gan.data.latents import LatentStore
from genre_gan.models.layers import GROUP_ROWS
from genre_gan.recipe import BEATS_PER_BAR
from training.batches import Rows


class PairedCrops:
    """Rows of a long crop and a short one of the same label, genres alike often, longer tracks more often than short ones.

    A label is a cluster of a genre's music: `clusters` has that of each track of `store`, from 0. Rows come in groups of one
    label, so that the discriminators, which see how much a group differs, can tell a generator that knows one clip of it from
    music.

    `features` are both crops, one after the other; `genre_ids` the labels; `conditions` key, tempo and beat of the long one, then
    those of the short.
    """

    def __init__(
        self, store: LatentStore, clusters: np.ndarray, n_clusters: int, lengths: tuple[int, int], n_rows: int, seed: int
    ):
        self.store, self.lengths, self.n_rows, self.seed = store, lengths, n_rows, seed
        self.genres, names = store.tracks.genres, np.array(store.tracks.genre_names)
        self.labels = np.array([self.genres.index(name) for name in names]) * n_clusters + clusters  # of each track
        self.n_clusters = n_clusters
        labels = [self.labels == label for label in range(len(self.genres) * n_clusters)]
        self._of_genre = [np.flatnonzero((names == genre) & (store.n_frames >= lengths[0])) for genre in self.genres]
        self._of_label = {
            length: [np.flatnonzero(members & (store.n_frames >= length)) for members in labels] for length in lengths
        }
        lacking = [genre for genre, members in zip(self.genres, self._of_genre, strict=True) if len(members) == 0]
        if lacking:
            seconds = lengths[0] / store.frame_rate_hz
            raise ValueError(f"no track of {', '.join(lacking)} lasts {seconds:.1f} s, which is what the generator learns from")
        total = sum(int(store.n_frames[members].sum()) for members in self._of_genre)
        self.steps_per_epoch = max(1, total // (lengths[0] * n_rows))

    def choose(self, step: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, step])
        n_groups = -(-self.n_rows // GROUP_ROWS)
        genres = np.resize(rng.permutation(len(self.genres)), n_groups)
        labels = self.labels[[self._draw(rng, self._of_genre[genre]) for genre in genres]].repeat(GROUP_ROWS)[: self.n_rows]
        picks = [labels]
        for length in self.lengths:
            tracks = np.array([self._draw(rng, self._of_label[length][label]) for label in labels])
            picks += [tracks, rng.integers(0, self.store.n_frames[tracks] - length + 1)]
        return np.stack([*picks, rng.integers(0, BEATS_PER_BAR, self.n_rows)], 1)

    def cluster_shares(self) -> np.ndarray:
        """How often rows of each genre are of each of its clusters [shape=(n_genres, n_clusters)]."""
        n_labels = len(self.genres) * self.n_clusters
        shares = [np.bincount(self.labels[members], self._chances(members), n_labels) for members in self._of_genre]
        return np.sum(shares, 0).reshape(-1, self.n_clusters)

    def crops(self, label: int, length: int, n_crops: int) -> Tensor:
        """Latents of some crops of one label, Tensor[n_crops x T x F], drawn as for training; of its genre where it has none."""
        rng = np.random.default_rng([self.seed, label])
        members = self._of_label[length][label]
        if len(members) == 0:
            members = self._of_genre[label // self.n_clusters]
        tracks = [self._draw(rng, members) for _ in range(n_crops)]
        starts = [int(rng.integers(0, self.store.n_frames[track] - length + 1)) for track in tracks]
        picks = zip(tracks, starts, strict=True)
        return torch.from_numpy(np.stack([self.store.read(track, start, length) for track, start in picks]))

    def _draw(self, rng: np.random.Generator, members: np.ndarray) -> int:
        return int(rng.choice(members, p=self._chances(members)))

    def _chances(self, members: np.ndarray) -> np.ndarray:
        sizes = np.sqrt(np.minimum(self.store.n_frames[members], 200.0))
        return sizes / sizes.sum()

    def read(self, picks: np.ndarray) -> Rows:
        n_rows, n_long = len(picks), self.lengths[0]
        features = torch.empty(n_rows, sum(self.lengths), self.store.n_features)
        conditions = torch.empty(n_rows, 2, 3)
        for row, (_, *places, beat) in enumerate(picks.tolist()):
            for number, length in enumerate(self.lengths):
                track, start = places[2 * number : 2 * number + 2]
                features[row, number * n_long :][:length] = torch.from_numpy(self.store.read(track, start, length))
                tempo_bpm, phase = self.store.pulse(track, start, length)
                conditions[row, number] = torch.tensor([float(self.store.keys[track]), tempo_bpm, beat + phase])
        n_frames = torch.full((n_rows,), sum(self.lengths))
        return Rows(features, n_frames, torch.from_numpy(picks[:, 0]), conditions.flatten(1))
