"""Batches without end: what a step gets, how it is read ahead and divided, and noise that belongs to its rows.

Batch k is a function of (seed, k) alone, and so is the noise of each of its rows. So a resumed run and a run of several
processes go exactly where one that was never stopped, on one process, would have gone.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import os
import shutil
import signal
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from torch import Tensor
from torch.utils.data import DataLoader

from genre_gan.data.cache import FeatureStore, Segments
from genre_gan.data.sources import DEFAULT_DATASET, load_tracks
from genre_gan.data.splits import Split, split_segments, split_tracks
from genre_gan.data.stream import SliceStream
from genre_gan.features import FeatureConfig
from training.arguments import TrainingError
from training.launch import check_precision, is_main_process, is_resumed, n_processes
from training.run_folder import check_run

_SHARED_MEMORY = Path("/dev/shm")  # through which batches come from the processes that read


class Batch(NamedTuple):
    """This process's rows of a batch.

    Attributes:
        features: Tensor[B x T x F], zero beyond a slice's end.
        n_frames: (B,) lengths without that padding.
        genre_ids: (B,).
        conditions: Tensor[B x k], what else the source says of the rows; k is 0 where it says nothing.
        keys: (B,) int64, from which the noise of each row is drawn.
    """

    features: Tensor
    n_frames: Tensor
    genre_ids: Tensor
    conditions: Tensor
    keys: Tensor

    def randn(self, *shape: int, draw: int = 0) -> Tensor:
        """Normal noise Tensor[B x *shape], the same on every device; `draw` tells several draws of one step apart."""
        bits = self._bits(math.prod(shape), draw)
        radius = (-2.0 * torch.log((((bits >> 32) & 0xFFFFFFFF) + 1).float() * 2.0**-32)).sqrt()
        angle = (bits & 0xFFFFFFFF).float() * (2.0 * math.pi * 2.0**-32)
        return (radius * angle.cos()).reshape(len(bits), *shape)

    def rand(self, *shape: int, draw: int = 0) -> Tensor:
        """Uniform noise in [0, 1) Tensor[B x *shape]; draws of `randn` and `rand` share their numbers."""
        bits = self._bits(math.prod(shape), draw)
        return (((bits >> 40) & 0xFFFFFF).float() * 2.0**-24).reshape(len(bits), *shape)

    def _bits(self, n: int, draw: int) -> Tensor:
        """Random int64 Tensor[B x n]: number i of a row is SplitMix64 (Steele et al. 2014) of its key, `draw` and i."""
        start = _mix(self.keys + _signed((draw + 1) * _GAMMA))[:, None]
        return _mix(start + _signed(_GAMMA) * torch.arange(1, n + 1, device=self.keys.device))


_GAMMA = 0x9E3779B97F4A7C15


def _signed(number: int) -> int:
    """The same 64 bits, read as a signed number."""
    return (number + 2**63) % 2**64 - 2**63


def _mix(x: Tensor) -> Tensor:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> shift & 2 ** (64 - shift) - 1)) * _signed(factor)
    return x ^ (x >> 31 & 2**33 - 1)


class Rows(NamedTuple):
    """What a source reads: the first four fields of a `Batch`."""

    features: Tensor
    n_frames: Tensor
    genre_ids: Tensor
    conditions: Tensor


class Source(Protocol):
    """Where batches come from; `choose` is asked in the training process, `read` in those that read ahead."""

    steps_per_epoch: int

    def choose(self, step: int) -> np.ndarray:
        """What the rows of this step are, as integers [shape=(n_rows, k)]; a function of the step alone."""

    def read(self, picks: np.ndarray) -> Rows:
        """Some of those rows."""


class Slices:
    """Fixed slices in epochs, each a permutation of all of them, laid end to end: none is lost and none comes twice."""

    def __init__(self, store: FeatureStore, segments: Segments, n_rows: int, seed: int):
        self.store, self.segments, self.n_rows, self.seed = store, segments, n_rows, seed
        self.steps_per_epoch = max(1, round(len(segments) / n_rows))
        places = {genre: i for i, genre in enumerate(store.tracks.genres)}
        self.genre_ids = np.array([places[genre] for genre in store.tracks.genre_names])  # of all tracks

    def choose(self, step: int) -> np.ndarray:
        """Rows of (track, start, n_frames)."""
        epochs, places = np.divmod(np.arange(step * self.n_rows, (step + 1) * self.n_rows), len(self.segments))
        rows = np.concatenate([self._order(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])
        return np.stack([self.segments.track[rows], self.segments.start[rows], self.segments.n_frames[rows]], 1)

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.segments))

    def read(self, picks: np.ndarray) -> Rows:
        features = torch.zeros(len(picks), int(self.segments.n_frames.max()), self.store.n_features)
        for row, (track, start, n_frames) in enumerate(picks.tolist()):
            features[row, :n_frames] = torch.from_numpy(self.store.read(track, start, n_frames))
        genre_ids = torch.from_numpy(self.genre_ids[picks[:, 0]])
        return Rows(features, torch.from_numpy(picks[:, 2]), genre_ids, torch.zeros(len(picks), 0))


def count_workers(args: argparse.Namespace, device: torch.device) -> int:
    """Processes that read ahead for this one: as the arguments say, else one; a GPU, which is faster, gets up to four."""
    if args.num_workers is not None:
        return args.num_workers
    is_narrow = _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free < 2**30  # as in many containers
    if device.type == "cpu" or is_narrow:
        return 1
    n_processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # on this host
    return min(4, max(1, (os.cpu_count() or 1) // n_processes))


class Loader:
    """The batches of a source, from any step on; each step has as many as gradients are accumulated over."""

    def __init__(self, source: Source, accelerator: Accelerator, args: argparse.Namespace):
        self.source = source
        self._sampler = _Sampler(source, args.batch_size, accelerator.gradient_accumulation_steps, args.seed)
        self._loader = accelerator.prepare(DataLoader(
            _Rows(source),
            batch_sampler=self._sampler,  # type: ignore[arg-type]  # of arrays in place of lists
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # the data set gives whole batches
            num_workers=count_workers(args, accelerator.device),
            worker_init_fn=_detach,
            pin_memory=accelerator.device.type == "cuda",
        ))  # fmt: skip

    @property
    def steps_per_epoch(self) -> int:
        return self.source.steps_per_epoch

    positions = None  # those of a stream

    def batches(self, first_step: int) -> Generator[Batch, None, None]:
        """Without end, from the first batch of a step on."""
        self._sampler.first_step = first_step
        return _one_ahead(self._loader)


class StreamLoader:
    """The batches of a stream, whose rank is this process; where the workers are in it can be kept and gone back to."""

    steps_per_epoch = None

    def __init__(self, stream: SliceStream, accelerator: Accelerator, args: argparse.Namespace):
        self.stream, self.accelerator, self.args = stream, accelerator, args
        self.positions: dict[str, str] = {}  # by worker, as JSON has it

    def batches(self, first_step: int) -> Generator[Batch, None, None]:
        """Without end, from the positions on; the noise depends on the step too."""
        n_processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        rows = _StreamedRows(self.stream, self.args.batch_size // n_processes, self.positions, [self.args.seed, rank, first_step])
        loader = prepare_data_loader(
            DataLoader(
                rows, batch_size=None, num_workers=count_workers(self.args, self.accelerator.device), worker_init_fn=_detach
            ),
            self.accelerator.device,
            num_processes=1,  # the stream is divided already
            process_index=0,
            dispatch_batches=False,  # else the first process's batches would go to all
            put_on_device=True,
        )
        for batch, worker, position in _one_ahead(loader):  # the batch first: accelerate looks there for its size
            self.positions[str(worker)] = position
            yield batch


def _one_ahead(loader: Iterable[Any]) -> Generator[Any, None, None]:
    """A loader's items, of which a thread fetches the next one from the processes that read while this one is used."""
    iterator: Any = iter(loader)  # a generator, of accelerate's
    with contextlib.closing(iterator) as items, ThreadPoolExecutor(1) as thread:
        coming: Future[Any] = thread.submit(next, items, None)
        while (fetched := [coming.result()])[0] is not None:
            coming = thread.submit(next, items, None)
            yield fetched.pop()  # nothing here keeps a batch that has been used


