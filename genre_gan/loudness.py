"""Even loudness: measuring it after ITU-R BS.1770, and bringing sound to one level while it is still being made.

Loudness is the power of the sound after a filter that hears as people do (K-weighting), over blocks of 400 ms, without those
that are nearly silent beside the others (gating). All functions take mono samples, float32 [shape=(n,)], full scale 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

TARGET_LUFS = -16.0
MAX_PEAK_DB = -1.0  # true peak, dB full scale
MAX_GAIN_DB = 24.0  # what is nearly silent stays so
TOLERANCE_DB = 0.4  # within which the loudness so far may stray before the gain follows
HOP_S, HOPS_PER_BLOCK, HOPS_PER_SEGMENT, FIRST_SEGMENTS = 0.1, 4, 4, 3
MAX_STEP_DB = 3.0  # how far beyond the target a segment may be moved to make up for those before
HIGH_PASS_HZ = 20.0  # what lies below takes room and is not heard
LIMITER_REACH_S = 0.01
_LIMIT = 10 ** ((MAX_PEAK_DB - 0.3) / 20)  # four-fold oversampling misses up to a few tenths of a dB
_ABSOLUTE_GATE_LUFS, _RELATIVE_GATE_DB = -70.0, -10.0
_MAX_STEP = 24  # samples that are taken together where the limiter's effect is predicted, about 1 ms
_TAPS = 20  # of the interpolation between samples


def integrated_lufs(samples: np.ndarray, sample_rate_hz: int) -> float:
    """Gated loudness of a whole sound of at least 0.4 s in LUFS; minus infinity where it is silent."""
    return _gated_lufs(_mean_squares(_k_weighting(sample_rate_hz)(samples), round(HOP_S * sample_rate_hz)))


def k_weights(n_samples: int, sample_rate_hz: int) -> np.ndarray:
    """What K-weighting multiplies power by, at each frequency of a real Fourier transform [shape=(n_samples // 2 + 1,)]."""
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(n_samples))
    response = np.ones_like(turn)
    for section in (_shelf(sample_rate_hz), _high_pass(sample_rate_hz)):
        response *= np.polyval(section[2::-1], turn) / np.polyval(section[:2:-1], turn)
    return np.abs(response) ** 2


def true_peak_db(samples: np.ndarray) -> float:
    """The largest size that the sound reaches, between samples too, in dB full scale (four-fold oversampling)."""
    from scipy.signal import resample_poly

    return 20.0 * math.log10(max(float(np.abs(resample_poly(samples, 4, 1)).max()), 1e-9))


class Leveler:
    """Brings sound that comes in parts to `TARGET_LUFS`, without what lies under `HIGH_PASS_HZ`, and limits its peaks.

    The gain is found from the first 1.2 s. Every later segment of 0.4 s keeps it, unless the loudness from the beginning on
    would leave the target by more than `TOLERANCE_DB`: then it moves just as far as needed. So whatever length is cut from the
    beginning has the target's loudness, but for a few cuts of less than 2 s, of which the gain may have been found from more than
    is left. A longer sound begins as a shorter one does, and the longer it lasts, the freer are its dynamics. How the sound is
    cut into parts makes no difference.
    """

    def __init__(self, sample_rate_hz: int):
        self._hop = round(HOP_S * sample_rate_hz)
        self._clean, self._weigh = _rumble_filter(sample_rate_hz), _k_weighting(sample_rate_hz)
        self._limiter = Limiter(sample_rate_hz)
        self._pending = np.zeros(0, np.float32)
        self._gain_db: float | None = None
        self._powers = np.zeros(0)  # of the hops so far, with their gain

    def n_input(self, n_samples: int) -> int:
        """How many samples have to come in so that `n_samples` go out."""
        segment = HOPS_PER_SEGMENT * self._hop
        n_segments = -(-(n_samples + self._limiter.delay) // segment)
        return max(FIRST_SEGMENTS, n_segments) * segment

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """The next samples that are finished [shape=(n,)]; they lag behind by up to 1.2 s at first, then by 0.4 s."""
        self._pending = np.concatenate([self._pending, self._clean(samples).astype(np.float32)])
        n_segments = len(self._pending) // (HOPS_PER_SEGMENT * self._hop)
        if n_segments < (FIRST_SEGMENTS if self._gain_db is None else 1):
            return np.zeros(0, np.float32)
        ready, self._pending = np.split(self._pending, [n_segments * HOPS_PER_SEGMENT * self._hop])
        return self._limiter(ready * self._find_gain(ready))

    def _find_gain(self, samples: np.ndarray) -> np.ndarray:
        """The gain of each sample of whole segments; it moves in the first hop of a segment."""
        weighted = self._weigh(samples)
        gain, start = np.empty(len(samples), np.float32), 0
        while start < len(samples):
            before_db, n_segments = self._gain_db, FIRST_SEGMENTS if self._gain_db is None else 1
            part = slice(start, start + n_segments * HOPS_PER_SEGMENT * self._hop)
            segment = _Segment(samples[part], weighted[part], self._hop, self._limiter)
            self._gain_db = self._follow(segment, before_db)
            self._powers = np.append(self._powers, segment.powers(self._gain_db))
            gain[part] = 10 ** (self._gain_db / 20)
            if before_db not in (None, self._gain_db):
                gain[start : start + self._hop] = 10 ** (np.linspace(before_db, self._gain_db, self._hop) / 20)
            start = part.stop
        return gain

    def _follow(self, segment: _Segment, gain_db: float | None) -> float:
        """The gain of the next segment after one of `gain_db`."""
        if gain_db is None or math.isinf(segment.plain_lufs):
            return segment.level() if gain_db is None else gain_db

        def error_db(gain_db: float) -> float:
            return _gated_lufs(np.append(self._powers, segment.powers(gain_db))) - TARGET_LUFS

        error = error_db(gain_db)
        if abs(error) <= TOLERANCE_DB:
            return gain_db
        # with this gain the segment by itself lies on the other side of the target, and above the gate
        beyond = TARGET_LUFS - segment.plain_lufs - math.copysign(MAX_STEP_DB, error)
        beyond = min(beyond, gain_db) if error > 0 else min(max(beyond, gain_db), MAX_GAIN_DB)
        return _solve(error_db, math.copysign(TOLERANCE_DB, error), gain_db, beyond)


def level_loop(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The same for a whole loop [shape=(n,)]: one gain, and its end flows into its beginning as before."""
    margin = sample_rate_hz // 2  # after which the filters have forgotten where they began
    around = np.pad(samples, (margin, margin), mode="wrap")
    around = _rumble_filter(sample_rate_hz)(around).astype(np.float32)
    weighted, limiter = _k_weighting(sample_rate_hz)(around), Limiter(sample_rate_hz)
    whole = _Segment(around[margin:-margin], weighted[margin:-margin], round(HOP_S * sample_rate_hz), limiter)
    limited = limiter(around * np.float32(10 ** (whole.level() / 20)))
    return limited[margin : margin + len(samples)]


class Limiter:
    """Keeps true peaks under `MAX_PEAK_DB` by a gain that moves smoothly, beginning before a peak.

    The sound is delayed by `delay` samples. The gain that each sample needs is found with four-fold oversampling (BS.1770-4,
    annex 2); the smallest within reach of a sample, smoothed over the same reach, is never above what any peak needs.
    """

    def __init__(self, sample_rate_hz: int):
        self._reach = round(LIMITER_REACH_S * sample_rate_hz)
        self.delay = 2 * self._reach + _TAPS // 2
        self._kept = np.zeros(self.delay, np.float32)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """The next samples, as many as are known to `delay` samples ahead [shape=(n,)]."""
        samples = np.concatenate([self._kept, samples])
        self._kept = samples[-2 * self.delay :]
        if len(samples) <= 2 * self.delay:
            return np.zeros(0, np.float32)
        peaks = _true_peaks(samples)
        middle = samples[self.delay : -self.delay]
        return middle if peaks.max() <= _LIMIT else middle * self.find_gain(peaks)[self.delay : -self.delay]

    def find_gain(self, peaks: np.ndarray, step: int = 1) -> np.ndarray:
        """The gain for each `step` samples at and around which the sound is of size `peaks` [shape=(n,)]."""
        from scipy.ndimage import minimum_filter1d, uniform_filter1d

        reach = self._reach // step
        gain = minimum_filter1d(_LIMIT / np.maximum(peaks, _LIMIT), 2 * reach + 1)
        for _ in range(2):
            gain = uniform_filter1d(gain, reach + 1 - reach % 2)
        return gain


class _Segment:
    """A stretch of sound whose loudness is predicted for any gain, limiter included, before that gain is applied.

    The limiter's gain moves slowly: it may as well come after the weighting, and be the same for a few samples.
    """

    def __init__(self, samples: np.ndarray, weighted: np.ndarray, hop: int, limiter: Limiter):
        self._limiter, self._step = limiter, max(n for n in range(1, _MAX_STEP + 1) if hop % n == 0)
        n_whole, self._shape = len(samples) // hop * hop, (-1, hop // self._step)
        self._peaks = np.abs(samples[:n_whole]).reshape(-1, self._step).max(1)
        self._powers = _mean_squares(weighted[:n_whole], self._step)
        self._largest, self._plain_powers = self._peaks.max(initial=0.0), self._powers.reshape(self._shape).mean(1)
        self.plain_lufs = _gated_lufs(self._plain_powers)

    def powers(self, gain_db: float) -> np.ndarray:
        """K-weighted power of each hop with that gain [shape=(n_hops,)]."""
        gain = 10 ** (gain_db / 20)
        if self._largest * gain <= _LIMIT:
            return self._plain_powers * gain**2
        gains = gain * self._limiter.find_gain(self._peaks * gain, self._step)
        return (self._powers * gains**2).reshape(self._shape).mean(1)

    def level(self) -> float:
        """The gain that brings the segment to the target; 0 where it is silent."""
        if math.isinf(self.plain_lufs):
            return 0.0
        gain_db = min(MAX_GAIN_DB, TARGET_LUFS - self.plain_lufs)
        return _solve(lambda gain_db: _gated_lufs(self.powers(gain_db)) - TARGET_LUFS, 0.0, gain_db, MAX_GAIN_DB)


def _solve(error_db: Callable[[float], float], wanted_db: float, start_db: float, beyond_db: float) -> float:
    """The gain between the two that has the wanted error, or else the one of the two that comes nearer."""
    from scipy.optimize import brentq

    at_start = error_db(start_db) - wanted_db
    if abs(at_start) < 0.01:
        return start_db
    at_end = error_db(beyond_db) - wanted_db
    if at_start * at_end >= 0:
        return start_db if abs(at_start) < abs(at_end) else beyond_db
    return brentq(lambda gain_db: error_db(gain_db) - wanted_db, start_db, beyond_db, xtol=0.02)


class _Filter:
    """A filter of second-order sections that goes on from part to part."""

    def __init__(self, *sections: np.ndarray):
        self._sections = np.stack(sections)
        self._state = np.zeros((len(sections), 2))

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        from scipy.signal import sosfilt

        filtered, self._state = sosfilt(self._sections, samples, zi=self._state)
        return filtered


def _rumble_filter(sample_rate_hz: int) -> _Filter:
    from scipy.signal import butter

    return _Filter(butter(1, HIGH_PASS_HZ, "highpass", fs=sample_rate_hz, output="sos")[0])


def _k_weighting(sample_rate_hz: int) -> _Filter:
    """The filter of BS.1770 for any sample rate.

    After De Man, "Evaluation of implementations of the EBU R128 loudness measurement" (AES 2018).
    """
    return _Filter(_shelf(sample_rate_hz), _high_pass(sample_rate_hz))


def _shelf(sample_rate_hz: int) -> np.ndarray:
    k, q = math.tan(math.pi * 1681.9744509555319 / sample_rate_hz), 0.7071752369554193
    high = 10 ** (3.99984385397 / 20)
    band = high**0.499666774155
    numerator = np.array([high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k])
    denominator = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    return np.concatenate([numerator, denominator]) / denominator[0]


def _high_pass(sample_rate_hz: int) -> np.ndarray:
    k, q = math.tan(math.pi * 38.13547087602444 / sample_rate_hz), 0.5003270373238773
    denominator = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    return np.concatenate([[1.0, -2.0, 1.0], denominator / denominator[0]])


def _mean_squares(samples: np.ndarray, n: int) -> np.ndarray:
    """The mean square of each whole `n` samples."""
    parts = samples[: len(samples) // n * n].reshape(-1, n)
    return np.einsum("ij,ij->i", parts, parts) / n


def _gated_lufs(powers: np.ndarray) -> float:
    if len(powers) < HOPS_PER_BLOCK:
        return -math.inf
    sums = np.concatenate([[0.0], powers.cumsum()])
    blocks = (sums[HOPS_PER_BLOCK:] - sums[:-HOPS_PER_BLOCK]) / HOPS_PER_BLOCK
    heard = blocks[blocks > _power_of(_ABSOLUTE_GATE_LUFS)]
    if len(heard) == 0:
        return -math.inf
    heard = heard[heard > heard.mean() * 10 ** (_RELATIVE_GATE_DB / 10)]
    return -0.691 + 10 * math.log10(heard.mean())


def _power_of(lufs: float) -> float:
    return 10 ** ((lufs + 0.691) / 10)


def _true_peaks(samples: np.ndarray) -> np.ndarray:
    """The size that the sound reaches at and around each sample [shape=(n,)]; interpolated only where it can matter."""
    peaks = np.abs(samples)
    width = 32
    n_frames = len(samples) // width
    loud = peaks[: n_frames * width].reshape(n_frames, width).max(1) > 0.5 * _LIMIT
    (rows,) = np.nonzero(loud)
    if len(rows) == 0:
        return peaks
    padded = np.pad(samples, (_TAPS // 2 - 1, _TAPS // 2))
    index = rows[:, None] * width + np.arange(width + _TAPS - 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded[index], _TAPS, axis=1)  # (n_rows, width, _TAPS)
    between = np.abs(windows @ _interpolation())  # from each sample to the next, (n_rows, width, 3)
    frames = peaks[: n_frames * width].reshape(n_frames, width)
    frames[rows] = np.maximum.reduce([frames[rows], *np.moveaxis(between, 2, 0)])
    return peaks


def _interpolation() -> np.ndarray:
    """Windowed sines that give the sound a quarter, a half and three quarters of a sample on, [shape=(_TAPS, 3)]."""
    distance = np.arange(1 - _TAPS // 2, _TAPS // 2 + 1)[:, None] - np.array([0.25, 0.5, 0.75])
    taps = np.sinc(distance) * np.cos(np.pi * distance / (_TAPS + 1)) ** 2
    return (taps / taps.sum(0)).astype(np.float32)
