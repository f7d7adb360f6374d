"""Small real music-like clips, synthesised: every genre gets its own pitch and beat, so that a model can tell them apart."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

SAMPLE_RATE_HZ = 22_050
TWO_GENRES = ("blues", "metal")


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    """No test touches the user's feature cache, and every test is seeded."""
    monkeypatch.setenv("GENRE_GAN_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)


def synthesize(pitch_hz: float, beat_hz: float, duration_s: float, seed: int, rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """A harmonic tone under a beating envelope with a little noise, float32 [shape=(n,)]."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    tone = sum(np.sin(2 * np.pi * k * pitch_hz * time_s + rng.uniform(0, 6)) / k for k in range(1, 6))
    envelope = 0.3 + 0.7 * np.exp(-4.0 * ((time_s * beat_hz + rng.uniform()) % 1.0))
    return (0.2 * tone * envelope + 0.01 * rng.standard_normal(len(time_s))).astype(np.float32)


def write_music_folder(root: Path, genres=TWO_GENRES, tracks_per_genre: int = 5, duration_s: float = 4.0) -> Path:
    """`root/<genre>/<genre>-NN.wav` for each genre; not GTZAN's names, of which artists and faults are known."""
    for g, genre in enumerate(genres):
        (root / genre).mkdir(parents=True)
        for i in range(tracks_per_genre):
            samples = synthesize(110.0 * (g + 1) * 1.7, 1.0 + 2 * g, duration_s, seed=100 * g + i)
            soundfile.write(root / genre / f"{genre}-{i:02d}.wav", samples, SAMPLE_RATE_HZ)
    return root


@pytest.fixture
def music_folder(tmp_path) -> Path:
    return write_music_folder(tmp_path / "music")
