import numpy as np
import pytest

from genre_gan.loudness import TARGET_LUFS, TOLERANCE_DB, Leveler, Limiter, integrated_lufs, k_weights, level_loop, true_peak_db
from tests.conftest import synthesize

RATE_HZ = 22_050


def level(samples: np.ndarray, part: int | None = None) -> np.ndarray:
    """All of `samples` through a leveler, `part` samples at a time; what comes after them is silent."""
    leveler = Leveler(RATE_HZ)
    padded = np.pad(samples, (0, leveler.n_input(len(samples)) - len(samples)))
    step = part or len(padded)
    return np.concatenate([leveler(padded[start : start + step]) for start in range(0, len(padded), step)])[: len(samples)]


def noise(duration_s: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(duration_s * RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 44_100, 48_000])
def test_loudness_agrees_with_the_reference(rate_hz):
    """BS.1770: a sine of 997 Hz at full scale has -3.01 LUFS. pyloudnorm's filters are those of BS.1770 in its class DeMan."""
    pyloudnorm = pytest.importorskip("pyloudnorm", reason="pyloudnorm is not installed")
    time_s = np.arange(5 * rate_hz) / rate_hz
    sine = np.sin(2 * np.pi * 997 * time_s).astype(np.float32)
    assert integrated_lufs(sine, rate_hz) == pytest.approx(-3.01, abs=0.05)
    music = synthesize(220.0, 2.0, 10.0, seed=1, rate_hz=rate_hz)
    music[: 3 * rate_hz] *= 0.01  # under the relative gate
    expected = pyloudnorm.Meter(rate_hz, filter_class="DeMan").integrated_loudness(music)
    assert integrated_lufs(music, rate_hz) == pytest.approx(expected, abs=0.01)
    assert integrated_lufs(music, rate_hz) == pytest.approx(pyloudnorm.Meter(rate_hz).integrated_loudness(music), abs=0.3)


def test_the_weights_of_a_spectrum_are_those_of_the_filter():
    samples = 0.1 * np.random.default_rng(0).standard_normal(4 * 22_050).astype(np.float32)
    power = np.abs(np.fft.rfft(samples)) ** 2 * k_weights(len(samples), 22_050)
    lufs = -0.691 + 10.0 * np.log10(2.0 * power.sum() / len(samples) ** 2)
    assert lufs == pytest.approx(integrated_lufs(samples, 22_050), abs=0.05)


def test_silence_has_no_loudness_and_stays_silent():
    silence = np.zeros(2 * RATE_HZ, np.float32)
    assert integrated_lufs(silence, RATE_HZ) == -np.inf and integrated_lufs(silence[:100], RATE_HZ) == -np.inf
    assert not level(silence).any() and not level_loop(silence, RATE_HZ).any()


@pytest.mark.parametrize("gain_db", [-10, 0, 10])
@pytest.mark.parametrize("duration_s", [1.0, 2.5, 8.0, 30.0])
def test_any_length_has_the_target_loudness(gain_db, duration_s):
    """Levels that wander by 20 dB, as no recording does: each beginning of the sound has the loudness of the whole."""
    steps_db = np.repeat(np.random.default_rng(1).uniform(-10, 10, 60), RATE_HZ // 2)
    whole = level(0.1 * noise(30.0) * (10 ** ((steps_db + gain_db) / 20)).astype(np.float32))
    begun = whole[: round(duration_s * RATE_HZ)]
    assert abs(integrated_lufs(begun, RATE_HZ) - TARGET_LUFS) < (1.0 if duration_s > 1.2 else 1.5)
    assert true_peak_db(begun) < -1.0


def test_a_steady_level_is_left_alone():
    """Where the loudness stays near the target, one gain holds from beginning to end."""
    samples = 0.05 * noise(20.0)
    leveled = level(samples)
    seconds = (sound[RATE_HZ:-RATE_HZ].reshape(-1, RATE_HZ).std(1) for sound in (leveled, samples))
    gains = np.divide(*seconds)
    assert gains.std() / gains.mean() < 0.002
    assert integrated_lufs(leveled, RATE_HZ) == pytest.approx(TARGET_LUFS, abs=TOLERANCE_DB)


def test_parts_make_no_difference_and_a_longer_sound_begins_alike():
    samples = noise(6.0) * np.linspace(0.02, 0.5, 6 * RATE_HZ, dtype=np.float32)
    whole = level(samples)
    for part in (1000, 8820, 50_000):
        assert np.allclose(level(samples, part), whole, atol=1e-6)
    leveler = Leveler(RATE_HZ)
    n_needed = leveler.n_input(2 * RATE_HZ)
    assert np.allclose(leveler(samples[:n_needed])[: 2 * RATE_HZ], whole[: 2 * RATE_HZ], atol=1e-6)
    assert n_needed <= 2.5 * RATE_HZ


def test_the_limiter_holds_every_peak_and_leaves_the_rest():
    """A sine at a quarter of the rate that peaks between its samples, white noise, a beat, and one burst in what is quiet."""
    quarter = np.tile([1.0, 1.0, -1.0, -1.0], 5000).astype(np.float32)  # of size 1.41
    assert true_peak_db(quarter[1000:-1000]) == pytest.approx(3.0, abs=0.3)
    for samples in (quarter, 2.0 * noise(2.0), synthesize(220.0, 2.0, 4.0, seed=1) * 8.0):
        limiter = Limiter(RATE_HZ)
        limited = limiter(np.pad(samples, (0, limiter.delay)))
        assert len(limited) == len(samples) and true_peak_db(limited) < -1.0
    quiet = 0.05 * noise(1.0)
    limiter = Limiter(RATE_HZ)
    assert np.array_equal(limiter(np.pad(quiet, (0, limiter.delay))), quiet)
    burst = quiet.copy()
    burst[10_000:10_050] = 3.0
    limiter = Limiter(RATE_HZ)
    limited = limiter(np.pad(burst, (0, limiter.delay)))
    far = np.abs(np.arange(len(burst)) - 10_025) > 0.025 * RATE_HZ
    assert np.allclose(limited[far], burst[far], atol=1e-6)
    assert np.abs(limited[9_900:9_990]).mean() < 0.7 * np.abs(burst[9_900:9_990]).mean()  # it sets in before


def test_a_loop_is_leveled_in_a_circle():
    samples = noise(3.0) * (0.02 + 0.2 * np.sin(np.linspace(0, np.pi, 3 * RATE_HZ, dtype=np.float32)))
    leveled = level_loop(samples, RATE_HZ)
    assert integrated_lufs(leveled, RATE_HZ) == pytest.approx(TARGET_LUFS, abs=0.1)
    turned = np.roll(level_loop(np.roll(samples, 12_345), RATE_HZ), -12_345)
    assert np.corrcoef(leveled, turned)[0, 1] > 0.99999
    assert np.allclose(leveled / np.abs(leveled).max(), turned / np.abs(turned).max(), atol=1e-3)