class _StreamedRows(torch.utils.data.IterableDataset):
    def __init__(self, stream: SliceStream, n_rows: int, positions: dict[str, str], seed: list[int]):
        self.stream, self.n_rows, self.positions, self.seed = stream, n_rows, positions, seed

    def __iter__(self) -> Iterator[tuple[Batch, int, str]]:
        info = torch.utils.data.get_worker_info()
        worker, n_workers = (0, 1) if info is None else (info.id, info.num_workers)
        pairs = self.stream.from_position(self.positions.get(str(worker), ""), worker, n_workers)
        for number in itertools.count():
            rows = list(itertools.islice(pairs, self.n_rows))
            if len(rows) < self.n_rows:
                return
            features, n_frames, genre_ids = zip(*(item for item, _ in rows), strict=True)
            keys = np.random.SeedSequence([*self.seed, worker, number]).generate_state(self.n_rows, np.uint64).view(np.int64)
            read = Rows(torch.stack(features), torch.tensor(n_frames), torch.tensor(genre_ids), torch.zeros(len(keys), 0))
            batch = Batch(*read, torch.from_numpy(keys))
            yield batch, worker, rows[-1][1]


class _Sampler:
    """For accelerate, which divides each list of rows among the processes."""

    drop_last = True

    def __init__(self, source: Source, batch_size: int, n_batches: int, seed: int):
        self.source, self.batch_size, self.n_batches, self.seed = source, batch_size, n_batches, seed
        self.first_step = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for step in itertools.count(self.first_step):
            picks = self.source.choose(step)
            keys = np.random.SeedSequence([self.seed, step]).generate_state(len(picks), np.uint64).view(np.int64)
            rows = np.column_stack([keys, picks])
            for start in range(0, self.n_batches * self.batch_size, self.batch_size):
                yield rows[start : start + self.batch_size]


