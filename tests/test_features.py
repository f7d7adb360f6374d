import librosa
import numpy as np
import pytest
import torch

from genre_gan.features import FeatureConfig, FeatureExtractor, mel_filters, mel_frequencies
from tests.conftest import synthesize


def expected(config: FeatureConfig, samples: np.ndarray) -> np.ndarray:
    if config.name == "decibel":
        level_db = librosa.amplitude_to_db(np.abs(samples), ref=1.0, amin=1e-5, top_db=None)
        level_db[level_db < config.threshold_db] = 0.0
        return np.pad(level_db, (0, -len(level_db) % config.hop_length)).reshape(-1, config.hop_length)
    settings = dict(n_fft=config.n_fft, hop_length=config.hop_length, n_mels=config.n_mels)
    if config.name == "log-mel":
        power = librosa.feature.melspectrogram(y=samples, sr=config.sample_rate_hz, **settings)
        return librosa.power_to_db(power, amin=1e-10, top_db=None).T
    return librosa.feature.mfcc(y=samples, sr=config.sample_rate_hz, n_mfcc=config.n_mfcc, **settings).T


@pytest.mark.parametrize("name", ["decibel", "mfcc", "mfcc-segment", "log-mel"])
@pytest.mark.parametrize("n_samples", [22_050, 30_001])
def test_features_equal_librosas(name, n_samples):
    config = FeatureConfig(name, segment_s=1.0 if name == "mfcc-segment" else None)
    clips = np.stack([synthesize(pitch, 2, 2.0, seed=7)[:n_samples] for pitch in (110, 300)])
    batch = FeatureExtractor(config)(torch.from_numpy(clips)).numpy()
    assert batch.shape[2] == config.n_features
    for result, samples in zip(batch, clips, strict=True):
        assert np.abs(result - expected(config, samples)).max() < 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "chroma"}, "feature name must be one of"),
        ({"hop_length": 0}, "hop_length must be above 0"),
        ({"n_mfcc": 200}, "n_mfcc must be at most"),
        ({"name": "mfcc-segment"}, "needs segment_s"),
        ({"segment_s": 1.0, "min_segment_s": 2.0}, "min_segment_s must be at most"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FeatureConfig(**settings)


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize(("sample_rate_hz", "n_fft", "n_mels"), [(8_000, 512, 40), (16_000, 512, 96), (22_050, 2048, 128)])
def test_mel_filters_are_librosas_to_the_last_bit(sample_rate_hz, n_fft, n_mels, htk):
    config = FeatureConfig("log-mel", sample_rate_hz, n_fft=n_fft, hop_length=256, n_mels=n_mels, htk=htk)
    theirs = librosa.filters.mel(sr=sample_rate_hz, n_fft=n_fft, n_mels=n_mels, htk=htk)
    assert np.array_equal(mel_filters(config).numpy(), theirs)
    assert np.allclose(mel_frequencies(7, 900.0, htk), librosa.mel_frequencies(7, fmin=0.0, fmax=900.0, htk=htk))
