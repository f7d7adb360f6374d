"""Sound that is no music, made from formulas: what the classifier learns to be unsure about."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

import numpy as np

KINDS = ("noise", "tone", "sweep", "hum", "clicks", "speech")
# First three formants of vowels in Hz (Peterson & Barney 1952, men).
_FORMANTS_HZ = np.array(
    [(270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410), (730, 1090, 2440), (570, 840, 2410),
     (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390), (490, 1350, 1690)]
)  # fmt: skip


def make_not_music(kind: str, duration_s: float, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """One sound of a kind out of `KINDS`, float32 [shape=(n,)] with a peak of 0.5.

    `noise` has any colour, `tone` up to three harmonics, `sweep` glides, `hum` is a mains-like buzz in noise, `clicks` are
    irregular, and `speech` is a source-filter voice with a moving pitch, vowels, hisses and pauses at the pace of syllables.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    n = round(duration_s * sample_rate_hz)
    time_s = np.arange(n) / sample_rate_hz
    if kind == "noise":
        sound = _noise(n, rng.uniform(-1.2, 0.5), rng) * (1.0 + rng.uniform(0, 0.5) * np.sin(2 * np.pi * rng.uniform(0.1, 2) * time_s))
    elif kind == "tone":
        pitch_hz = 2 ** rng.uniform(np.log2(50), np.log2(5000))
        sound = sum(np.sin(2 * np.pi * pitch_hz * k * time_s) * rng.uniform(0, 1) ** k for k in range(1, 1 + rng.integers(1, 4)))
    elif kind == "sweep":
        start, end = np.log2(rng.uniform(40, 6000, 2))
        cycles = np.cumsum(2 ** np.linspace(start, end, n) / sample_rate_hz)
        sound = np.sin(2 * np.pi * cycles)
    elif kind == "hum":
        sound = sum(np.sin(2 * np.pi * 50 * rng.uniform(0.9, 1.3) * k * time_s) / k for k in range(1, 12)) + _noise(n, -0.5, rng)
    elif kind == "clicks":
        sound = np.zeros(n)
        sound[rng.integers(0, n, max(1, round(rng.uniform(1, 15) * duration_s)))] = rng.uniform(-1, 1)
        sound = np.convolve(sound, np.exp(-np.arange(200) / rng.uniform(5, 60)), "same")
    else:
        sound = _speech(n, sample_rate_hz, rng)
    sound = sound + 1e-4 * rng.standard_normal(n)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def _noise(n: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls or rises with frequency to the power of `slope`, with a deviation of 1."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** slope
    sound = np.fft.irfft(spectrum, n)
    return sound / sound.std()


def _speech(n: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    from scipy.signal import lfilter

    voice_hz, formant_scale = 2 ** rng.uniform(np.log2(85), np.log2(240)), rng.uniform(0.9, 1.25)
    parts, made = [], 0
    while made < n:
        length = round(rng.uniform(0.06, 0.28) * sample_rate_hz)
        kind = rng.choice(3, p=(0.7, 0.18, 0.12))  # vowel, hiss, pause
        envelope = np.sin(np.pi * np.arange(length) / length) ** 0.5 * rng.uniform(0.4, 1.0)
        if kind == 0:
            pitch_hz = voice_hz * 2 ** (np.linspace(*rng.uniform(-0.35, 0.35, 2), length))
            phase = np.cumsum(pitch_hz / sample_rate_hz)
            sound = np.diff(np.floor(phase), prepend=0.0) + 0.03 * rng.standard_normal(length)
            for formant_hz in _FORMANTS_HZ[rng.integers(len(_FORMANTS_HZ))] * formant_scale:
                radius = np.exp(-np.pi * rng.uniform(60, 130) / sample_rate_hz)
                cosine = np.cos(2 * np.pi * formant_hz / sample_rate_hz)
                sound = lfilter([1.0], [1.0, -2.0 * radius * cosine, radius**2], sound)
            sound = sound / (np.abs(sound).max() + 1e-9)
        elif kind == 1:
            sound = _noise(length, rng.uniform(0.3, 1.0), rng) * 0.12
        else:
            sound = np.zeros(length)
        parts.append(sound * envelope)
        made += length
    return np.concatenate(parts)[:n]


def speak(voices: Sequence[str], sentences: Sequence[str]) -> list[bytes]:
    """Each sentence by each voice of espeak-ng, as wav files; none where that program is missing."""
    if shutil.which("espeak-ng") is None:
        return []
    commands = (["espeak-ng", "-v", voice, "--stdout", text] for voice in voices for text in sentences)
    return [subprocess.run(command, capture_output=True, check=True).stdout for command in commands]
