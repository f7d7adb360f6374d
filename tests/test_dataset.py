import numpy as np
import pytest
import soundfile

from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import DataError, load_tracks
from genre_gan.features import FeatureConfig
from tests.conftest import write_music_folder


@pytest.mark.parametrize("below", ["", "genres", "genres_original"])
def test_folders_are_found_however_they_are_nested(tmp_path, below):
    write_music_folder(tmp_path / "data" / below, duration_s=1.5)
    tracks = load_tracks([str(tmp_path / "data")])
    assert len(tracks) == 10 and tracks.genres == ("blues", "metal")
    assert tracks[0].id == "blues-00"


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


def test_unusable_data_is_one_clear_error(tmp_path, music_folder):
    with pytest.raises(DataError, match="neither a folder"):
        load_tracks([str(tmp_path / "nowhere")])
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="looked for"):
        load_tracks([str(tmp_path / "void")])
    with pytest.raises(DataError, match="'jazz' is not in the data; it has: blues, metal"):
        load_tracks([str(music_folder)], genres=["jazz"])
