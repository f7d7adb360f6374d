"""How near a set of clips is to real music, in numbers, from embeddings [shape=(n, d)] with one row a clip.

Every function names what it compares. Those that take `counts` let a clip count several times or not at all, which is what
`bootstrap` needs: drawing clips anew must not make pairs of a clip with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

N_DRAWS = 200
N_NEIGHBOURS, TRUSTED_SHARE = 5, 0.9  # of precision and recall


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    draws: Iterable[np.ndarray],
    limits: tuple[float, float] = (-np.inf, np.inf),
    n_apart: int | None = None,
) -> Estimate:
    """The value of `statistic` and 1.96 of its standard errors on either side (Efron & Tibshirani 1993, section 13.3).

    Where all draws of a share agree, they know of no error: its interval is Wilson's (1927).

    Args:
        statistic: of how often each clip counts, an int array [shape=(n,)].
        draws: such counts, from `draw_within` or `draw_clusters`.
        limits: outside which no value can lie.
        n_apart: how many independent things a share is of, for Wilson's interval; all clips unless given.
    """
    draws = list(draws)
    value, error = statistic(np.ones_like(draws[0])), float(np.std([statistic(counts) for counts in draws]))
    low, high = np.clip((value - 1.96 * error, value + 1.96 * error), *limits)
    if error < 1e-12 and limits == (0.0, 1.0):
        n = n_apart or len(draws[0])
        low, high = binomtest(round(value * n), n).proportion_ci(method="wilson")
    return Estimate(float(value), float(low), float(high))


def draw_within(groups: np.ndarray, n_draws: int = N_DRAWS, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw as many clips with replacement as there are within each group, such as a genre [shape=(n,) of ids].

    A draw that leaves a single clip of a group, of which no distance could be told, is drawn again.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for _ in range(n_draws):
        counts = np.zeros(len(groups), dtype=np.int64)
        for rows in members:
            chosen = rng.choice(rows, len(rows))
            while len(rows) > 1 and len(np.unique(chosen)) == 1:
                chosen = rng.choice(rows, len(rows))
            np.add.at(counts, chosen, 1)
        yield counts


def draw_clusters(clusters: np.ndarray, n_draws: int = N_DRAWS, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw whole clusters of items that are alike, such as an artist's tracks, with replacement [shape=(n,) of ids]."""
    rng = np.random.default_rng(seed)
    numbers = np.unique(clusters, return_inverse=True)[1]
    n_clusters = int(numbers.max()) + 1
    for _ in range(n_draws):
        yield np.bincount(rng.integers(0, n_clusters, n_clusters), minlength=n_clusters)[numbers]


class Reference:
    """Embeddings of real clips [shape=(n, d)] that other sets are compared with.

    In each comparison `x` are embeddings [shape=(m, d)], and `counts` says how often each row counts, once unless given.
    """

    def __init__(self, embeddings: np.ndarray):
        self.embeddings = embeddings
        self._check(embeddings)
        self._mean, centred = _centre(embeddings, None)
        values, vectors = np.linalg.eigh(centred.T @ centred)
        self._root, self._variance = vectors * np.sqrt(values.clip(0.0)) @ vectors.T, float(np.square(centred).sum())
        squared = _squared_distances(embeddings, embeddings)
        self._gamma = 1.0 / max(float(np.median(squared[~np.eye(len(squared), dtype=bool)])), 1e-12)
        self._kernel_within = _mean_of_pairs(np.exp(-self._gamma * squared), np.ones(len(squared)))

    def frechet_distance(self, x: np.ndarray, counts: np.ndarray | None = None) -> float:
        """Fréchet distance of Gaussians fitted to both sets (Heusel et al. 2017; Kilgour et al. 2019).

        It grows as n gets smaller: compare only figures of the same n.
        """
        self._check(x)
        mean, centred = _centre(x, counts)
        difference = mean - self._mean
        # the trace of the root of the product of both covariances, from singular values
        cross = np.linalg.svd(centred @ self._root, compute_uv=False).sum()
        return float(difference @ difference + np.square(centred).sum() + self._variance - 2.0 * cross)

    def kernel_distance(self, x: np.ndarray, counts: np.ndarray | None = None) -> float:
        """Unbiased squared maximum mean discrepancy with a Gaussian kernel, times 1000, after KAD (Chung et al. 2025).

        The kernel is exp(-d²/m²), m being the median distance within the reference; KAD has 2 m² there, and other
        figures. It does not depend on n, and near 0 it can fall below.
        """
        self._check(x)
        counts = np.ones(len(x)) if counts is None else counts
        within = _mean_of_pairs(np.exp(-self._gamma * _squared_distances(x, x)), counts)
        across = np.exp(-self._gamma * _squared_distances(x, self.embeddings)).mean(1)
        return 1000.0 * (within + self._kernel_within - 2.0 * float(np.average(across, weights=counts)))

    def precision(self, x: np.ndarray, counts: np.ndarray | None = None) -> float:
        """Share of `x` that lies where the reference does (Kynkäänniemi et al., "Improved precision and recall metric", 2019).

        That is nearer to some clip of the reference than this one's neighbour number `N_NEIGHBOURS` in the reference is. Clips
        whose neighbours are furthest do not count (there, section 5): around an outlier even noise would be let in.
        """
        return float(np.average(_inside(x, self.embeddings).any(1), weights=counts))

    def recall(self, x: np.ndarray, counts: np.ndarray | None = None) -> float:
        """Share of the reference that lies where `x` does: `precision` the other way round."""
        inside = _inside(self.embeddings, x)
        return float((inside if counts is None else inside[:, counts > 0]).any(1).mean())

    def _check(self, x: np.ndarray) -> None:
        if x.ndim != 2 or len(x) < 2:
            raise ValueError(f"embeddings must be [shape=(n, d)] with n >= 2, got {x.shape}")
        if x.shape[1] != self.embeddings.shape[1]:
            raise ValueError(f"embeddings must have the width of the reference, {self.embeddings.shape[1]}, got {x.shape[1]}")


