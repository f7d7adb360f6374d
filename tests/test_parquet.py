"""Parquet as other programs write it: every type of column, shards that differ, samples without a file."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from genre_gan import AudioError, load_audio
from genre_gan.data.columns import stream_rows
from genre_gan.data.sources import DataError, load_tracks
from tests.conftest import SAMPLE_RATE_HZ, TWO_GENRES, synthesize
from tests.test_sources import PAIR, counts
from training import prepare_data

GENRES = pa.array(TWO_GENRES * 2)
SAMPLES = synthesize(220, 2, 1.2, seed=0)


def write(path: Path, **columns: pa.Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def files(kind: pa.DataType | None = None, data: bytes = b"a sound", n: int = 4) -> pa.Array:
    return struct(bytes=pa.array([data] * n, kind or pa.binary()), path=pa.array([f"{i}.wav" for i in range(n)]))


def struct(**columns: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays(list(columns.values()), list(columns))


@pytest.mark.parametrize("audio", [
    files(pa.large_binary()), files(pa.binary_view()), files(pa.binary(7)), pa.array([b"a sound"] * 4),
], ids=["large", "view", "fixed", "bytes alone"])  # fmt: skip
@pytest.mark.parametrize("genre", [
    GENRES, GENRES.dictionary_encode(), GENRES.cast(pa.large_string()), GENRES.cast(pa.binary()),
    pa.array([{"name": name} for name in TWO_GENRES * 2]),
], ids=["text", "categories", "large", "bytes", "objects"])  # fmt: skip
def test_sound_and_genres_of_every_type_are_read(tmp_path, audio, genre):
    tracks = load_tracks([str(write(tmp_path / "train.parquet", audio=audio, genre=genre))])
    assert tracks.genres == TWO_GENRES and len(tracks) == 4 and tracks[0].audio == b"a sound"


@pytest.mark.parametrize("values", [SAMPLES, np.round(SAMPLES * 32_767).astype(np.int16)], ids=["numbers", "16-bit numbers"])
def test_samples_mean_the_same_of_any_type_and_with_their_rate_anywhere(tmp_path, values):
    array, rate = pa.array([values.tolist()] * 4, pa.list_(pa.from_numpy_dtype(values.dtype))), pa.array([SAMPLE_RATE_HZ] * 4)
    paths = [write(tmp_path / "one.parquet", audio=struct(array=array, sampling_rate=rate), genre=GENRES),
             write(tmp_path / "two.parquet", audio=array, sample_rate=rate, genre=GENRES),
             write(tmp_path / "three.parquet", waveform=array, sr=rate, genre=GENRES)]
    for path in paths:
        assert np.allclose(load_audio(load_tracks([str(path)])[1].audio).samples, SAMPLES, atol=1e-4)
    with pytest.raises(DataError, match="has samples in its column 'audio', but none of their sample rates: sampling_rate"):
        load_tracks([str(write(tmp_path / "none.parquet", audio=array, genre=GENRES))])


def test_a_row_whose_rate_makes_no_sense_is_left_out_alone(tmp_path):
    array, rate = pa.array([SAMPLES.tolist()] * 6), pa.array([None, 0, *[SAMPLE_RATE_HZ] * 4])
    path = write(tmp_path / "a.parquet", audio=struct(array=array, sampling_rate=rate), genre=pa.array(TWO_GENRES * 3))
    with pytest.raises(AudioError, match="sample_rate_hz must be a number from 1000 to 768000, got 0"):
        load_tracks([str(path)])[1].audio  # noqa: B018  # it is read here
    rows, _ = stream_rows(load_dataset("parquet", data_files=str(path), split="train", streaming=True), path)
    assert ["sample_rate_hz must be" in row["problem"] for row in rows] == [True, True, False, False, False, False]
    prepare_data.main(["--data", str(path), "--output-dir", str(tmp_path / "out")])
    assert counts(tmp_path / "out") == PAIR


def test_shards_may_differ_in_columns_and_in_the_order_of_their_classes(tmp_path):
    write(tmp_path / "columns" / "a.parquet", audio=files(), genre=GENRES)
    write(tmp_path / "columns" / "b.parquet", audio=files(), genre=GENRES, bpm=pa.array([120] * 4))
    write(tmp_path / "columns" / "c.parquet", audio=files(n=0), genre=pa.array([], pa.string()))
    assert counts(tmp_path / "columns") == {genre: 4 for genre in TWO_GENRES}
    for name, names in (("a", TWO_GENRES), ("b", TWO_GENRES[::-1])):
        table = pa.table({"audio": files(), "label": pa.array([0, 0, 0, 1])})
        audio = {"bytes": {"dtype": "binary", "_type": "Value"}, "path": {"dtype": "string", "_type": "Value"}}
        features = {"audio": audio, "label": {"names": list(names), "_type": "ClassLabel"}}
        meta = {"huggingface": json.dumps({"info": {"features": features}})}
        (tmp_path / "classes").mkdir(exist_ok=True)
        pq.write_table(table.replace_schema_metadata(meta), tmp_path / "classes" / f"{name}.parquet")
    assert counts(tmp_path / "classes") == {genre: 4 for genre in TWO_GENRES}
    write(tmp_path / "types" / "a.parquet", audio=files(), genre=GENRES)
    write(tmp_path / "types" / "b.parquet", audio=files(), genre=pa.array([0, 0, 1, 1]))
    with pytest.raises(DataError, match=r"some genres are mere numbers \(0, 1\)"):
        load_tracks([str(tmp_path / "types")])


def test_damage_and_doubts_are_told(tmp_path):
    path = write(tmp_path / "empty" / "a.parquet", audio=files(n=0), genre=pa.array([], pa.string()))
    with pytest.raises(DataError, match=r"a\.parquet has no rows"):
        load_tracks([str(path)])
    whole = write(tmp_path / "hole" / "a.parquet", audio=files(), genre=GENRES)
    data = whole.read_bytes()
    whole.write_bytes(data[:8] + bytes(150) + data[158:])
    with pytest.raises(DataError, match=r"a\.parquet and so on cannot be read: (?!An error occurred)"):
        load_tracks([str(whole)])
    for name in ("small", "full"):
        write(tmp_path / "configs" / name / "train-0.parquet", audio=files(), genre=GENRES)
    assert "parquet files of full, small were taken together" in load_tracks([str(tmp_path / "configs")]).describe()


def test_a_folder_may_have_any_name(tmp_path):
    for name in ("[my] music", "a?b", "a*b", "axb", "100%", "a#b", "{x}"):
        write(tmp_path / name / "train.parquet", audio=files(), genre=GENRES)
    for folder in tmp_path.iterdir():
        assert not folder.is_dir() or folder.name == "cache" or counts(folder) == PAIR, folder
