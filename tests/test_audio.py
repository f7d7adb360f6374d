import io

import numpy as np
import pytest
import soundfile

from genre_gan import AudioError, Clip, load_audio
from genre_gan.audio import read_blocks
from tests.conftest import synthesize


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".au"])
def test_every_format_and_rate_comes_back_as_mono_22050(tmp_path, suffix):
    rate_hz = 44_100
    samples = synthesize(220, 2, 3.0, seed=1, rate_hz=rate_hz)
    path = tmp_path / f"stereo{suffix}"
    soundfile.write(path, np.stack([samples, samples], 1), rate_hz)
    clip = load_audio(path)
    assert clip.sample_rate_hz == 22_050
    assert clip.samples.dtype == np.float32 and clip.samples.ndim == 1
    assert abs(clip.duration_s - 3.0) < 0.1
    assert np.std(clip.samples) == pytest.approx(np.std(samples), rel=0.05)


def test_path_bytes_file_clip_and_array_agree(tmp_path):
    samples = synthesize(220, 2, 1.0, seed=2)
    path = Clip(samples, 22_050).save(tmp_path / "a.wav")
    expected = load_audio(path).samples
    data = path.read_bytes()
    for source in (data, io.BytesIO(data), Clip(expected, 22_050), (expected, 22_050)):
        assert np.array_equal(load_audio(source).samples, expected)
    integers, rate_hz = soundfile.read(path, dtype="int16")
    assert np.array_equal(load_audio((integers, rate_hz)).samples, expected)


def test_blocks_join_to_the_same_sound(tmp_path):
    rate_hz = 16_000
    samples = synthesize(220, 2, 2.0, seed=3, rate_hz=rate_hz)
    whole = load_audio((samples, rate_hz)).samples
    pieces = np.concatenate(list(read_blocks((samples, rate_hz), block_s=0.3)))
    assert np.allclose(whole, pieces, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "empty"),
        (b"this is no sound at all", "cannot be read as audio"),
        (3.5, "audio must be"),
        ((np.zeros(10), 0), "sample_rate_hz must be"),
        ((np.zeros((2, 2, 2)), 22_050), "samples must be"),
        ((np.full(30_000, np.nan), 22_050), "not finite"),
        ((np.zeros(0), 22_050), "no sound"),
    ],
)
def test_bad_sound_says_what_is_wrong(source, message):
    with pytest.raises(AudioError, match=message):
        load_audio(source)


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.wav"):
        load_audio("nowhere.wav")


def test_a_failed_save_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="audio_format must be one of"):
        Clip(np.zeros(10, np.float32), 22_050).save(tmp_path / "a.xyz")
    assert list(tmp_path.glob("*.xyz")) == [] and list(tmp_path.glob(".a*")) == []