def within_genre_distance(x: np.ndarray, genre_ids: np.ndarray, counts: np.ndarray | None = None) -> float:
    """Mean distance of two clips of one genre, every genre weighing the same; a collapsed generator's is near 0."""
    counts = np.ones(len(x)) if counts is None else counts
    means = []
    for genre in np.unique(genre_ids):
        rows = np.flatnonzero(genre_ids == genre)
        if np.count_nonzero(counts[rows]) > 1:
            means.append(_mean_of_pairs(np.sqrt(_squared_distances(x[rows], x[rows])), counts[rows]))
    if not means:
        raise ValueError("within_genre_distance needs a genre with at least 2 clips")
    return float(np.mean(means))


def nearest_distances(x: np.ndarray, others: np.ndarray, n_at_once: int = 2048) -> np.ndarray:
    """Distance of each row of `x` to the nearest row of `others` [shape=(n,)]."""
    nearest = np.full(len(x), np.inf)
    for start in range(0, len(others), n_at_once):
        nearest = np.minimum(nearest, _squared_distances(x, others[start : start + n_at_once]).min(1))
    return np.sqrt(nearest)


def copied_share(nearest: np.ndarray, nearest_unseen: np.ndarray, counts: np.ndarray | None = None) -> float:
    """Share of clips nearer to the training set than 95 % of unseen real clips are; 0.05 is what real music has."""
    return float(np.average(nearest < np.quantile(nearest_unseen, 0.05), weights=counts))


def mean_over_groups(values: np.ndarray, groups: np.ndarray, counts: np.ndarray | None = None) -> float:
    """Mean of `values` [shape=(n,)] in which every group, such as a genre, weighs the same."""
    counts = np.ones(len(values)) if counts is None else counts
    present = [group for group in np.unique(groups) if counts[groups == group].any()]
    return float(np.mean([np.average(values[groups == g], weights=counts[groups == g]) for g in present]))


def _centre(x: np.ndarray, counts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The mean, and the rows that count, centred and scaled so that their product with themselves is the covariance."""
    counts = np.ones(len(x)) if counts is None else counts
    mean, kept = np.average(x, axis=0, weights=counts), counts > 0
    return mean, np.sqrt(counts[kept, None] / (counts.sum() - 1)) * (x[kept] - mean)


def _mean_of_pairs(values: np.ndarray, counts: np.ndarray) -> float:
    """Mean over pairs of different clips of a symmetric matrix."""
    pairs = np.outer(counts, counts).astype(np.float64)
    np.fill_diagonal(pairs, 0.0)
    return float((values * pairs).sum() / pairs.sum())


def _inside(x: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each row of `x` lies no further from each of `others` than this one's neighbour does [shape=(n, m)]."""
    if len(others) <= N_NEIGHBOURS:
        raise ValueError(f"precision and recall need more than {N_NEIGHBOURS} clips, got {len(others)}")
    radius = np.sort(_squared_distances(others, others), 1)[:, N_NEIGHBOURS]  # the first is the clip itself
    return (_squared_distances(x, others) <= radius) & (radius <= np.quantile(radius, TRUSTED_SHARE))


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None, :] - 2.0 * x @ y.T).clip(0.0)

