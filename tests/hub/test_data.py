"""Data sets go to the Hub and back."""

from pathlib import Path

import pytest

from genre_gan.data.sources import DataError, load_tracks
from genre_gan.data.splits import split_tracks
from tests.hub.calls import loaded_rows, printed, raw_features
from training import prepare_data


def test_a_data_set_goes_to_the_hub_and_back(hub, client, music_folder, tmp_path):
    (music_folder / "blues" / "broken.wav").write_bytes(b"not audio")
    arguments = ("--data", music_folder, "--output-dir", tmp_path / "set", "--push-to-hub", "anna/set")
    output = client(printed, prepare_data.main, *arguments)
    assert "wrote 10 of 11 tracks" in output and "skipped broken: " in output
    assert f"pushed to {hub.url}/datasets/anna/set" in output
    assert set(hub.files("anna/set", "dataset")) == {"README.md", "data/train-00000-of-00001.parquet"}
    assert b"`broken`: " in hub.files("anna/set", "dataset")["README.md"]
    audio, splits, genres = client(loaded_rows, "anna/set")
    assert audio == {path.stem: path.read_bytes() for path in music_folder.rglob("*.wav") if path.stem != "broken"}
    assert set(splits) == {""} and genres == ("blues", "metal")
    assert client(raw_features, "anna/set") == (["id", "audio", "genre", "artist", "split"], "Audio", ["blues", "metal"])
    with pytest.raises(SystemExit, match="holds a data set already"):
        client(printed, prepare_data.main, *arguments)
    client(printed, prepare_data.main, *arguments, "--overwrite")
    assert len(hub.repos["dataset", "anna/set"].branches["main"]) == 2
    with hub.down():
        assert client(loaded_rows, "anna/set")[0] == audio
        with pytest.raises(DataError, match=r"cannot be loaded .*--data path/to/genres"):
            client(load_tracks, ["anna/unknown"])


def test_artists_and_splits_survive_and_parquet_is_a_source_too(music_folder, tmp_path):
    names = sorted(str(path.relative_to(music_folder)) for path in music_folder.rglob("*.wav"))
    lines = [f"{name},{Path(name).parent},artist {i},{'valid' if i % 5 == 0 else 'train'}" for i, name in enumerate(names)]
    lines = ["file_name,genre,artist,split", *lines, "blues/missing.wav,blues,x,train"]
    (music_folder / "tracks.csv").write_text("\n".join(lines))
    first, second = tmp_path / "first", tmp_path / "second"
    assert "skipped missing: " in printed(prepare_data.main, "--data", music_folder, "--output-dir", first)
    printed(prepare_data.main, "--data", first, "--output-dir", second)
    tracks, again = load_tracks([str(first)]), load_tracks([str(second)])
    assert sorted(tracks, key=lambda track: track.id) == sorted(again, key=lambda track: track.id)
    expected = [(Path(name).stem, f"artist {i}") for i, name in enumerate(names)]
    assert sorted(zip(tracks.ids, tracks.artists, strict=True)) == expected
    assert len(set(tracks.genre_names[:5])) == 2  # whoever reads a stream of them meets all genres at once
    assert len(split_tracks(again, "artist").valid) == 2
