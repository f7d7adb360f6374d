"""Samples that come as numbers, in any of the types that people have: checked, scaled to [-1, 1] and cut into pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from genre_gan.decode import MAX_RATE_HZ, MIN_RATE_HZ, AudioError, Decoded

# The types that whole numbers are widened to on their way; their values tell what they were before.
_WIDENED = {"int32": (16,), "int64": (16, 24, 32)}


def decode_array(source: tuple, note: Callable[[str], None]) -> Decoded:
    """Take `(samples, sample_rate_hz)`; `note` is called with a sentence for each guess made about them.

    Raises:
        AudioError: not samples, or a rate that makes no sense.
    """
    if len(source) != 2:
        raise AudioError(f"samples must come as (samples, sample_rate_hz), got a tuple of {len(source)}")
    if is_number(source[0]) and hasattr(source[1], "__len__"):
        raise AudioError("samples must come as (samples, sample_rate_hz), got the rate first: swap the two")
    rate_hz = checked_rate(source[1])
    samples = _checked_samples(source[0])
    step = rate_hz
    scale, offset = _scale(samples, note)

    def pieces() -> Iterator[np.ndarray]:
        for start in range(0, len(samples), step):
            piece = samples[start : start + step]
            yield np.multiply(piece - offset if offset else piece, scale, dtype=np.float32, casting="unsafe")

    return Decoded(rate_hz, samples.shape[1], samples.dtype.kind == "f", pieces())


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def checked_rate(rate_hz: Any) -> int:
    """A sample rate as a whole number of Hz.

    Raises:
        AudioError: no number, or none that a sound has.
    """
    if not is_number(rate_hz) or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"sample_rate_hz must be a number from {MIN_RATE_HZ} to {MAX_RATE_HZ}, got {rate_hz!r}")
    return int(rate_hz)


def _checked_samples(samples: Any) -> np.ndarray:
    """Samples [shape=(n, channels)] of a numeric type."""
    wanted = "samples must be numbers [shape=(n,) or (n, channels)]"
    try:
        if hasattr(samples, "detach"):  # a tensor, perhaps on another device or with a gradient
            samples = samples.detach().cpu()
            samples = samples.float() if samples.is_floating_point() else samples
        array = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AudioError(f"{wanted}, got {type(samples).__name__}: {str(error).splitlines()[0]}") from error
    if array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
        raise AudioError(f"{wanted}, got {array.dtype} {array.shape}")
    if array.ndim == 2 and (array.shape[1] == 0 or 0 < array.shape[0] < array.shape[1]):
        raise AudioError(f"{wanted}, got {array.shape}: (channels, n)? pass samples.T")
    return array if array.ndim == 2 else array[:, None]


def _scale(samples: np.ndarray, note: Callable[[str], None]) -> tuple[float, float]:
    """The factor to [-1, 1], and what to take off before: unsigned numbers have their zero in the middle."""
    kind, n_bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind == "f":
        return 1.0, 0.0
    if kind == "u":
        return 2.0 ** (1 - n_bits), 2.0 ** (n_bits - 1)
    if samples.dtype.name in _WIDENED and samples.size:
        peak = max(abs(int(samples.min())), abs(int(samples.max())))
        held = next((bits for bits in _WIDENED[samples.dtype.name] if peak <= 2 ** (bits - 1)), n_bits)
        if held != n_bits and peak:
            note(f"samples of type {samples.dtype.name} up to {peak} were taken for {held}-bit sound")
        n_bits = held
    return 2.0 ** (1 - n_bits), 0.0
