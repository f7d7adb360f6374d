"""What recordings go through on their way to a classifier, at random: what it learns not to mind."""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt


def degrade(samples: np.ndarray, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """A random chain of playing speed, equaliser, telephone, room or dull codec, noise and clipping, float32 [shape=(m,)]."""
    sound = samples.astype(np.float64)
    if rng.random() < 0.4:
        speed = rng.uniform(0.94, 1.06)
        sound = np.interp(np.arange(0, len(sound) - 1, speed), np.arange(len(sound)), sound)
    if rng.random() < 0.5:
        sound = equalise(sound, sample_rate_hz, rng)
    way = rng.random()
    if way < 0.12:
        sound = limit_band(sound, sample_rate_hz, rng.uniform(250, 350), rng.uniform(3000, 3600))
    elif way < 0.27:
        sound = reverberate(sound, sample_rate_hz, rng)
        if rng.random() < 0.6:  # a small loudspeaker
            sound = limit_band(sound, sample_rate_hz, rng.uniform(100, 350), rng.uniform(5000, 7500))
    elif way < 0.45:
        sound = limit_band(sound, sample_rate_hz, None, rng.uniform(2500, 7000))
    if rng.random() < 0.35:
        noise = coloured_noise(len(sound), rng.uniform(-1.0, 0.2), rng)
        sound = sound + noise * sound.std() * 10 ** (-rng.uniform(8, 35) / 20)
    if rng.random() < 0.1:
        sound = np.tanh(rng.uniform(1, 4) * sound / (np.abs(sound).max() + 1e-9))
    return sound.astype(np.float32)


def telephone(samples: np.ndarray, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Over a telephone line: the band of a voice, sampled at 8 kHz, float32 [shape=(n,)]."""
    import soxr

    sound = limit_band(samples.astype(np.float64), sample_rate_hz, rng.uniform(250, 350), rng.uniform(3000, 3600))
    return soxr.resample(soxr.resample(sound, sample_rate_hz, 8_000), 8_000, sample_rate_hz).astype(np.float32)


def play_in_a_room(samples: np.ndarray, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """From a small loudspeaker in a room, float32 [shape=(n,)]."""
    played = limit_band(samples.astype(np.float64), sample_rate_hz, rng.uniform(150, 400), rng.uniform(5000, 7500))
    return reverberate(equalise(played, sample_rate_hz, rng), sample_rate_hz, rng).astype(np.float32)


def talk_over(samples: np.ndarray, speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With speech at the same rate over it, up to 20 dB quieter, float32 [shape=(n,)]."""
    talk = np.resize(speech, len(samples))
    ratio = np.sqrt(np.square(samples).mean() / max(np.square(talk).mean(), 1e-9))
    return (samples + talk * ratio * 10 ** (-rng.uniform(0, 20) / 20)).astype(np.float32)


def equalise(sound: np.ndarray, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """A random tilt and two random bells."""
    octave = np.log2((np.fft.rfftfreq(len(sound), 1 / sample_rate_hz) + 1.0) / 1000.0)
    gain_db = rng.normal(0, 2) * octave.clip(-4, 3)
    for _ in range(2):
        gain_db = gain_db + rng.normal(0, 4) * np.exp(-(((octave - rng.uniform(-4, 3)) / rng.uniform(0.4, 1.2)) ** 2))
    return np.fft.irfft(np.fft.rfft(sound) * 10 ** (gain_db / 20), len(sound))


def limit_band(sound: np.ndarray, sample_rate_hz: int, low_hz: float | None, high_hz: float) -> np.ndarray:
    """Without what lies below `low_hz` or above `high_hz` (Butterworth, fourth order)."""
    if low_hz is not None:
        sound = sosfilt(butter(4, low_hz, "highpass", fs=sample_rate_hz, output="sos"), sound)
    return sosfilt(butter(4, high_hz, "lowpass", fs=sample_rate_hz, output="sos"), sound)


def reverberate(sound: np.ndarray, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """In a room whose echoes, decaying noise, fall by 60 dB in 0.15 to 0.8 s."""
    decay_s = rng.uniform(0.15, 0.8)
    time_s = np.arange(round(decay_s * sample_rate_hz)) / sample_rate_hz
    echoes = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / decay_s) * (time_s > rng.uniform(0.002, 0.015))
    echoes *= rng.uniform(0.3, 1.2) / np.linalg.norm(echoes)
    return sound + fftconvolve(sound, echoes)[: len(sound)]


def coloured_noise(n: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls or rises with frequency to the power of `slope`, with a deviation of 1."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** slope
    sound = np.fft.irfft(spectrum, n)
    return sound / sound.std()
