"""What only ffmpeg can decode, where it is installed, in a process that may read the given file and nothing else."""

from __future__ import annotations

import io
import os
import re
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import BinaryIO

import numpy as np

from genre_gan.mpeg import find_stream

STALL_S = 60.0  # of decoding for one piece of sound, before it is given up
PIECE_BYTES = 2**22
# Playlists and manifests name other files and addresses. But ffmpeg may hold four files open, of which three are its standard
# streams, so the one that it is given is all it gets, and no protocol beside that of files. The file has no name there: ffmpeg
# goes by the content, and no suffix turns bytes into sound.
COMMAND = (
    "sh", "-c", 'ulimit -n 4 && exec "$@"', "sh",
    "ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-v", "info", "-max_alloc", str(2**28), "-threads", "1",
    "-protocol_whitelist", "file", "-i", "file:/dev/fd/0", "-vn", "-sn", "-dn",
)
_AU_HEADER = struct.Struct(">4s5I")  # magic, where samples begin, their size, encoding, rate, channels
_MISDETECTED = re.compile(rb"low score of \d+, misdetection possible")
_FLOAT_CODEC = re.compile(rb"Audio: (?:pcm_f\d\d|wavpack[^\n]*\bfltp?\b)")
_DURATION = re.compile(rb"Duration: (\d+):(\d\d):(\d\d\.\d+)(?:, start: (\d+\.\d+))?")
_PICTURES = re.compile(rb"Stream #0[^\n]*: Video: (?![^\n]*attached pic)")
_DAMAGE = re.compile(rb"partial file|truncat|premature|unexpected end|Error while decoding|Invalid data|corrupt", re.IGNORECASE)


class FfmpegError(Exception):
    """It is not installed, or finds no sound. The message ends a sentence that begins with the file's name."""


def is_installed() -> bool:
    return shutil.which("ffmpeg") is not None and shutil.which("sh") is not None and os.path.exists("/dev/fd")


class FfmpegSound:
    """A sound that ffmpeg decodes.

    Attributes:
        sample_rate_hz, n_channels: of the sound.
        is_float: whether the file holds floating point numbers, so that full scale is a mere convention.
        n_read: samples of one channel given so far.
    """

    def __init__(self, process: subprocess.Popen, messages: BinaryIO, is_recognised: bool):
        assert process.stdout is not None
        self._process, self._output, self._messages, self.n_read = process, process.stdout, messages, 0
        header = self._read(_AU_HEADER.size)
        said = self._said()
        if _MISDETECTED.search(said) and not is_recognised:
            raise FfmpegError("holds no sound that can be recognised")
        if len(header) < _AU_HEADER.size:
            raise FfmpegError(_why_not(said))
        _, start, _, _, self.sample_rate_hz, self.n_channels = _AU_HEADER.unpack(header)
        self._read(start - _AU_HEADER.size)
        self.is_float = _FLOAT_CODEC.search(said) is not None

    def pieces(self) -> Iterator[np.ndarray]:
        """The sound, float32 [shape=(n, n_channels)], piece by piece."""
        n_bytes = 4 * self.n_channels
        while data := self._read(max(1, PIECE_BYTES // n_bytes) * n_bytes):
            piece = np.frombuffer(data[: len(data) // n_bytes * n_bytes], ">f4").astype(np.float32).reshape(-1, self.n_channels)
            self.n_read += len(piece)
            yield piece

    @property
    def declared_s(self) -> float | None:
        """How long the file says that it is, where it says so of its sound."""
        said = self._said()
        found = _DURATION.search(said)
        if not found or b"Estimating duration from bitrate" in said or (_PICTURES.search(said) and not self.is_damaged):
            return None
        return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) - float(found[4] or 0)

    @property
    def is_damaged(self) -> bool:
        """Whether ffmpeg had to leave something out; for when all pieces were read."""
        return self._process.wait() != 0 or _DAMAGE.search(self._said()) is not None

    def _read(self, n_bytes: int) -> bytes:
        timer = threading.Timer(STALL_S, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            return self._output.read(n_bytes)
        finally:
            timer.cancel()

    def _said(self) -> bytes:
        return os.pread(self._messages.fileno(), 2**18, 0)


@contextmanager
def decoding(file: BinaryIO, sample_rate_hz: int | None = None, n_channels: int | None = None) -> Iterator[FfmpegSound]:
    """Decode the whole of `file`, at its own rate and channels where none are given.

    Raises:
        FfmpegError: ffmpeg is missing, or finds no sound.
    """
    if not is_installed():
        raise FfmpegError("cannot be read without ffmpeg")
    start = find_stream(file)
    options = ["-ar", str(sample_rate_hz)] * (sample_rate_hz is not None) + ["-ac", str(n_channels)] * (n_channels is not None)
    with ExitStack() as running:
        try:
            sound = running.enter_context(_started(file, 0, options, start is not None))
        except FfmpegError:
            if not start:
                raise
            sound = running.enter_context(_started(file, start, options, True))  # ffmpeg looks less far for the first frame
        yield sound


@contextmanager
def _started(file: BinaryIO, start: int, options: list[str], is_recognised: bool) -> Iterator[FfmpegSound]:
    """ffmpeg at work on the file from the byte `start`."""
    command = [*COMMAND, *options, "-f", "au", "-c:a", "pcm_f32be", "pipe:1"]
    with (
        _on_disk(file, start) as real, tempfile.TemporaryFile() as messages,
        subprocess.Popen(command, stdin=real, stdout=subprocess.PIPE, stderr=messages) as process,
    ):
        try:
            yield FfmpegSound(process, messages, is_recognised)
        finally:
            process.kill()


@contextmanager
def _on_disk(file: BinaryIO, start: int) -> Iterator[BinaryIO]:
    """The file from the byte `start` as one that another process can read from its beginning."""
    file.seek(start)
    if start == 0 and isinstance(file, io.FileIO):
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        yield copy


def _why_not(said: bytes) -> str:
    if b"does not contain any stream" in said or b"Stream #0" in said:
        return "holds no sound" if b"Audio:" not in said else "holds sound that ffmpeg cannot decode"
    if b"moov atom not found" in said:
        return "is cut off: its index, which stands at its end, is missing"
    with suppress(IndexError):
        if b"Immediate exit requested" in said.splitlines()[-1]:
            return "takes too long to decode"
    return "holds no sound that ffmpeg can read"
