"""How good a classifier's probabilities are: accuracy by slice and by track, and calibration."""

from __future__ import annotations

import numpy as np

from genre_gan.classify import pool_slices
from genre_gan.data.cache import Segments
from genre_gan.data.sources import DataError


def check_genres(genres: tuple[str, ...]) -> None:
    """Raise `DataError` unless there is something to tell apart."""
    if len(genres) < 2:
        raise DataError(f"a classifier tells genres apart, and the data has only one genre: {', '.join(genres)}")


def track_scores(
    probabilities: np.ndarray, segments: Segments, truth: np.ndarray, agreement: float = 0.0
) -> tuple[dict[str, float], np.ndarray]:
    """Cross-entropy and accuracy by slice, accuracy by track, and by track balanced over the genres found.

    Args:
        probabilities: of each slice [shape=(n, n_genres)].
        segments: the slices.
        truth: genre id of each track of the store.
        agreement: of `pool_slices`.

    Returns:
        The scores, and the confusion matrix: `[i, j]` counts tracks of genre i named genre j [shape=(n_genres, n_genres)].
    """
    from sklearn.metrics import confusion_matrix

    tracks, position = np.unique(segments.track, return_inverse=True)
    of_slices, genre_ids = truth[segments.track], truth[tracks]
    named = pool_slices(probabilities, segments.n_frames, position, agreement).argmax(1)
    confusion = confusion_matrix(genre_ids, named, labels=range(probabilities.shape[1]))
    scores = {
        "loss": float(-np.log(probabilities[np.arange(len(segments)), of_slices] + 1e-9).mean()),
        "segment_accuracy": float((probabilities.argmax(1) == of_slices).mean()),
        "track_accuracy": float((named == genre_ids).mean()),
        "balanced_track_accuracy": balanced_accuracy(genre_ids, named),
        "n_segments": len(segments),
        "n_tracks": len(tracks),
    }
    return scores, confusion


def balanced_accuracy(genre_ids: np.ndarray, guesses: np.ndarray) -> float:
    """The mean over the genres that there are of the share of right guesses; both arguments are ids [shape=(n,)]."""
    from sklearn.metrics import recall_score

    return float(recall_score(genre_ids, guesses, labels=np.unique(genre_ids), average="macro"))


def expected_calibration_error(probabilities: np.ndarray, genre_ids: np.ndarray, n_bins: int = 10) -> float:
    """Mean distance between confidence and accuracy over bins of confidence, each weighing by its size (Guo et al. 2017)."""
    rows = reliability(probabilities, genre_ids, n_bins)
    return float(sum(abs(accuracy - confidence) * share for confidence, accuracy, share in rows))


def reliability(probabilities: np.ndarray, genre_ids: np.ndarray, n_bins: int = 10) -> list[tuple[float, float, float]]:
    """Mean confidence, accuracy and share of all items, for each bin of confidence that is not empty."""
    from sklearn.calibration import calibration_curve

    confidence, hits = probabilities.max(1), probabilities.argmax(1) == genre_ids
    accuracy, mean_confidence = calibration_curve(hits, confidence.clip(0.0, 1.0), n_bins=n_bins, pos_label=True)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    sizes = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=n_bins)  # scikit-learn's bins
    return list(zip(mean_confidence.tolist(), accuracy.tolist(), (sizes[sizes > 0] / len(hits)).tolist(), strict=True))
