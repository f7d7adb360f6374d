"""What a telephone takes from music comes back near what it was, and music over a good channel stays as it is."""

import numpy as np
import pytest
import torch
from scipy.signal import butter, sosfilt

from genre_gan.features import MUSICNN_SETTINGS, FeatureConfig, FeatureExtractor
from genre_gan.models.channel import ALLOWED_STD, MAX_GAIN_DB, ChannelCompensation, power

RATE_HZ = 16_000
MUSICNN = FeatureConfig("musicnn", **MUSICNN_SETTINGS)


def music(seed: int) -> np.ndarray:
    """Two seconds of noise of some colour, beating at random: the bands rise and fall together."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(2 * RATE_HZ)) * np.linspace(1.0, rng.uniform(0.3, 0.6), RATE_HZ + 1)
    beats = np.repeat(rng.uniform(0.1, 1.0, 16), 2 * RATE_HZ // 16)
    return (0.1 * np.fft.irfft(spectrum) * beats).astype(np.float32)


def log_mel(samples: np.ndarray) -> torch.Tensor:
    return FeatureExtractor(MUSICNN)(torch.from_numpy(samples.astype(np.float32))[None])[0]


@pytest.fixture(scope="module")
def channel() -> ChannelCompensation:
    fitted = ChannelCompensation(96)
    fitted.fit(log_mel(music(seed)) for seed in range(30))
    return fitted


def test_music_over_a_good_channel_changes_little(channel):
    heard = log_mel(music(40))
    restored = channel(heard)
    level = (restored - heard).median()  # one factor for all bands: the level
    assert restored.shape == heard.shape and (restored - heard - level).abs().mean() < 0.05


def test_what_a_telephone_takes_comes_back_near_what_it_was(channel):
    samples = music(41)
    over_a_telephone = log_mel(sosfilt(butter(8, (300.0, 3400.0), "bandpass", fs=RATE_HZ, output="sos"), samples))
    wanted = channel(log_mel(samples))
    lost = (wanted - over_a_telephone).abs().mean()
    error = (channel(over_a_telephone) - wanted).abs()
    assert error.mean() < 0.25 * lost
    # the highest bands, of which nothing is left, are guessed frame by frame: loud where the others are loud
    assert error[:, -20:].mean() < 0.25
    assert torch.corrcoef(torch.stack([channel(over_a_telephone)[:, -10], wanted[:, -10]]))[0, 1] > 0.8


def test_gains_by_hand():
    """One frame: middle bands at the level of music, one band 3 deviations too loud, one that needs 10 dB beyond the limit."""
    channel = ChannelCompensation(96)
    channel.level_db.fill_(20.0)
    channel.band_std_db.fill_(2.0)
    frame = torch.full((1, 96), 20.0)
    frame[0, 0] += 6.0
    frame[0, 95] -= ALLOWED_STD * 2.0 + MAX_GAIN_DB + 10.0
    channel.frame_mean[95] = 2.0  # the log of 1 + 99; the other bands say nothing of it
    restored = 10.0 * power(channel((1.0 + 10.0 ** (frame / 10.0)).log10())).log10()
    assert restored[0, 0] == pytest.approx(20.0 + 2.0 * ALLOWED_STD, abs=1e-3)
    assert restored[0, 1:95].tolist() == pytest.approx([20.0] * 94, abs=1e-3)
    assert restored[0, 95] == pytest.approx(10.0 * np.log10(99.0), abs=1e-3)


def test_silence_and_single_frames_are_finite(channel):
    for sound in (np.zeros(RATE_HZ, np.float32), music(42)[:200]):
        assert torch.isfinite(channel(log_mel(sound))).all()
