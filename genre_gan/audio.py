"""Reading sound: any file in, mono float32 at one sample rate out, in blocks so that memory stays flat."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from genre_gan.clip import Clip

SAMPLE_RATE_HZ = 22_050
SUFFIXES = (".wav", ".au", ".flac", ".ogg", ".mp3")
# Containers that ffmpeg may open. Playlist formats are left out: they can name other local files.
FFMPEG_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,asf,caf,aiff,amr,ac3,wv,tta,ape,mpegts"


class AudioError(ValueError):
    """Sound that cannot be read, or samples that make no sense. The message is fit for users."""


AudioSource = str | os.PathLike | bytes | BinaryIO | Clip | tuple


def load_audio(source: AudioSource, sample_rate_hz: int = SAMPLE_RATE_HZ, max_duration_s: float | None = None) -> Clip:
    """Read sound of any sample rate and channel count as one mono clip.

    Args:
        source: a path, the bytes of a file, an open binary file, a `Clip`, or `(samples, sample_rate_hz)` with
            samples [shape=(n,) or (n, channels)]; integer samples are scaled by their type's range.
        sample_rate_hz: the rate of the result.
        max_duration_s: stop reading after so many seconds.

    Returns:
        A `Clip` with float32 samples [shape=(n,)]; it also unpacks as `samples, sample_rate_hz`.

    Raises:
        AudioError: no sound in it, damaged, or of a format that cannot be read here.
        FileNotFoundError: no such file.
    """
    blocks, n_samples = [], 0
    n_wanted = None if max_duration_s is None else round(max_duration_s * sample_rate_hz)
    for block in read_blocks(source, sample_rate_hz):
        blocks.append(block)
        n_samples += len(block)
        if n_wanted is not None and n_samples >= n_wanted:
            break
    if n_samples == 0:
        raise AudioError(f"{_name_of(source)} holds no sound (0 samples)")
    return Clip(np.concatenate(blocks)[:n_wanted], sample_rate_hz)


def read_blocks(source: AudioSource, sample_rate_hz: int = SAMPLE_RATE_HZ, block_s: float = 20.0) -> Iterator[np.ndarray]:
    """Yield mono float32 blocks [shape=(n,)] of about `block_s` seconds at `sample_rate_hz`; see `load_audio`."""
    import soxr

    if isinstance(source, (tuple, Clip)):
        native_rate_hz, native_blocks = _array_blocks(source, block_s)
    else:
        native_rate_hz, native_blocks = _file_blocks(source, sample_rate_hz, block_s)
    if native_rate_hz == sample_rate_hz:
        yield from native_blocks
        return
    stream = soxr.ResampleStream(native_rate_hz, sample_rate_hz, 1, dtype="float32", quality="HQ")
    for block in native_blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _name_of(source: AudioSource) -> str:
    return repr(Path(source).name) if isinstance(source, (str, os.PathLike)) else "the given audio"


def _array_blocks(source: tuple | Clip, block_s: float) -> tuple[int, Iterator[np.ndarray]]:
    if isinstance(source, tuple) and len(source) != 2:
        raise AudioError(f"samples must come as (samples, sample_rate_hz), got a tuple of {len(source)}")
    samples, rate_hz = source
    samples = np.asarray(samples)
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, (int, float, np.integer, np.floating)) or not 1_000 <= rate_hz <= 768_000:
        raise AudioError(f"sample_rate_hz must be a number from 1000 to 768000, got {rate_hz!r}")
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "iuf":
        raise AudioError(f"samples must be numbers [shape=(n,) or (n, channels)], got {samples.dtype} {samples.shape}")
    if samples.dtype.kind == "u":
        samples = samples.astype(np.float32) / (2 ** (8 * samples.dtype.itemsize - 1)) - 1.0
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / (2 ** (8 * samples.dtype.itemsize - 1))
    step = max(1, round(block_s * rate_hz))
    blocks = (_to_mono(samples[start : start + step]) for start in range(0, len(samples), step))
    return int(rate_hz), blocks


def _to_mono(block: np.ndarray) -> np.ndarray:
    block = block.astype(np.float32, copy=False)
    if block.ndim == 2:
        block = block.mean(axis=1, dtype=np.float32)
    if not np.isfinite(block).all():
        raise AudioError("the audio has samples that are not finite numbers")
    return np.ascontiguousarray(block)


def _file_blocks(source: AudioSource, sample_rate_hz: int, block_s: float) -> tuple[int, Iterator[np.ndarray]]:
    import soundfile

    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"no such audio file: {path}")
        if not path.is_file():
            raise AudioError(f"{path} is not a file")
        if path.stat().st_size == 0:
            raise AudioError(f"{path.name!r} is empty (0 bytes)")
        handle: str | BinaryIO = str(path)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        if len(source) == 0:
            raise AudioError("the given audio is empty (0 bytes)")
        handle = io.BytesIO(source)
    elif hasattr(source, "read"):
        handle = source
    else:
        kinds = "a path, bytes, a binary file, a Clip or (samples, sample_rate_hz)"
        raise AudioError(f"audio must be {kinds}, got {type(source).__name__}")
    try:
        file = soundfile.SoundFile(handle)
    except (soundfile.LibsndfileError, TypeError) as error:
        if shutil.which("ffmpeg") is None:
            raise AudioError(
                f"{_name_of(source)} cannot be read as audio; wav, flac, ogg, mp3 and au always work "
                "(m4a and others too where ffmpeg is installed)"
            ) from error
        return sample_rate_hz, _ffmpeg_blocks(source, sample_rate_hz, block_s)
    return file.samplerate, _soundfile_blocks(file, _name_of(source), block_s)


def _soundfile_blocks(file, name: str, block_s: float) -> Iterator[np.ndarray]:
    import soundfile

    with file:
        step = max(1, round(block_s * file.samplerate))
        while True:
            try:
                block = file.read(step, dtype="float32")
            except soundfile.LibsndfileError as error:
                raise AudioError(f"{name} is damaged: {error}") from error
            if len(block) == 0:
                return
            yield _to_mono(block)


@contextmanager
def _as_path(source: AudioSource) -> Iterator[str]:
    """Give ffmpeg a real file: containers with their index at the end cannot be read from a pipe."""
    if isinstance(source, (str, os.PathLike)):
        yield os.fspath(source)
        return
    with tempfile.NamedTemporaryFile(prefix="genre_gan_") as file:
        if hasattr(source, "read"):
            source.seek(0)
            shutil.copyfileobj(source, file)
        else:
            file.write(source)
        file.flush()
        yield file.name


def _ffmpeg_blocks(source: AudioSource, sample_rate_hz: int, block_s: float) -> Iterator[np.ndarray]:
    n_bytes = 4 * max(1, round(block_s * sample_rate_hz))
    with _as_path(source) as path:
        command = ["ffmpeg", "-v", "error", "-nostdin", "-protocol_whitelist", "file", "-format_whitelist", FFMPEG_FORMATS]
        command += ["-i", f"file:{path}", "-vn", "-f", "f32le", "-ac", "1", "-ar", str(sample_rate_hz), "pipe:1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                while data := process.stdout.read(n_bytes):
                    yield _to_mono(np.frombuffer(data[: len(data) // 4 * 4], "<f4"))
            finally:
                if process.poll() is None and process.stdout.peek(1):
                    process.kill()
        if process.returncode > 0:
            raise AudioError(f"{_name_of(source)} cannot be read as audio, not even by ffmpeg")