class _Rows(torch.utils.data.Dataset):
    def __init__(self, source: Source):
        self.source = source

    def __getitems__(self, rows: np.ndarray) -> Batch:
        return Batch(*self.source.read(rows[:, 1:]), torch.from_numpy(rows[:, 0].copy()))


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _detach(worker: int) -> None:
    """A terminal's Ctrl-C, or a launcher's SIGTERM, is meant for the trainer, which needs its workers to end the step."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the trainer's own handler came along with the fork


def load_features(args: argparse.Namespace, config: FeatureConfig, group_rows: int = 1) -> FeatureStore:
    """The data that the arguments name, as features. One process of a host computes them; the others wait for its lock.

    To be called before there is a `Trainer`: from then on the processes wait for each other, for minutes at most. A process
    needs whole groups of `group_rows` rows of a batch.
    """
    check_run(args, is_resumed(args))
    check_batch_size(args.batch_size, n_processes(), group_rows)
    check_precision(args)
    is_main = is_main_process()
    tracks = load_tracks(args.data or [DEFAULT_DATASET], args.genres)
    if is_main:
        print(tracks.describe(), flush=True)
    store = FeatureStore(tracks, config, args.cache_dir, progress=is_main)
    if is_main:
        print(store.summary(), flush=True)
    return store


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


def check_batch_size(batch_size: int, n_processes: int, group_rows: int = 1) -> None:
    """Raise `TrainingError` unless each process can have as many rows as the others, in whole groups."""
    if batch_size % (n_processes * group_rows):
        groups = f"{group_rows} rows times " if group_rows > 1 else ""
        raise TrainingError(
            f"--batch-size must be a multiple of {groups}the number of processes, {n_processes * group_rows}, got {batch_size}"
        )
