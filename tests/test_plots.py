import numpy as np

from genre_gan.plots import MAX_COLUMNS, spectrogram_of
from tests.conftest import SAMPLE_RATE_HZ


def tone(pitch_hz: float, duration_s: float) -> np.ndarray:
    return np.sin(2 * np.pi * pitch_hz * np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ).astype(np.float32)


def test_a_spectrogram_rises_with_the_pitch_and_takes_blocks_in_turn():
    level_db, _, duration_s = spectrogram_of([tone(200, 1.0), np.zeros(0, np.float32), tone(4000, 1.0)], SAMPLE_RATE_HZ)
    assert duration_s == 2.0
    half = level_db.shape[1] // 2
    assert level_db.shape[0] == 96
    assert level_db[:, : half - 5].mean(1).argmax() < 15 < 60 < level_db[:, half + 5 :].mean(1).argmax()


def test_a_long_sound_gives_a_bounded_picture():
    spectrogram = spectrogram_of((tone(440, 10.0) for _ in range(6)), SAMPLE_RATE_HZ)
    assert spectrogram.level_db.shape == (96, MAX_COLUMNS) and spectrogram.duration_s == 60.0
