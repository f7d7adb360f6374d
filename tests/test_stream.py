"""Streams: every rank sees its own tracks, all of them once an epoch, and can go on from where it was."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, Value

from genre_gan.audio import SAMPLE_RATE_HZ
from genre_gan.data.stream import SliceStream
from genre_gan.data.tracks import DataError
from genre_gan.features import FeatureConfig

CONFIG = FeatureConfig("waveform", segment_s=1.0)
N_SHARDS, PER_SHARD = 6, 3
N_TRACKS = N_SHARDS * PER_SHARD


def write_shards(folder: Path, classes: bool = True) -> Path:
    """Tracks of two seconds, each at a level of its own by which its slices can be told, in six shards."""
    folder.mkdir()
    for shard in range(N_SHARDS):
        rows = []
        for number in range(shard * PER_SHARD, (shard + 1) * PER_SHARD):
            path = folder / "sound.wav"
            soundfile.write(path, np.full(2 * SAMPLE_RATE_HZ, (number + 1) / 100, np.float32), SAMPLE_RATE_HZ, subtype="FLOAT")
            rows.append({"audio": {"bytes": path.read_bytes(), "path": f"{number}.wav"}, "genre": number % 2})
            path.unlink()
        data = Dataset.from_list(rows).cast_column("audio", Audio(decode=False))
        kind = ClassLabel(names=["blues", "metal"]) if classes else Value("string")
        data.cast_column("genre", kind).to_parquet(folder / f"train-{shard}.parquet")
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return write_shards(tmp_path_factory.mktemp("stream") / "shards")


def open_stream(shards: Path, rank: int = 0, n_ranks: int = 1, n_buffered: int = 4) -> SliceStream:
    return SliceStream(str(shards), CONFIG, rank=rank, n_ranks=n_ranks, seed=7, n_buffered=n_buffered)


def track_of(item) -> int:
    return round(item.features.mean().item() * 100) - 1


@pytest.mark.parametrize(("n_ranks", "n_workers"), [(1, 1), (2, 1), (4, 1), (2, 3), (3, 4)])  # even and uneven over six shards
def test_ranks_and_workers_see_each_track_once_an_epoch_and_together_all(n_ranks, n_workers, shards):
    seen = []
    for rank, worker in itertools.product(range(n_ranks), range(n_workers)):
        stream = open_stream(shards, rank, n_ranks, n_buffered=0)
        pairs = stream.from_position("", worker, n_workers)
        first_epoch = itertools.takewhile(lambda pair: json.loads(pair[1])["epoch"] == 0, pairs)
        epoch = [track_of(item) for item, _ in first_epoch]
        assert epoch[::2] == epoch[1::2] and len(set(epoch)) == len(epoch) // 2  # two slices of each
        seen += epoch[::2]
    assert sorted(seen) == list(range(N_TRACKS))


def test_the_order_changes_with_the_epoch_and_slices_are_mixed(shards):
    stream = open_stream(shards, n_buffered=0)
    tracks = [track_of(item) for item in itertools.islice(stream, 4 * N_TRACKS)]
    first, second = tracks[: 2 * N_TRACKS], tracks[2 * N_TRACKS :]
    assert sorted(first) == sorted(second) and first != second
    mixed = [track_of(item) for item in itertools.islice(open_stream(shards, n_buffered=16), 2 * N_TRACKS)]
    assert sum(a == b for a, b in itertools.pairwise(mixed)) < 8  # of 18 pairs that follow each other in the shards
    assert all(item.genre_id == track_of(item) % 2 for item in itertools.islice(open_stream(shards), 10))


def test_a_position_is_gone_on_from_without_reading_what_came_before(shards):
    def pairs(position: str):
        return ((track_of(item), place) for item, place in open_stream(shards, n_buffered=0).from_position(position))

    whole = list(itertools.islice(pairs(""), 50))
    tracks = [track for track, _ in whole]
    for stop in (9, 35, 41):  # behind a track's second slice; in the second epoch too
        assert [track for track, _ in itertools.islice(pairs(whole[stop][1]), 8)] == tracks[stop + 1 : stop + 9]


def test_genres_are_named_where_the_data_does_not_declare_them(tmp_path, shards):
    plain = write_shards(tmp_path / "plain", classes=False)
    with pytest.raises(DataError, match="name them with --genres"):
        open_stream(plain)
    only = SliceStream(str(shards), CONFIG, genres=["metal"], n_buffered=0)
    assert only.genres == ("metal",)
    assert {track_of(item) % 2 for item in itertools.islice(only, 20)} == {1}


def test_what_cannot_be_streamed_is_said(tmp_path, shards):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no parquet files"):
        SliceStream(str(tmp_path / "empty"), CONFIG)
    with pytest.raises(DataError, match="slices of one length"):
        SliceStream(str(shards), FeatureConfig("waveform"))
