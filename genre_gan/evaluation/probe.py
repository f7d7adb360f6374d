"""A linear probe: how well a genre can be told from embeddings, by a classifier too simple to add much of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

L2 = 3e-3


class GenreProbe:
    """Softmax regression on standardised embeddings; tracks weigh alike within a genre, and genres weigh alike.

    Args:
        embeddings: of clips of real music [shape=(n, d)].
        genres: of each.
        tracks: which track each is from; None where each is a track of its own.

    Attributes:
        genres: those that it tells apart, sorted.
    """

    def __init__(self, embeddings: np.ndarray, genres: Sequence[str], tracks: Sequence | None = None):
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if len(set(genres)) < 2:
            raise ValueError(f"a probe needs at least two genres, got {sorted(set(genres))}")
        tracks = range(len(genres)) if tracks is None else tracks
        clips_of_track, tracks_of_genre = Counter(tracks), Counter(genre for genre, _ in set(zip(genres, tracks, strict=True)))
        weights = np.array([1 / clips_of_track[t] / tracks_of_genre[g] for g, t in zip(genres, tracks, strict=True)])
        weights /= weights.sum()
        self._model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / L2, max_iter=1000))
        self._model.fit(embeddings, list(genres), logisticregression__sample_weight=weights)
        self.genres: tuple[str, ...] = tuple(self._model.classes_)

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """Of each genre [shape=(n, n_genres)], in the order of `genres`."""
        return self._model.predict_proba(embeddings)

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """The likeliest genre of each clip, as str [shape=(n,)]."""
        return self._model.predict(embeddings)
