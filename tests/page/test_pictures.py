"""Pictures of sound on the page."""

import base64
import io
import re

import numpy as np
from PIL import Image

from genre_gan.classify import TimelinePoint
from genre_gan.demo.pictures import sound_html
from genre_gan.plots import Spectrogram, spectrogram_of
from tests.conftest import SAMPLE_RATE_HZ
from tests.test_plots import tone


def pictures_in(html: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/webp;base64,([^']+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_the_spectrogram_is_brightest_at_the_tone_and_described_in_words():
    html = sound_html(spectrogram_of([tone(1000, 3.0)], SAMPLE_RATE_HZ), "a tone's <picture>")
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
    spectrogram = Spectrogram(np.zeros((96, 10), np.float32), SAMPLE_RATE_HZ, 6.0)  # its last 1.5 s were not judged
    _, genres = pictures_in(sound_html(spectrogram, "", timeline))
    jazz, rock = genres.astype(int).sum(axis=2)
    assert jazz.tolist() == [jazz.max()] * 2 + [jazz.min()] * 2
    assert rock.tolist() == [rock.min(), rock.min(), rock.max(), rock.min()]


def test_silence_is_black_and_a_quiet_sound_is_not():
    silence, quiet = (spectrogram_of([factor * tone(1000, 3.0)], SAMPLE_RATE_HZ) for factor in (0.0, 0.01))
    (dark,), (bright,) = (pictures_in(sound_html(spectrogram, "")) for spectrogram in (silence, quiet))
    assert dark.max() < 20 < 150 < bright.max()
