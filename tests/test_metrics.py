import numpy as np
import pytest

from genre_gan import Clip
from genre_gan.evaluation.metrics import (
    copied_share,
    frechet_distance,
    hum_db,
    is_clipped,
    is_silent,
    kernel_distance,
    mean_and_interval,
    nearest_distances,
    spectral_convergence,
    spectral_error_db,
    within_genre_distance,
)

RATE_HZ = 22_050


def test_frechet_distance_of_gaussians_by_hand():
    """Means 3 apart and deviations 1 and 2 in each of two dimensions: 3**2 + 2 * (1 - 2)**2 = 11."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200_000, 2))
    y = 2.0 * rng.standard_normal((200_000, 2)) + np.array([3.0, 0.0])
    assert frechet_distance(x, y) == pytest.approx(11.0, rel=0.02)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-6)


def test_kernel_distance_is_unbiased_and_sees_a_shift():
    rng = np.random.default_rng(0)
    same = [kernel_distance(rng.standard_normal((30, 4)), rng.standard_normal((30, 4))) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    assert kernel_distance(rng.standard_normal((30, 4)) + 2.0, rng.standard_normal((30, 4))) > 200


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
    assert nearest_distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [6.0, 8.0]])) == pytest.approx([5.0])


def test_faults_of_clips():
    time_s = np.arange(RATE_HZ) / RATE_HZ
    tone = np.sin(2 * np.pi * 440 * time_s).astype(np.float32)
    assert is_silent(Clip(1e-4 * tone, RATE_HZ)) and not is_silent(Clip(0.1 * tone, RATE_HZ))
    assert is_clipped(Clip(np.clip(4 * tone, -1, 1), RATE_HZ)) and not is_clipped(Clip(0.9 * tone, RATE_HZ))
    noise = [Clip(np.random.default_rng(i).standard_normal(RATE_HZ).astype(np.float32), RATE_HZ) for i in range(8)]
    humming = [Clip(clip.samples + tone, RATE_HZ) for clip in noise]
    assert hum_db(noise) < 4 and hum_db(humming) > 15


def test_a_copy_at_half_the_level_is_six_decibels_off():
    noise = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    assert spectral_error_db(Clip(0.5 * noise, RATE_HZ), Clip(noise, RATE_HZ)) == pytest.approx(6.02, abs=0.1)
    assert spectral_error_db(Clip(noise, RATE_HZ), Clip(noise, RATE_HZ)) == 0.0
    assert spectral_convergence(Clip(0.5 * noise, RATE_HZ), Clip(noise, RATE_HZ)) == pytest.approx(0.5, abs=1e-3)


def test_intervals_hold_the_mean_and_sets_are_checked():
    mean, low, high = mean_and_interval([0.0, 1.0] * 50)
    assert mean == 0.5 and 0.38 < low < 0.5 < high < 0.62
    with pytest.raises(ValueError, match="n >= 2"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="same width"):
        kernel_distance(np.zeros((5, 3)), np.zeros((5, 4)))
