"""Distances between sets of embeddings, against answers known by hand."""

import numpy as np
import pytest

from genre_gan.evaluation.metrics import (
    Reference,
    bootstrap,
    copied_share,
    draw_clusters,
    draw_within,
    mean_over_groups,
    nearest_distances,
    within_genre_distance,
)
from genre_gan.evaluation.probe import GenreProbe
from genre_gan.markdown import interval


def test_frechet_distance_of_gaussians_by_hand():
    """Means 3 apart and deviations 1 and 2 in each of two dimensions: 3**2 + 2 * (1 - 2)**2 = 11."""
    square = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * np.sqrt(3 / 4)  # whose covariance is 1
    x, y = square, 2.0 * square + np.array([3.0, 0.0])
    assert Reference(y).frechet_distance(x) == pytest.approx(11.0)
    assert Reference(x).frechet_distance(x) == pytest.approx(0.0, abs=1e-6)


def test_kernel_distance_is_unbiased_and_sees_a_shift():
    rng = np.random.default_rng(0)
    pairs = (rng.standard_normal((2, 30, 4)) for _ in range(200))
    same = [Reference(y).kernel_distance(x) for x, y in pairs]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    assert Reference(rng.standard_normal((30, 4))).kernel_distance(rng.standard_normal((30, 4)) + 2.0) > 200


def test_precision_and_recall_tell_missing_modes_from_wrong_ones():
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((100, 2)), rng.standard_normal((100, 2)) + 100.0
    both = np.concatenate([left[:50], right[:50]])
    half = left[50:]
    assert Reference(both).precision(half) > 0.85 and Reference(both).recall(half) < 0.55  # a mode is missing
    assert Reference(half).precision(both) < 0.55 and Reference(half).recall(both) > 0.85  # a mode is wrong
    with_outliers = np.concatenate([left, [[1e3, 0.0], [-1e3, 0.0]]])  # whose neighbours are far enough to let in anything
    assert Reference(with_outliers).precision(right) == 0.0 and Reference(with_outliers).precision(left) > 0.8
    assert Reference(right).precision(left + 1e4) == Reference(right).recall(left + 1e4) == 0.0
    with pytest.raises(ValueError, match="need more than 5 clips, got 5"):
        Reference(right[:5]).precision(left)


def test_within_genre_distance_by_hand():
    embeddings = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    assert within_genre_distance(embeddings, np.array([0, 0, 1, 1])) == pytest.approx((5 + 1) / 2)
    with pytest.raises(ValueError, match="at least 2 clips"):
        within_genre_distance(embeddings[:1], np.array([0]))


def test_copies_are_found():
    rng = np.random.default_rng(0)
    train, unseen = rng.standard_normal((100, 8)), rng.standard_normal((100, 8))
    limit = nearest_distances(unseen, train)
    assert copied_share(nearest_distances(train + 1e-3, train), limit) == 1.0
    assert copied_share(limit, limit) == pytest.approx(0.05)
    assert nearest_distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [6.0, 8.0]]), n_at_once=1) == pytest.approx([5.0])


def test_clips_that_count_twice_or_not_at_all_are_as_if_given_so():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 3)), rng.standard_normal((20, 3)) + 1.0
    genre_ids, counts = np.repeat([0, 1], 6), np.array([1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1])
    kept = counts > 0
    reference = Reference(y)
    for measure in (reference.frechet_distance, reference.kernel_distance, reference.precision):
        assert measure(x, counts) == pytest.approx(measure(x[kept]))
    assert within_genre_distance(x, genre_ids, counts) == pytest.approx(within_genre_distance(x[kept], genre_ids[kept]))
    doubled = np.repeat(x, 2, 0)
    twice = np.full(12, 2)
    assert reference.frechet_distance(x, twice) == pytest.approx(reference.frechet_distance(doubled))
    assert reference.kernel_distance(x, twice) == pytest.approx(reference.kernel_distance(x))  # no pairs of a clip with itself
    assert mean_over_groups(np.array([1.0, 0, 0, 1]), np.array([0, 1, 1, 1]), np.array([3, 1, 1, 0])) == pytest.approx(0.5)


