"""Reading sound: any file in, mono float32 at one sample rate out, in blocks so that memory stays flat."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from genre_gan.arrays import checked_rate, decode_array, is_number
from genre_gan.clip import Clip
from genre_gan.decode import AudioError, AudioWarning, Decoded, RawAudio, decoding_file, name_of, rereadable

SAMPLE_RATE_HZ = 22_050
SUFFIXES = (  # of sound files; whether one can be read depends on its content alone
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".spx", ".mp3", ".mp2", ".m4a", ".m4b", ".mp4",
    ".aac", ".aif", ".aiff", ".aifc", ".au", ".snd", ".wma", ".caf", ".w64", ".rf64", ".wv", ".ape",
    ".tta", ".mka", ".webm", ".weba", ".amr", ".3gp", ".ac3", ".mpc", ".dsf",
)
RESAMPLER_S = 0.1  # that it looks ahead, and more
OVERSHOOT = 2.0  # peaks that lossy codecs and resampling can leave in a sound that was within full scale
ANTIPHASE_POWER = 0.05  # of what channels that know nothing of each other would have together: with less they cancel


AudioSource = str | os.PathLike | bytes | BinaryIO | Clip | RawAudio | tuple | Mapping[str, Any]


def load_audio(
    source: AudioSource,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    max_duration_s: float | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Clip:
    """Read sound of any sample rate and channel count as one mono clip.

    Channels are averaged; where they cancel each other the louder one is taken. Floating point samples beyond [-1, 1] are scaled
    down to it, whole numbers by their type's range. (Files of lossy formats may overshoot a little; that is left as it is.)

    Args:
        source: a path, the bytes of a file, an open binary file (read from its beginning), a `Clip`, a `RawAudio`, or
            `(samples, sample_rate_hz)` with samples [shape=(n,) or (n, channels)], an array, a tensor or a list; or what a
            cell of a data set holds, `{"array": ..., "sampling_rate": ...}` or `{"bytes": ..., "path": ...}`.
        sample_rate_hz: the rate of the result.
        max_duration_s: stop reading after so many seconds.
        on_note: called with a sentence for each thing of which the user should know: the file ended early, was scaled, or may be
            cut short because ffmpeg is missing. None warns with an `AudioWarning`.

    Returns:
        A `Clip` with float32 samples [shape=(n,)]; it also unpacks as `samples, sample_rate_hz`.

    Raises:
        AudioError: no sound in it, damaged, or of a format that cannot be read here.
        FileNotFoundError: no such file.
    """
    if max_duration_s is not None and not (is_number(max_duration_s) and 0 < max_duration_s < math.inf):
        raise AudioError(f"max_duration_s must be a number of seconds above 0, or None for all, got {max_duration_s!r}")
    sample_rate_hz = checked_rate(sample_rate_hz)
    samples = bytearray()  # it grows where it lies, while blocks and what they are joined to would need their memory twice
    for block in read_blocks(source, sample_rate_hz, on_note=on_note, max_duration_s=max_duration_s):
        samples += block.data
    if not samples:
        raise AudioError(f"{name_of(source)} holds no sound that is long enough to be resampled")
    n_wanted = None if max_duration_s is None else math.ceil(max_duration_s * sample_rate_hz)
    return Clip(np.frombuffer(samples, np.float32)[:n_wanted], sample_rate_hz)


def read_blocks(
    source: AudioSource,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    block_s: float = 20.0,
    on_note: Callable[[str], None] | None = None,
    max_duration_s: float | None = None,
) -> Iterator[np.ndarray]:
    """Yield mono float32 blocks [shape=(n,)] of about `block_s` seconds at `sample_rate_hz`; see `load_audio`.

    The last block may go somewhat beyond `max_duration_s`; nothing behind it is read.
    """
    note = _warn if on_note is None else on_note
    sample_rate_hz = checked_rate(sample_rate_hz)
    with _rereadable(source) as source:
        gain = 1.0
        with _decoding(source, note) as sound:
            if not sound.is_float:
                yield from _blocks(sound, _first(sound, source, note, max_duration_s), source, gain, sample_rate_hz, block_s)
                return
            # Full scale is a mere convention here: look through all that is wanted for its peak first.
            peak = max((float(np.abs(piece).max()) for piece in _first(sound, source, note, max_duration_s)), default=0.0)
        if peak > (OVERSHOOT if isinstance(source, Clip) else 1.0):
            note(f"{name_of(source)} has peaks at {peak:.4g} times full scale and was scaled down to it")
            gain = 1.0 / peak
        with _decoding(source, _ignore) as sound:
            yield from _blocks(sound, _first(sound, source, _ignore, max_duration_s), source, gain, sample_rate_hz, block_s)


def too_short(n_samples: int, sample_rate_hz: int, needed_s: float) -> str:
    """What is said of a sound of so many samples; its length is cut off, not rounded up to what is needed."""
    return f"too short: {100 * n_samples // sample_rate_hz / 100:.2f} s, at least {needed_s:g} s needed"


def _first(sound: Decoded, source: AudioSource, note: Callable[[str], None], duration_s: float | None) -> Iterator[np.ndarray]:
    """The sound as mono pieces: all of it, or that duration and what the resampler needs behind it."""
    n_left = math.inf if duration_s is None else (duration_s + RESAMPLER_S) * sound.sample_rate_hz
    for piece in _mono(sound.pieces, source, note):
        yield piece
        n_left -= len(piece)
        if n_left <= 0:
            return


def _blocks(
    sound: Decoded, pieces: Iterator[np.ndarray], source: AudioSource, gain: float, sample_rate_hz: int, block_s: float
) -> Iterator[np.ndarray]:
    import soxr

    is_same_rate = sound.sample_rate_hz == sample_rate_hz
    stream = None if is_same_rate else soxr.ResampleStream(sound.sample_rate_hz, sample_rate_hz, 1, dtype="float32", quality="HQ")
    is_empty = True
    for block in _joined(pieces, max(1, round(block_s * sound.sample_rate_hz))):
        is_empty = False
        if gain != 1.0:
            block *= np.float32(gain)
        yield block if stream is None else stream.resample_chunk(block)
    if is_empty:
        raise AudioError(f"{name_of(source)} holds no sound (0 samples)")
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


@contextmanager
def _rereadable(source: AudioSource) -> Iterator[AudioSource]:
    """The source, or the same sound as a copy where it is a file that cannot go back, to read it more than once."""
    held = _of_data_set(source) if isinstance(source, Mapping) else source
    file = held.file if isinstance(held, RawAudio) else held
    if not hasattr(file, "read"):
        yield source
        return
    with rereadable(file) as again:
        yield replace(held, file=again) if isinstance(held, RawAudio) else again


def _warn(text: str) -> None:
    warnings.warn(text, AudioWarning, stacklevel=2)


def _decoding(source: AudioSource, note: Callable[[str], None]) -> AbstractContextManager[Decoded]:
    held: Any = _of_data_set(source) if isinstance(source, Mapping) else source
    if isinstance(held, (tuple, Clip)):
        return nullcontext(decode_array(tuple(held), note))
    return decoding_file(held, note)


def _of_data_set(cell: Mapping[str, Any]) -> Any:
    """What a cell of sound in a data set holds: samples, a file, or its path."""
    if {"array", "sampling_rate"} <= set(cell):
        return cell["array"], cell["sampling_rate"]
    for name in ("bytes", "path"):
        if cell.get(name) is not None:
            return cell[name]
    raise AudioError(f"audio as a mapping must have 'array' and 'sampling_rate', 'bytes' or 'path', got {list(cell)[:5]}")


def _ignore(text: str) -> None:
    """For a sound that is read again: all was said the first time."""


def _mono(pieces: Iterable[np.ndarray], source: AudioSource, note: Callable[[str], None]) -> Iterator[np.ndarray]:
    """The mean of the channels of each piece [shape=(n, channels)], or the louder one where they cancel each other."""
    chosen: int | None = None
    was_said = False
    for piece in pieces:
        n_channels = piece.shape[1]
        with np.errstate(all="ignore"):  # what is not finite is refused next
            mono = piece[:, 0] if n_channels == 1 else piece @ np.full(n_channels, 1 / n_channels, np.float32)
        if not np.isfinite(mono).all():
            raise AudioError(f"{name_of(source)} has samples that are not finite numbers")
        if n_channels > 1:
            chosen = _cancelled_channel(piece, chosen)
            if chosen is not None:
                mono = piece[:, chosen]
                if not was_said:
                    note(f"{name_of(source)} has channels that cancel each other (antiphase): the louder one is taken there")
                was_said = True
        yield np.ascontiguousarray(mono)


def _cancelled_channel(piece: np.ndarray, before: int | None) -> int | None:
    """The channel to take where the mean of all has lost the sound; the one from `before` is kept while it is as loud."""
    with np.errstate(over="ignore", invalid="ignore"):
        products = piece.T @ piece  # their sum is the power of the channels' sum, and its diagonal the power of each
        powers = np.diagonal(products)
        if not products.sum() < ANTIPHASE_POWER * powers.sum():
            return None
    loudest = int(powers.argmax())
    return before if before is not None and powers[before] > 0.5 * powers[loudest] else loudest


def _joined(pieces: Iterable[np.ndarray], n: int) -> Iterator[np.ndarray]:
    """Blocks of exactly `n` samples, the last one excepted."""
    held: list[np.ndarray] = []
    n_held = 0
    for piece in pieces:
        while n_held + len(piece) >= n:
            yield np.concatenate([*held, piece[: n - n_held]])
            piece, held, n_held = piece[n - n_held :], [], 0
        if len(piece):
            held.append(piece)
            n_held += len(piece)
    if held:
        yield np.concatenate(held)
