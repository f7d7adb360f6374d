"""How near generated music is to real music, in numbers: distances between sets of embeddings, and faults of single clips.

Embeddings come from a network that was trained on real music only, one row a clip. All functions are pure numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genre_gan.clip import Clip

SILENT_RMS = 10 ** (-50 / 20)
CLIPPED_LEVEL, CLIPPED_SHARE = 0.999, 1e-3


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Fréchet distance of Gaussians fitted to embeddings `x` and `y` [shape=(n, d)] (Heusel et al. 2017; Kilgour et al. 2019).

    It grows with small n: compare only figures of the same n.
    """
    _check_sets(x, y)
    difference = x.mean(0) - y.mean(0)
    covariance_x, covariance_y = (np.atleast_2d(np.cov(values, rowvar=False)) for values in (x, y))
    values, vectors = np.linalg.eigh(covariance_x)
    root = vectors * np.sqrt(values.clip(0.0)) @ vectors.T
    cross = np.linalg.eigvalsh(root @ covariance_y @ root).clip(0.0)
    return float(difference @ difference + np.trace(covariance_x) + np.trace(covariance_y) - 2.0 * np.sqrt(cross).sum())


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with a Gaussian kernel, times 1000, as KAD has it (Chung et al. 2025).

    The kernel's width is the median distance within `y`, the reference [shape=(n, d)]. It does not depend on n, and near 0
    it can fall below.
    """
    _check_sets(x, y)
    distances_yy = _squared_distances(y, y)
    off_diagonal = distances_yy[~np.eye(len(y), dtype=bool)]
    gamma = 1.0 / max(float(np.median(off_diagonal)), 1e-12)

    def mean_within(squared: np.ndarray) -> float:
        kernel = np.exp(-gamma * squared)
        return float((kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1)))

    across = float(np.exp(-gamma * _squared_distances(x, y)).mean())
    return 1000.0 * (mean_within(_squared_distances(x, x)) + mean_within(distances_yy) - 2.0 * across)


def within_genre_distance(embeddings: np.ndarray, genre_ids: np.ndarray) -> float:
    """Mean distance of two clips of one genre, every genre weighing the same; a collapsed generator's is near 0."""
    means = []
    for genre in np.unique(genre_ids):
        members = embeddings[genre_ids == genre]
        if len(members) > 1:
            distances = np.sqrt(_squared_distances(members, members))
            means.append(distances.sum() / (len(members) * (len(members) - 1)))
    if not means:
        raise ValueError("within_genre_distance needs a genre with at least 2 clips")
    return float(np.mean(means))


def nearest_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance of each row of `x` to its nearest row of `y` [shape=(n,)]."""
    return np.sqrt(_squared_distances(x, y).min(1))


def copied_share(nearest: np.ndarray, nearest_unseen: np.ndarray) -> float:
    """Share of clips nearer to the training set than 95 % of unseen real clips are; 0.05 is what real music has."""
    return float((nearest < np.quantile(nearest_unseen, 0.05)).mean())


def mean_and_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Mean of `values` with a 95 % bootstrap interval of 1000 draws."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("mean_and_interval needs at least one value")
    draws = np.random.default_rng(seed).integers(0, len(values), (1000, len(values)))
    low, high = np.quantile(values[draws].mean(1), (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def is_silent(clip: Clip) -> bool:
    """Whether a clip's root mean square is under -50 dB full scale."""
    return float(np.sqrt(np.mean(np.square(clip.samples)))) < SILENT_RMS


def is_clipped(clip: Clip) -> bool:
    """Whether more than a thousandth of a clip's samples stand at full scale."""
    return float((np.abs(clip.samples) >= CLIPPED_LEVEL).mean()) > CLIPPED_SHARE


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
    frames = [np.lib.stride_tricks.sliding_window_view(clip.samples[:n_samples], n_fft)[:: n_fft // 4] for clip in (copy, original)]
    return [np.abs(np.fft.rfft(part * np.hanning(n_fft))) for part in frames]


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None, :] - 2.0 * x @ y.T).clip(0.0)


def _check_sets(x: np.ndarray, y: np.ndarray) -> None:
    for name, values in (("x", x), ("y", y)):
        if values.ndim != 2 or len(values) < 2:
            raise ValueError(f"{name} must be embeddings [shape=(n, d)] with n >= 2, got {values.shape}")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must have the same width, got {x.shape[1]} and {y.shape[1]}")
