"""Faults of clips that can be heard without knowing music: silence, clipping, loudness, hum, and what a copy loses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genre_gan.clip import Clip

SILENT_RMS = 10 ** (-50 / 20)
CLIPPED_LEVEL, CLIPPED_SHARE = 0.999, 1e-3


def is_silent(clip: Clip) -> bool:
    """Whether a clip's root mean square is under -50 dB full scale."""
    return float(np.sqrt(np.mean(np.square(clip.samples)))) < SILENT_RMS


def is_clipped(clip: Clip) -> bool:
    """Whether more than a thousandth of a clip's samples stand at full scale."""
    return float((np.abs(clip.samples) >= CLIPPED_LEVEL).mean()) > CLIPPED_SHARE


def loudness_lufs(clip: Clip) -> float:
    """Integrated loudness (ITU-R BS.1770-4, by pyloudnorm) of a clip of at least 0.4 s; -70, the gate, where it is silent."""
    import pyloudnorm

    measured = pyloudnorm.Meter(clip.sample_rate_hz).integrated_loudness(clip.samples.astype(np.float64))
    return max(-70.0, float(measured))


def mean_spectrum_db(clips: Sequence[Clip], n_fft: int = 2048) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and the average power spectrum in dB, of clips brought to one level [shape=(n_fft // 2 + 1,)]."""
    window, total, rate_hz = np.hanning(n_fft), 0.0, clips[0].sample_rate_hz
    for clip in clips:
        frames = np.lib.stride_tricks.sliding_window_view(clip.samples, n_fft)[:: n_fft // 2]
        power = np.square(np.abs(np.fft.rfft(frames * window))).mean(0)
        total = total + power / max(power.sum(), 1e-12)
    return np.fft.rfftfreq(n_fft, 1.0 / rate_hz), 10.0 * np.log10(total / len(clips) + 1e-12)


def hum_db(clips: Sequence[Clip]) -> float:
    """How far the average spectrum's strongest narrow peak stands above its surroundings, in dB.

    Music of many keys averages to a smooth curve; a buzz or a hum that all clips share stays as a peak.
    """
    _, level_db = mean_spectrum_db(clips)
    surroundings = np.array([np.median(level_db[max(0, i - 15) : i + 16]) for i in range(len(level_db))])
    return float((level_db - surroundings)[5:-5].max())


def spectral_convergence(copy: Clip, original: Clip, n_fft: int = 2048) -> float:
    """Distance of two magnitude spectrograms, relative to the size of the original's (Arik et al. 2018)."""
    made, wanted = _magnitudes(copy, original, n_fft)
    return float(np.linalg.norm(made - wanted) / max(np.linalg.norm(wanted), 1e-9))


def spectral_error_db(copy: Clip, original: Clip, n_fft: int = 2048, floor_db: float = -60.0) -> float:
    """Mean distance in dB of two spectrograms; what lies under `floor_db` below the original's loudest value counts as equal."""
    levels_db = [20.0 * np.log10(magnitudes + 1e-9) for magnitudes in _magnitudes(copy, original, n_fft)]
    floor = levels_db[1].max() + floor_db
    return float(np.abs(np.maximum(levels_db[0], floor) - np.maximum(levels_db[1], floor)).mean())


def _magnitudes(copy: Clip, original: Clip, n_fft: int) -> list[np.ndarray]:
    n_samples = min(len(copy.samples), len(original.samples))
    views = (np.lib.stride_tricks.sliding_window_view(clip.samples[:n_samples], n_fft) for clip in (copy, original))
    return [np.abs(np.fft.rfft(view[:: n_fft // 4] * np.hanning(n_fft))) for view in views]
