"""Harmony, beat and form of clips, in numbers that real music of the same genre has too."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from genre_gan.clip import Clip

RATE_HZ, N_FFT, HOP = 22_050, 2048, 512
SHORTEST_S = 8.0  # of clips that can be measured
CHORD_S = 0.5  # over which chroma is averaged
TEMPO_RANGE_BPM = (50.0, 200.0)
TEMPO_WINDOW_S, TEMPO_TOLERANCE = 6.0, 0.04
RETURN_S, PHRASE_S = 4.0, 2.0  # music returns when a phrase sounds like one that began so much earlier or later


@dataclass(frozen=True)
class Structure:
    """What `measure_structure` finds in a clip.

    Attributes:
        harmonic_share: energy in sustained partials, of all energy; from 0 to 1.
        chroma_stability: cosine similarity of the pitch classes of consecutive half seconds; from 0 to 1.
        chord_changes_hz: changes of the likeliest major or minor triad, a second.
        beat_strength: autocorrelation of the onsets at the beat; 1 where every beat is the same, 0 where there is none.
        tempo_steadiness: share of windows of 6 s whose tempo is the whole clip's, or half or twice that.
        self_similarity: how like its most similar phrase elsewhere in the clip a phrase of 2 s is; from -1 to 1.
    """

    harmonic_share: float
    chroma_stability: float
    chord_changes_hz: float
    beat_strength: float
    tempo_steadiness: float
    self_similarity: float


def measure_structure(clip: Clip) -> Structure:
    """Measure one clip of at least 8 s; meant for 30 s.

    Harmonic and percussive parts by median filters (Fitzgerald 2010), onsets by spectral flux, both librosa's.
    """
    import librosa

    if clip.duration_s < SHORTEST_S:
        raise ValueError(f"structure needs clips of at least {SHORTEST_S:g} s, got one of {clip.duration_s:.1f} s")
    samples = librosa.resample(clip.samples, orig_sr=clip.sample_rate_hz, target_sr=RATE_HZ)
    magnitude = np.abs(librosa.stft(samples, n_fft=N_FFT, hop_length=HOP))
    harmonic, percussive = librosa.decompose.hpss(magnitude)
    energies = [float(np.square(part).sum()) for part in (harmonic, percussive)]
    chroma = _mean_over_time(librosa.feature.chroma_stft(S=np.square(harmonic), sr=RATE_HZ, tuning=0.0), CHORD_S)
    level_db = librosa.power_to_db(librosa.feature.melspectrogram(S=np.square(magnitude), sr=RATE_HZ))
    onsets = librosa.onset.onset_strength(S=level_db, sr=RATE_HZ)
    timbre = _mean_over_time(librosa.feature.mfcc(S=level_db, n_mfcc=13)[1:], CHORD_S)
    period, strength = find_beat(onsets)
    return Structure(
        harmonic_share=energies[0] / max(sum(energies), 1e-12),
        chroma_stability=float(np.mean(_cosines(chroma[:, 1:], chroma[:, :-1]))),
        chord_changes_hz=float(np.mean(np.diff(_chords(chroma)) != 0)) / CHORD_S,
        beat_strength=strength,
        tempo_steadiness=_steadiness(onsets, period),
        self_similarity=_self_similarity(np.concatenate([_standardise(chroma), _standardise(timbre)])),
    )


def find_beat(onsets: np.ndarray) -> tuple[float, float]:
    """The period of the beat in frames, 0 where there is none, and the autocorrelation of `onsets` [shape=(T,)] there."""
    centred = onsets - onsets.mean()
    n = len(centred)
    spectrum = np.fft.rfft(centred, 2 * n)
    correlation = np.fft.irfft(np.square(np.abs(spectrum)))[:n] / np.arange(n, 0, -1)
    if correlation[0] <= 1e-12:
        return 0.0, 0.0
    correlation /= correlation[0]
    slow, fast = (60.0 / bpm * RATE_HZ / HOP for bpm in TEMPO_RANGE_BPM)
    first, last = int(np.ceil(fast)), min(int(slow), n // 2)
    peaks = [k for k in range(first, last + 1) if correlation[k - 1] < correlation[k] >= correlation[k + 1]]
    if not peaks:
        return 0.0, 0.0
    best = max(peaks, key=lambda k: correlation[k])
    left, middle, right = correlation[best - 1 : best + 2]
    return best + 0.5 * (left - right) / (left - 2 * middle + right), float(max(0.0, middle))  # parabola through the peak


def is_same_beat(period: float, other: float) -> bool:
    """Whether a period is another one, its half or its double, within 4 %; 0, which is none, is like no other."""
    return other > 0.0 and any(abs(period / (other * factor) - 1.0) < TEMPO_TOLERANCE for factor in (0.5, 1.0, 2.0))


def _steadiness(onsets: np.ndarray, period: float) -> float:
    """Share of half-overlapping windows whose beat is `period`, its half or its double."""
    if period == 0.0:
        return 0.0
    length = round(TEMPO_WINDOW_S * RATE_HZ / HOP)
    starts = range(0, max(1, len(onsets) - length + 1), length // 2)
    found = [find_beat(onsets[start : start + length])[0] for start in starts]
    return float(np.mean([is_same_beat(each, period) for each in found]))


def _chords(chroma: np.ndarray) -> np.ndarray:
    """The triad nearest to each column of chroma [shape=(12, n)]: 0 to 11 major, 12 to 23 minor."""
    triads = np.zeros((24, 12))
    for root in range(12):
        triads[root, [(root + step) % 12 for step in (0, 4, 7)]] = 1.0
        triads[12 + root, [(root + step) % 12 for step in (0, 3, 7)]] = 1.0
    return (triads @ (chroma / np.maximum(np.linalg.norm(chroma, axis=0), 1e-9))).argmax(0)


def _self_similarity(features: np.ndarray) -> float:
    """Mean over phrases of the similarity to the most similar phrase that begins at least `RETURN_S` away."""
    n = round(PHRASE_S / CHORD_S)
    phrases = np.lib.stride_tricks.sliding_window_view(features, n, axis=1).transpose(1, 0, 2)
    phrases = phrases.reshape(len(phrases), -1)
    phrases = phrases / np.maximum(np.linalg.norm(phrases, axis=1, keepdims=True), 1e-9)
    similarity = phrases @ phrases.T
    distance = np.abs(np.subtract.outer(np.arange(len(phrases)), np.arange(len(phrases))))
    similarity[distance < round(RETURN_S / CHORD_S)] = -1.0
    return float(similarity.max(1).mean())


def _mean_over_time(values: np.ndarray, duration_s: float) -> np.ndarray:
    """Means over stretches of `duration_s` [shape=(n_rows, n_stretches)]."""
    n_stretches = int(values.shape[1] * HOP / RATE_HZ / duration_s)
    edges = np.round(np.arange(n_stretches + 1) * duration_s * RATE_HZ / HOP).astype(int)
    return np.stack([values[:, a:b].mean(1) for a, b in pairwise(edges)], axis=1)


def _standardise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(1, keepdims=True)) / np.maximum(values.std(1, keepdims=True), 1e-6)


def _cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x * y).sum(0) / np.maximum(np.linalg.norm(x, axis=0) * np.linalg.norm(y, axis=0), 1e-9)