def test_the_interval_of_a_mean_is_that_of_theory():
    """A share of a half among 100 has a standard error of 0.05."""
    values, groups = np.array([0.0, 1.0] * 50), np.zeros(100)
    estimate = bootstrap(lambda counts: np.average(values, weights=counts), draw_within(groups))
    assert estimate.value == 0.5
    assert (estimate.low, estimate.high) == (pytest.approx(0.402, abs=0.02), pytest.approx(0.598, abs=0.02))
    assert interval(vars(estimate), 1) == "0.5 (0.4 to 0.6)"
    apart = bootstrap(lambda counts: np.average(values, weights=counts), draw_within(values))  # groups of equal values
    assert apart.low == apart.high == 0.5
    near_one = bootstrap(lambda counts: 0.99 + 0.02 * np.average(values, weights=counts), draw_within(groups), (0.0, 1.0))
    assert near_one.high == 1.0
    never = bootstrap(lambda counts: np.average(np.zeros(100), weights=counts), draw_within(groups), (0.0, 1.0))
    assert (never.value, never.low) == (0.0, 0.0) and never.high == pytest.approx(0.037, abs=1e-3)  # Wilson
    of_four = bootstrap(lambda counts: np.average(np.ones(100), weights=counts), draw_within(groups), (0.0, 1.0), n_apart=4)
    assert (of_four.value, of_four.high) == (1.0, 1.0) and of_four.low == pytest.approx(0.51, abs=1e-2)


def test_tracks_of_one_artist_are_drawn_together_and_widen_the_interval():
    """Ten artists of ten tracks each, all alike: a hundred tracks say no more than ten would, sqrt(0.25 / 10) = 0.158."""
    values, artists = np.repeat([0.0, 1.0] * 5, 10), np.repeat(np.arange(10), 10)
    estimate = bootstrap(lambda counts: np.average(values, weights=counts), draw_clusters(artists, n_draws=2000))
    assert estimate.high - estimate.value == pytest.approx(1.96 * 0.158, rel=0.06)
    for counts in draw_clusters(np.array([0, 0, 1]), n_draws=5):
        assert counts[0] == counts[1] and counts[0] + counts[2] == 2
    assert all(np.count_nonzero(counts) == 2 for counts in draw_within(np.zeros(2)))  # never one clip alone


def test_sets_are_checked():
    with pytest.raises(ValueError, match="n >= 2"):
        Reference(np.zeros((5, 3))).frechet_distance(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="must have the width of the reference, 4, got 3"):
        Reference(np.zeros((5, 4))).kernel_distance(np.zeros((5, 3)))


def test_a_probe_weighs_genres_and_tracks_alike():
    """One long track lies on the wrong side: by clips it would move the border, by tracks it is one of twelve."""
    rng = np.random.default_rng(0)
    blues, metal = rng.standard_normal((10, 2)) - [2.0, 0.0], rng.standard_normal((20, 2)) + np.array([2.0, 0.0])
    odd = rng.standard_normal((300, 2)) * 0.1 + [2.0, 0.0]
    x, genres = np.concatenate([blues, metal, odd]), ["blues"] * 10 + ["metal"] * 20 + ["blues"] * 300
    tracks = [*range(30), *[30] * 300]
    probe = GenreProbe(x, genres, tracks)
    assert probe.genres == ("blues", "metal")
    assert (probe.predict(metal) == "metal").mean() > 0.8 > (GenreProbe(x, genres).predict(metal) == "metal").mean()
    assert np.allclose(probe.probabilities(x).sum(1), 1.0)
    with pytest.raises(ValueError, match="at least two genres, got \\['blues'\\]"):
        GenreProbe(blues, ["blues"] * 10)
