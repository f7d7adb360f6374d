import base64
import io
import re

import numpy as np
from PIL import Image

from genre_gan.classify import TimelinePoint
from genre_gan.plots import MAX_COLUMNS, mel_levels, sound_html
from tests.conftest import SAMPLE_RATE_HZ


def tone(pitch_hz: float, duration_s: float) -> np.ndarray:
    return np.sin(2 * np.pi * pitch_hz * np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ).astype(np.float32)


def pictures_in(html: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/webp;base64,([^']+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_mel_levels_rise_with_the_pitch_and_take_blocks_in_turn():
    level_db = mel_levels([tone(200, 1.0), np.zeros(0, np.float32), tone(4000, 1.0)], SAMPLE_RATE_HZ)
    half = level_db.shape[1] // 2
    assert level_db.shape[0] == 96
    assert level_db[:, : half - 5].mean(1).argmax() < 15 < 60 < level_db[:, half + 5 :].mean(1).argmax()


def test_a_long_sound_gives_a_bounded_picture():
    assert mel_levels((tone(440, 10.0) for _ in range(6)), SAMPLE_RATE_HZ).shape == (96, MAX_COLUMNS)


def test_the_spectrogram_is_brightest_at_the_tone_and_described_in_words():
    html = sound_html(mel_levels([tone(1000, 3.0)], SAMPLE_RATE_HZ), SAMPLE_RATE_HZ, 3.0, "a tone's <picture>")
    (picture,) = pictures_in(html)
    brightest = 1.0 - picture.sum(axis=(1, 2)).argmax() / len(picture)
    label = 1.0 - float(re.search(r"top:([\d.]+)%[^>]*>1000 Hz", html)[1]) / 100
    assert abs(brightest - label) < 0.03
    assert "aria-label='a tone&#x27;s &lt;picture&gt;'" in html
    assert "0:00" in html and "0:03" in html and "0:04" not in html


def test_the_timeline_lies_on_the_spectrograms_time_axis():
    timeline = [
        TimelinePoint(0.0, 3.0, "jazz", {"jazz": 1.0, "rock": 0.0}),
        TimelinePoint(3.0, 4.5, "rock", {"jazz": 0.0, "rock": 1.0}),
    ]
    level_db = mel_levels([tone(1000, 4.5)], SAMPLE_RATE_HZ)
    _, genres = pictures_in(sound_html(level_db, SAMPLE_RATE_HZ, 4.5, "", timeline))
    brightness = genres.sum(axis=2)  # (genre, column): 3 s are two thirds of the columns
    third = brightness.shape[1] // 3
    assert (brightness[0, : 2 * third] > brightness[1, : 2 * third]).all()
    assert (brightness[0, 2 * third :] < brightness[1, 2 * third :]).all()
