import csv

import numpy as np
import pytest
import soundfile

from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import DataError, load_tracks
from genre_gan.data.splits import artist_folds, published_split, split_segments, split_tracks
from genre_gan.features import FeatureConfig
from tests.conftest import write_music_folder


def write_csv(root, artists_per_genre: int = 4):
    rows = []
    for path in sorted(root.rglob("*.wav")):
        genre, number = path.parent.name, int(path.stem.split(".")[1])
        rows.append({"file_name": str(path.relative_to(root)), "genre": genre, "artist": f"{genre}-{number % artists_per_genre}"})
    with (root / "tracks.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("below", ["", "genres", "genres_original"])
def test_folders_are_found_however_they_are_nested(tmp_path, below):
    write_music_folder(tmp_path / "data" / below, duration_s=1.5)
    tracks = load_tracks([str(tmp_path / "data")])
    assert len(tracks) == 10 and tracks.genres == ("blues", "metal")
    assert tracks[0].id == "blues.00000"


def test_parquet_with_class_labels_and_a_folder_combine(tmp_path, music_folder):
    from datasets import ClassLabel, Dataset, Features, Value

    paths = sorted(music_folder.rglob("*.wav"))
    features = Features(
        {"audio": {"bytes": Value("binary"), "path": Value("string")}, "label": ClassLabel(names=["metal", "blues"])}
    )
    rows = [{"audio": {"bytes": p.read_bytes(), "path": p.name}, "label": p.parent.name} for p in paths]
    (tmp_path / "pq").mkdir()
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "pq" / "train.parquet")
    tracks = load_tracks([str(tmp_path / "pq"), str(music_folder)])
    assert len(tracks) == 20
    assert {(track.id, track.genre) for track in tracks} == {(p.stem, p.parent.name) for p in paths}
    assert set(tracks.splits) == {""}


def test_bad_tracks_are_skipped_and_listed(music_folder):
    (music_folder / "blues" / "empty.wav").write_bytes(b"")
    (music_folder / "blues" / "noise.wav").write_bytes(b"not audio")
    soundfile.write(music_folder / "metal" / "short.wav", np.ones(100), 22_050)
    soundfile.write(music_folder / "metal" / "silent.wav", np.zeros(44_100), 22_050)
    store = FeatureStore(load_tracks([str(music_folder)]), FeatureConfig("waveform"))
    assert len(store.tracks) == 10
    assert {item.id for item in store.skipped} == {"empty", "noise", "short", "silent"}
    assert "loaded 10 of 14 tracks, skipped 4: empty (" in store.summary()


def test_the_store_computes_once_and_slices_with_the_threshold(music_folder):
    config = FeatureConfig("mfcc-segment", segment_s=1.5, min_segment_s=0.9)
    tracks = load_tracks([str(music_folder)])
    first = FeatureStore(tracks, config)
    times = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    again = FeatureStore(tracks, config)
    assert {path: path.stat().st_mtime_ns for path in again.folder.iterdir()} == times
    assert np.array_equal(first.read(3), again.read(3))
    segments = again.segments()
    assert len(segments) == 30  # 4 s hold two slices of 1.5 s and one of 1.0 s
    assert segments.n_frames.min() >= config.min_segment_frames
    with pytest.raises(DataError, match="use a smaller one"):
        FeatureStore(tracks, FeatureConfig("mfcc-segment", segment_s=9.0)).segments()


def test_no_track_and_no_artist_crosses(tmp_path):
    root = write_music_folder(tmp_path / "m", ("blues", "metal", "pop"), 12, duration_s=1.0)
    write_csv(root)
    tracks = load_tracks([str(root)])
    for seed in range(5):
        for protocol in ("track", "artist"):
            split = split_tracks(tracks, protocol, seed=seed)
            assert not set(split.train) & set(split.valid)
            assert {tracks.genre_names[i] for i in split.valid} == {"blues", "metal", "pop"}
            if protocol == "artist":
                assert not {tracks.artists[i] for i in split.train} & {tracks.artists[i] for i in split.valid}
            assert len(split.train) + len(split.valid) == len(tracks)


def test_the_published_lists_decide_for_gtzan_ids(tmp_path):
    lists = published_split()
    counts = {name: list(lists.values()).count(name) for name in ("train", "valid", "test")}
    assert counts == {"train": 443, "valid": 197, "test": 290}
    root = tmp_path / "g"
    (root / "blues").mkdir(parents=True)
    for number in (0, 12, 29, 30):
        soundfile.write(root / "blues" / f"blues.{number:05d}.wav", 0.1 * np.ones(22_050), 22_050)
    tracks = load_tracks([str(root)])
    split = split_tracks(tracks, "artist")
    assert [tracks.ids[i] for i in split.train] == ["blues.00029", "blues.00030"]
    assert [tracks.ids[i] for i in split.valid] == ["blues.00000"]


def test_the_segment_split_says_that_it_leaks():
    split = split_segments(50, seed=3)
    assert split.leaks and len(split.valid) == 10
    assert sorted([*split.train, *split.valid]) == list(range(50))


def test_unusable_data_is_one_clear_error(tmp_path, music_folder):
    with pytest.raises(DataError, match="neither a folder"):
        load_tracks([str(tmp_path / "nowhere")])
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="looked for"):
        load_tracks([str(tmp_path / "void")])
    with pytest.raises(DataError, match="'jazz' is not in the data; it has: blues, metal"):
        load_tracks([str(music_folder)], genres=["jazz"])
    with pytest.raises(DataError, match="leaves 0 tracks"):
        split_tracks(load_tracks([str(tmp_path / "music")]).select([]), "artist")
    with pytest.raises(ValueError, match="protocol must be one of"):
        split_tracks(load_tracks([str(music_folder)]), "random")


def test_folds_keep_artists_and_neighbours_together_and_leave_no_genre_out(tmp_path):
    rows = ["file_name,genre,artist,split"]
    rows += [f"blues/blues.{i:05d}.wav,blues,,{'unlisted' if i == 3 else ''}" for i in range(13)]
    rows += [f"rock/r{i}.wav,rock,artist {i // 3}," for i in range(18)]
    (tmp_path / "tracks.csv").write_text("\n".join(rows))
    tracks = load_tracks([str(tmp_path)])
    folds = artist_folds(tracks)
    assert list(folds[:13]) == [0, 0, 1, -1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert all(len(set(folds[13 + 3 * a : 16 + 3 * a])) == 1 for a in range(6)) and set(folds[13:]) == set(range(6))
    valid = [split_tracks(tracks, "fold", seed=seed).valid for seed in range(6)]
    assert sorted(i for part in valid for i in part) == [i for i in range(31) if i != 3]
    assert all({tracks.genre_names[i] for i in part} == {"blues", "rock"} for part in valid)
