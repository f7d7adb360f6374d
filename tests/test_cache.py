"""The feature cache: what it recomputes, what it only remembers, and what happens when several processes open it."""

import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset

from genre_gan.audio import AudioError
from genre_gan.data import cache
from genre_gan.data.cache import FeatureStore, check_usable, one_at_a_time
from genre_gan.data.sources import load_tracks
from genre_gan.features import FeatureConfig

CONFIG = FeatureConfig("waveform")


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The sounds that were decoded, by name."""
    seen: list[str] = []
    original = cache.load_audio

    def load_audio(audio, sample_rate_hz):
        seen.append(os.path.basename(audio) if isinstance(audio, str) else "bytes")
        return original(audio, sample_rate_hz)

    monkeypatch.setattr(cache, "load_audio", load_audio)
    return seen


def age(folder: Path, seconds: float = 60.0) -> None:
    """As if the files had been written a while ago."""
    for path in folder.rglob("*.wav"):
        os.utime(path, (time.time() - seconds, time.time() - seconds))


def parquet(music: Path, path: Path) -> Path:
    """The music of a folder as parquet with the sound inside."""
    files = sorted(music.rglob("*.wav"))
    names = sorted({file.parent.name for file in files})
    rows = {"audio": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
            "genre": [names.index(file.parent.name) for file in files]}
    data = Dataset.from_dict(rows).cast_column("genre", ClassLabel(names=names)).cast_column("audio", Audio(decode=False))
    path.mkdir()
    data.to_parquet(path / "train.parquet")
    return path


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_a_second_start_reads_no_sound_at_all(kind, music_folder, tmp_path, reads, monkeypatch):
    source = music_folder if kind == "folder" else parquet(music_folder, tmp_path / "parquet")
    age(music_folder)
    FeatureStore(load_tracks([str(source)]), CONFIG, tmp_path / "cache")
    assert len(reads) == 10
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read") if path.suffix == ".wav" else b"")
    monkeypatch.setattr("genre_gan.data.columns.StoredSound.__call__", lambda sound: pytest.fail("sound is read"))
    store = FeatureStore(load_tracks([str(source)]), CONFIG, tmp_path / "cache")
    assert len(reads) == 10 and len(store.tracks) == 10


def test_a_file_that_changed_is_computed_anew_and_one_that_moved_is_not(music_folder, tmp_path, reads):
    age(music_folder)
    FeatureStore(load_tracks([str(music_folder)]), CONFIG, tmp_path / "cache")
    (music_folder / "blues").rename(music_folder / "jazz")  # moved, and of the same content
    changed = music_folder / "metal" / "metal-01.wav"
    samples, rate_hz = soundfile.read(changed, dtype="float32")
    soundfile.write(changed, samples[::-1], rate_hz)
    reads.clear()
    FeatureStore(load_tracks([str(music_folder)]), CONFIG, tmp_path / "cache")
    assert reads == ["metal-01.wav"]


def test_the_time_of_a_file_written_just_now_proves_nothing(music_folder, tmp_path):
    """A file can be written again within the tick of the disk's clock, and keep its size."""
    FeatureStore(load_tracks([str(music_folder)]), CONFIG, tmp_path / "cache")
    assert not (tmp_path / "cache" / "hashes.json").exists()
    age(music_folder)
    FeatureStore(load_tracks([str(music_folder)]), CONFIG, tmp_path / "cache")
    assert len(json.loads((tmp_path / "cache" / "hashes.json").read_text())) == 10
    (tmp_path / "cache" / "hashes.json").write_text("{")  # damaged: as if it were not there
    FeatureStore(load_tracks([str(music_folder)]), CONFIG, tmp_path / "cache")


def test_values_of_other_code_are_not_used(music_folder, tmp_path, reads, monkeypatch):
    FeatureStore(load_tracks([str(music_folder)]), CONFIG, tmp_path / "cache")
    monkeypatch.setattr(cache, "code_version", lambda: "another")
    FeatureStore(load_tracks([str(music_folder)]), CONFIG, tmp_path / "cache")
    assert len(reads) == 20


def work_alone(folder: Path, log: Path) -> None:
    with one_at_a_time(folder):
        with log.open("a") as file:
            file.write("in ")
        time.sleep(0.1)
        with log.open("a") as file:
            file.write("out ")


def test_processes_take_turns(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work_alone, args=(tmp_path / "cache", tmp_path / "log")) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert (tmp_path / "log").read_text() == "in out in out in out "


def test_a_track_that_lacks_a_moment_is_not_said_to_be_long_enough():
    with pytest.raises(AudioError, match=r"^too short: 0\.99 s, at least 1 s needed$"):
        check_usable(np.full(22_049, 0.5, np.float32), 22_050)
