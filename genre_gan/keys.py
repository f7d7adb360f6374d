"""The key of music, by how often each pitch class sounds (Krumhansl & Schmuckler 1990)."""

from __future__ import annotations

import numpy as np

MIN_AGREEMENT = 0.55  # correlation under which a key counts as unknown
UNKNOWN_KEY = 24
# How well each of the twelve pitch classes fits into C major and into C minor (Krumhansl & Kessler 1982).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def find_key(samples: np.ndarray, sample_rate_hz: int) -> int:
    """The key that samples float32 [shape=(n,)] fit best, from 0 to 23, or 24 where they fit none.

    Keys are numbered as `genre_gan.recipe.KEYS`: major, then minor, each from C upwards.
    """
    agreement = key_agreement(samples, sample_rate_hz)
    return int(agreement.argmax()) if agreement.max() > MIN_AGREEMENT else UNKNOWN_KEY


def semitones_to(key: int, samples: np.ndarray, sample_rate_hz: int) -> int:
    """By how many semitones, from -6 to 5, samples should be transposed to fit a key from 0 to 23 best."""
    mode, tonic = divmod(key, 12)
    best = int(key_agreement(samples, sample_rate_hz).reshape(2, 12)[mode].argmax())
    return (tonic - best + 6) % 12 - 6


def transpose_key(key: int, semitones: int) -> int:
    """The key of what is transposed."""
    return key if key == UNKNOWN_KEY else (key % 12 + semitones) % 12 + 12 * (key // 12)


def key_agreement(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """How well each key fits, correlations float64 [shape=(24,)]; zeros for silence."""
    from librosa.feature import chroma_stft

    chroma = chroma_stft(y=samples, sr=sample_rate_hz, n_fft=4096, hop_length=2048, tuning=0.0).mean(1)
    profiles = np.stack([np.roll(profile, tonic) for profile in (_MAJOR, _MINOR) for tonic in range(12)])
    return np.corrcoef(chroma, profiles)[0, 1:] if chroma.std() > 0 else np.zeros(24)
