"""What happens to music on its way to a classifier: cut, coded, quiet, over a telephone, from a laptop in a room."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

from genre_gan.clip import Clip

PHONE_BAND_HZ = (300.0, 3400.0)
LAPTOP_LOWEST_HZ, LAPTOP_PEAKS_HZ, LAPTOP_PEAK_DB = 350.0, (900.0, 2600.0), 6.0
REVERBERATION_S, DIRECT_TO_REVERBERANT_DB = 0.4, 3.0


def cut_to_5_s(clip: Clip) -> Clip:
    """Five seconds from the middle."""
    n_samples = min(len(clip.samples), 5 * clip.sample_rate_hz)
    start = (len(clip.samples) - n_samples) // 2
    return Clip(clip.samples[start : start + n_samples], clip.sample_rate_hz)


def as_mp3(clip: Clip) -> bytes:
    """The file of an mp3 at 44.1 kHz with a constant 64 kbit/s."""
    import soundfile
    import soxr

    buffer = io.BytesIO()
    samples = np.clip(soxr.resample(clip.samples, clip.sample_rate_hz, 44_100), -1.0, 1.0)
    # The constant bit rate goes from 320 down to 32 kbit/s as the level goes from 0 to 1.
    soundfile.write(buffer, samples, 44_100, format="MP3", bitrate_mode="CONSTANT", compression_level=(320 - 64) / (320 - 32))
    return buffer.getvalue()


def at_16_khz(clip: Clip) -> Clip:
    """At a sample rate of 16 kHz, without what lies above 8 kHz."""
    import soxr

    return Clip(soxr.resample(clip.samples, clip.sample_rate_hz, 16_000), 16_000)


def quieter_by_20_db(clip: Clip) -> Clip:
    """At a tenth of its size."""
    return Clip(0.1 * clip.samples, clip.sample_rate_hz)


def over_a_telephone(clip: Clip) -> Clip:
    """Without what lies outside 300 to 3400 Hz, at 8 kHz."""
    import soxr
    from scipy.signal import butter, sosfilt

    samples = soxr.resample(clip.samples, clip.sample_rate_hz, 8_000)
    filtered = sosfilt(butter(4, PHONE_BAND_HZ, "bandpass", fs=8_000, output="sos"), samples)
    return Clip(filtered.astype(np.float32), 8_000)


def from_a_laptop_in_a_room(clip: Clip) -> Clip:
    """Without bass and with two resonances, as small loudspeakers have them, and with the echoes of a living room.

    The room's response is white noise that decays by 60 dB in 0.4 s, its energy 3 dB below the direct sound's.
    """
    from scipy.signal import butter, fftconvolve, iirpeak, lfilter, sosfilt

    rate_hz, n_samples = clip.sample_rate_hz, len(clip.samples)
    played = sosfilt(butter(2, LAPTOP_LOWEST_HZ, "highpass", fs=rate_hz, output="sos"), clip.samples)
    gain = 10 ** (LAPTOP_PEAK_DB / 20) - 1
    for peak_hz in LAPTOP_PEAKS_HZ:
        played = played + gain * lfilter(*iirpeak(peak_hz, 2.0, fs=rate_hz), played)
    time_s = np.arange(round(REVERBERATION_S * rate_hz)) / rate_hz
    echoes = np.random.default_rng(0).standard_normal(len(time_s)) * 10 ** (-3.0 * time_s / REVERBERATION_S)
    echoes *= 10 ** (-DIRECT_TO_REVERBERANT_DB / 20) / np.linalg.norm(echoes)
    heard = played + fftconvolve(played, echoes)[:n_samples]
    size = np.abs(clip.samples).max() / max(np.abs(heard).max(), 1e-9)
    return Clip((size * heard).astype(np.float32), rate_hz)


def mix(music: Clip, other: Clip, music_to_other_db: float) -> Clip:
    """Music with another sound over it, repeated where it is shorter; their mean powers differ by `music_to_other_db`."""
    import soxr

    samples = soxr.resample(other.samples, other.sample_rate_hz, music.sample_rate_hz)
    samples = np.resize(samples, len(music.samples))
    ratio = np.sqrt(np.mean(np.square(music.samples)) / max(float(np.mean(np.square(samples))), 1e-12))
    mixed = music.samples + samples * ratio * 10 ** (-music_to_other_db / 20)
    return Clip((mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32), music.sample_rate_hz)


CHANGES: dict[str, Callable[[Clip], Clip | bytes]] = {
    "cut to 5 s": cut_to_5_s,
    "64 kbit/s mp3": as_mp3,
    "16 kHz": at_16_khz,
    "20 dB quieter": quieter_by_20_db,
    "telephone (300 to 3400 Hz)": over_a_telephone,
    "laptop speaker in a room": from_a_laptop_in_a_room,
}
