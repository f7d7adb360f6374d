"""Slices of tracks that are read from parquet shards as they come: for data larger than a disk or a machine's memory."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from glob import escape
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genre_gan.audio import AudioError, load_audio
from genre_gan.data.cache import check_usable, compute, slices
from genre_gan.data.columns import first_line, stream_rows
from genre_gan.data.tracks import DataError
from genre_gan.data.tree import walk
from genre_gan.features import FeatureConfig, FeatureExtractor
from genre_gan.genres import canonical_genre


class Slice(NamedTuple):
    """Features Tensor[T x F], zero beyond the first `n_frames`, and the genre's id."""

    features: Tensor
    n_frames: int
    genre_id: int


class SliceStream:
    """Slices without end, in an order that changes with every epoch.

    Shards are divided among ranks, and among the workers of a rank. What is not kept is computed again in each epoch. A
    position can be gone on from; what waited in the buffer then comes in the next epoch.

    Attributes:
        genres: those that the data declares or that were named.
        length: of a slice in frames.
    """

    def __init__(
        self, source: str, config: FeatureConfig, *, genres: Sequence[str] | None = None, rank: int = 0, n_ranks: int = 1,
        seed: int = 0, n_buffered: int = 256,
    ):
        """Open a folder of parquet files or a Hub data set.

        Args:
            genres: use these alone; needed where the data does not declare its classes.
            rank, n_ranks: which of so many parts of the shards to read.
            n_buffered: slices that wait to be drawn from at random.

        Raises:
            DataError: no parquet, no column of sound or genre, no genres known, no length of a slice.
        """
        if config.segment_frames is None:
            raise DataError("a stream needs slices of one length, not whole tracks")
        self.config, self.length, self.seed, self.n_buffered = config, config.segment_frames, seed, n_buffered
        rows, declared = stream_rows(_open(source), Path(source))
        self.genres = tuple(canonical_genre(genre) for genre in genres) if genres else declared
        if not self.genres:
            raise DataError(f"{source} does not say which genres it has before it is read: name them with --genres")
        # Where `datasets` would read several shards in turn it sleeps for seconds behind each epoch.
        options = {"max_buffer_input_shards": 1} if "max_buffer_input_shards" in signature(rows.shuffle).parameters else {}
        self._all_rows = rows.shuffle(seed=seed, buffer_size=1, **options)
        self._rank, self._n_ranks = rank, n_ranks

    def __iter__(self) -> Iterator[Slice]:
        return (item for item, _ in self.from_position(""))

    def from_position(self, position: str, worker: int = 0, n_workers: int = 1) -> Iterator[tuple[Slice, str]]:
        """Slices, each with the position behind it; an empty one is the beginning.

        Of several workers each reads shards of its own; those for which there are no shards get nothing.
        """
        rows = self._part(worker, n_workers)
        if rows is None:
            return
        place: dict[str, Any] = json.loads(position) if position else {"epoch": 0, "rows": None}
        rng, extractor = random.Random(f"{self.seed} {worker} {position}"), FeatureExtractor(self.config)
        buffer: list[Slice] = []
        n_buffered = self.n_buffered
        while True:
            rows.set_epoch(place["epoch"])
            if place["rows"] is not None:
                rows.load_state_dict(place["rows"])
            n_read = 0
            for row in rows.iter(1):  # not iter(rows), which divides shards among torch's workers its own way
                for item in self._slices({name: value[0] for name, value in row.items()}, extractor):
                    n_read += 1
                    buffer.append(item)
                    if len(buffer) > n_buffered:
                        yield _draw(buffer, rng), json.dumps({"epoch": place["epoch"], "rows": rows.state_dict()})
            if place["rows"] is None:
                if n_read == 0:
                    raise DataError(f"the stream holds no usable sound of {', '.join(self.genres)}")
                n_buffered = min(n_buffered, n_read // 2)  # data smaller than the buffer need not wait for it to be full
            place = {"epoch": place["epoch"] + 1, "rows": None}

    def _part(self, worker: int, n_workers: int):
        """The rows of a worker: whole shards where they can be divided evenly among as many, else one of the rank's workers
        reads them all and keeps its rank's rows.
        """
        from datasets.distributed import split_dataset_by_node

        n_shards = self._all_rows.num_shards
        n_busy = next((n for n in range(n_workers, 0, -1) if n_shards % (self._n_ranks * n) == 0), 1)
        if worker >= n_busy:
            return None
        return split_dataset_by_node(self._all_rows, self._rank * n_busy + worker, self._n_ranks * n_busy)

    def _slices(self, row: dict, extractor: FeatureExtractor) -> Iterator[Slice]:
        """Those of one track; none of a track that cannot be used."""
        if row["problem"] or row["genre"] not in self.genres:
            return
        try:
            samples = load_audio(row["sound"], self.config.sample_rate_hz).samples
            check_usable(samples, self.config.sample_rate_hz)
        except AudioError:
            return
        values = torch.from_numpy(compute(samples, extractor))
        if values.dtype == torch.int16:
            values = values.float() / 32768.0
        for start, n_frames in slices(len(values), self.config):
            features = torch.zeros(self.length, values.shape[1])
            features[:n_frames] = values[start : start + n_frames]
            yield Slice(features, n_frames, self.genres.index(row["genre"]))


def _draw(items: list[Slice], rng: random.Random) -> Slice:
    """Take one out at random."""
    number = rng.randrange(len(items))
    items[number], items[-1] = items[-1], items[number]
    return items.pop()


def _open(source: str):
    """A `datasets.IterableDataset` over the training rows of a source."""
    from datasets import IterableDatasetDict, load_dataset

    path = Path(source).expanduser()
    try:
        if not path.exists():
            opened = load_dataset(source, streaming=True)
            return opened.get("train", next(iter(opened.values()))) if isinstance(opened, IterableDatasetDict) else opened
        files = [str(file) for file in sorted(walk(path).parquet if path.is_dir() else [path]) if file.suffix == ".parquet"]
        if files:
            return load_dataset("parquet", data_files=[escape(file) for file in files], split="train", streaming=True)
    except Exception as error:  # datasets raises many unrelated types for the same causes
        raise DataError(f"{source} cannot be opened as a stream: {first_line(error)}") from error
    raise DataError(f"{source} holds no parquet files, which streams are read from; training/prepare_data.py makes them")
