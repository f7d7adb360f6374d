"""Music to try the classifier on that nobody owns: works long in the public domain, played here by plucked strings and noise.

A string is a delay line with a low pass in its loop (Karplus and Strong, "Digital synthesis of plucked-string and drum timbres",
1983).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from genre_gan import Clip
from genre_gan.audio import SAMPLE_RATE_HZ

# Bach's prelude in C major, BWV 846: the five notes of each bar as MIDI numbers, of which the last three come back
PRELUDE = (
    (60, 64, 67, 72, 76), (60, 62, 69, 74, 77), (59, 62, 67, 74, 77), (60, 64, 67, 72, 76),
    (60, 64, 69, 76, 81), (60, 62, 66, 69, 74), (59, 62, 67, 74, 79), (59, 60, 64, 67, 72),
)  # fmt: skip
PRELUDE_ORDER = (0, 1, 2, 3, 4, 2, 3, 4)
# the roots of a twelve-bar blues in E, and the steps of its shuffle above them
TWELVE_BARS = (40, 40, 40, 40, 45, 45, 40, 40, 47, 45, 40, 47)
SHUFFLE = (7, 7, 9, 9, 10, 9, 7, 9)

Note = tuple[float, float, float]  # start in seconds, MIDI number, loudness


def pluck(midi: float, duration_s: float, seed: int) -> np.ndarray:
    """A plucked string, float32 [shape=(n,)] in [-1, 1]."""
    from scipy.signal import lfilter

    period = max(2, round(SAMPLE_RATE_HZ / (440.0 * 2.0 ** ((midi - 69.0) / 12.0))))
    burst = np.zeros(round(duration_s * SAMPLE_RATE_HZ))
    burst[:period] = np.random.default_rng(seed).uniform(-1.0, 1.0, min(period, len(burst)))
    burst[:period] -= burst[:period].mean()  # a string that rests where it began
    loop = np.zeros(period + 2)
    loop[0], loop[period], loop[period + 1] = 1.0, -0.498, -0.498
    return lfilter([1.0], loop, burst).astype(np.float32)


def hit(duration_s: float, seed: int) -> np.ndarray:
    """A stroke on a cymbal or a snare: noise that dies away, float32 [shape=(n,)]."""
    n_samples = round(duration_s * SAMPLE_RATE_HZ)
    noise = np.diff(np.random.default_rng(seed).standard_normal(n_samples + 1))
    return (0.3 * noise * np.exp(-np.arange(n_samples) / (0.03 * SAMPLE_RATE_HZ))).astype(np.float32)


def mixed(sounds: Iterable[tuple[float, np.ndarray]], duration_s: float) -> Clip:
    """Sounds at their times in seconds, together at a level like that of a recording."""
    total = np.zeros(round(duration_s * SAMPLE_RATE_HZ), np.float32)
    for start_s, sound in sounds:
        start = round(start_s * SAMPLE_RATE_HZ)
        part = sound[: max(0, len(total) - start)]
        total[start : start + len(part)] += part
    return Clip(0.6 * total / max(1e-9, float(np.abs(total).max())), SAMPLE_RATE_HZ)


def bach_prelude() -> Clip:
    """The first eight bars of the prelude."""
    step_s = 0.24
    played = [bar[i] for bar in PRELUDE for _ in range(2) for i in PRELUDE_ORDER]
    return mixed(((step_s * n, pluck(midi, 1.6, n)) for n, midi in enumerate(played)), step_s * len(played) + 1.0)


def twelve_bar_blues() -> Clip:
    """One chorus on two strings at a time, with a stroke on the second and the fourth beat."""
    beat_s, sounds = 0.5, []
    for bar, root in enumerate(TWELVE_BARS):
        for half, step in enumerate(SHUFFLE):
            start_s = beat_s * (4 * bar + half // 2 + (2 / 3 if half % 2 else 0.0))
            sounds += [(start_s, pluck(root, 0.5, bar)), (start_s, pluck(root + step, 0.5, half))]
            if half in (2, 6):
                sounds.append((start_s, hit(0.2, half)))
    return mixed(sounds, beat_s * 4 * len(TWELVE_BARS))


def hum(pitch_hz: float) -> Clip:
    """A single tone, which is no music."""
    time_s = np.arange(6 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    return Clip((0.3 * np.sin(2 * np.pi * pitch_hz * time_s)).astype(np.float32), SAMPLE_RATE_HZ)


def noise() -> Clip:
    """White noise, which is no music either."""
    return Clip(0.1 * np.random.default_rng(0).standard_normal(6 * SAMPLE_RATE_HZ).astype(np.float32), SAMPLE_RATE_HZ)


def silence() -> Clip:
    """Nothing at all."""
    return Clip(np.zeros(6 * SAMPLE_RATE_HZ, np.float32), SAMPLE_RATE_HZ)


SAMPLES = {
    "Bach, prelude in C (plucked here)": bach_prelude,
    "A twelve-bar blues (plucked here)": twelve_bar_blues,
    "A tone": lambda: hum(440.0),
    "White noise": noise,
    "Silence": silence,
}
