"""Batches of slices and crops: which ones a step gets, how the ranks divide them, and how they are read ahead."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from genre_gan.data.cache import FeatureStore, Segments
from genre_gan.data.splits import Split, split_segments, split_tracks

if TYPE_CHECKING:
    from training.loop import Run


def split_store(store: FeatureStore, protocol: str, seed: int) -> tuple[Split, Segments, Segments]:
    """Split a store by `protocol` and slice both sides: the split, the training and the validation segments."""
    if protocol == "segment":
        segments = store.segments()
        split = split_segments(len(segments), seed=seed)
        return split, pick(segments, split.train), pick(segments, split.valid)
    split = split_tracks(store.tracks, protocol, seed=seed)
    return split, store.segments(split.train), store.segments(split.valid)


def pick(segments: Segments, indices: np.ndarray) -> Segments:
    """Some of the segments, in the given order."""
    return Segments(segments.track[indices], segments.start[indices], segments.n_frames[indices])


class Batch(NamedTuple):
    """This rank's share of one step.

    Attributes:
        features: Tensor[B x T x F], zero beyond a slice's end.
        n_frames: (B,) lengths without that padding.
        genre_ids: (B,).
        noise_seed: from which draws for the whole batch come, the same on every rank.
        share: which rows of the whole batch these are.
        weight: of this rank's mean loss, so that the mean over ranks is the mean over the whole batch.
        n_everyone: size of the whole batch.
    """

    features: Tensor
    n_frames: Tensor
    genre_ids: Tensor
    noise_seed: int
    share: slice
    weight: float
    n_everyone: int

    def randn(self, *shape: int, draw: int = 0) -> Tensor:
        """Normal noise Tensor[B x *shape] for these rows; `draw` tells several draws of one step apart."""
        generator = torch.Generator().manual_seed(self.noise_seed + draw)
        return torch.randn(self.n_everyone, *shape, generator=generator)[self.share].to(self.features.device)


class Loader:
    """Batches of slices, the next one read in the background while this one is used.

    Batch k is a function of (seed, k) alone. Subclasses choose its slices.
    """

    def __init__(self, store: FeatureStore, length: int, seed: int, run: Run):
        self.store, self.length, self.seed, self.run = store, length, seed, run
        genre_id = {genre: i for i, genre in enumerate(store.tracks.genres)}
        self.track_genre_ids = np.array([genre_id[genre] for genre in store.tracks.genre_names])
        self._pool = ThreadPoolExecutor(1)
        self._next: tuple[int, Any] | None = None

    def choose(self, step: int) -> Segments:
        """The slices of the whole batch number `step`."""
        raise NotImplementedError

    def batch(self, step: int) -> Batch:
        """This rank's share of batch number `step`."""
        future = self._next[1] if self._next and self._next[0] == step else self._pool.submit(self._read, step)
        asked = time.perf_counter()
        result = future.result()
        self.run.count_batch(result.n_everyone, time.perf_counter() - asked)
        self._next = (step + 1, self._pool.submit(self._read, step + 1))
        return result

    def _read(self, step: int) -> Batch:
        everyone = self.choose(step)
        rows = np.array_split(np.arange(len(everyone)), self.run.world_size)[self.run.rank]
        mine = pick(everyone, rows)
        device = self.run.device
        return Batch(
            self.read(mine).to(device),
            torch.from_numpy(mine.n_frames).to(device),
            torch.from_numpy(self.track_genre_ids[mine.track]).to(device),
            int(np.random.SeedSequence([self.seed, step, 1]).generate_state(1)[0]) << 8,
            slice(int(rows[0]), int(rows[-1]) + 1),
            len(mine) * self.run.world_size / len(everyone),
            len(everyone),
        )

    def read(self, segments: Segments) -> Tensor:
        """Features Tensor[B x T x F] of these slices, zero beyond a slice's end."""
        features = torch.zeros(len(segments), self.length, self.store.n_features)
        for row, (track, start, n_frames) in enumerate(zip(segments.track, segments.start, segments.n_frames)):
            features[row, :n_frames] = torch.from_numpy(self.store.read(int(track), int(start), int(n_frames)))
        return features


class SegmentLoader(Loader):
    """Epochs of fixed segments: epoch e is a permutation of all of them, so that none is lost and none comes twice.

    A last batch too small for all ranks joins the one before it.
    """

    def __init__(self, store: FeatureStore, segments: Segments, batch_size: int, seed: int, run: Run):
        super().__init__(store, int(segments.n_frames.max()), seed, run)
        self.segments, self.batch_size = segments, min(batch_size, len(segments))
        full, rest = divmod(len(segments), self.batch_size)
        self.batches_per_epoch = full + (rest >= run.world_size)
        self.genre_ids = self.track_genre_ids[segments.track]

    def choose(self, step: int) -> Segments:
        epoch, position = divmod(step, self.batches_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.segments))
        stop = None if position == self.batches_per_epoch - 1 else (position + 1) * self.batch_size
        return pick(self.segments, order[position * self.batch_size : stop])


class CropLoader(Loader):
    """Random crops of one length: genres as even as the batch size allows, in each genre every source of data as often as
    the others, and in each source longer tracks more often than short ones.
    """

    def __init__(self, store: FeatureStore, tracks: np.ndarray, length: int, batch_size: int, seed: int, run: Run):
        super().__init__(store, length, seed, run)
        tracks = tracks[store.n_frames[tracks] >= length]
        if len(tracks) == 0:
            raise ValueError(f"no track is as long as a crop of {length / store.frame_rate_hz:.1f} s; use a shorter one")
        self.batch_size = batch_size
        self.batches_per_epoch = max(1, int(store.n_frames[tracks].sum()) // (length * batch_size))
        genre_ids, sources = self.track_genre_ids[tracks], np.array(store.tracks.sources)[tracks]
        self.by_genre = []
        for genre in np.unique(genre_ids):
            chances = np.zeros(len(tracks))
            for source in np.unique(sources[genre_ids == genre]):
                members = (genre_ids == genre) & (sources == source)
                chances[members] = store.n_frames[tracks[members]] / store.n_frames[tracks[members]].sum()
            chosen = chances > 0
            self.by_genre.append((tracks[chosen], chances[chosen] / chances.sum()))

    def choose(self, step: int) -> Segments:
        rng = np.random.default_rng([self.seed, step])
        genres = np.resize(rng.permutation(len(self.by_genre)), self.batch_size)
        tracks = np.array([rng.choice(self.by_genre[genre][0], p=self.by_genre[genre][1]) for genre in genres])
        starts = rng.integers(0, self.store.n_frames[tracks] - self.length + 1)
        return Segments(tracks, starts, np.full(self.batch_size, self.length))


def count_steps(args: argparse.Namespace, batches_per_epoch: int) -> int:
    """Steps that `--epochs` and `--max-steps` allow."""
    n_steps = args.epochs * batches_per_epoch
    return n_steps if args.max_steps is None else min(n_steps, args.max_steps)
