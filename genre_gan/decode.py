"""Files of sound, decoded piece by piece: by libsndfile, and by ffmpeg what libsndfile cannot read to its end.

libsndfile believes headers: it stops where one says that the sound ends, though the file may hold more (a VBR MP3 without a frame
count, a recording whose sizes were never filled in, chained Ogg). So where much of a file is left unread, ffmpeg goes on. Both
see the content alone, never a name: by its suffix anything would pass for sound of a format without a header.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from genre_gan.ffmpeg import FfmpegError, decoding, is_installed
from genre_gan.files import printable
from genre_gan.mpeg import declared_share, find_stream

if TYPE_CHECKING:
    from soundfile import SoundFile

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
MAX_CHANNELS = 1_024  # that libsndfile reads
READABLE = "give a wav, flac, ogg, mp3, m4a or other sound file"
PIECE_VALUES = 2**20  # samples of all channels together that are decoded at once, at most
NEGLIGIBLE = 0.02  # of a file's bytes, or of a sound's length
UNKNOWN_SIZE = 0x7FFF_0000  # sizes from here on stand in headers that were written before the end was known
_SIZE_IN_LOG = re.compile(r"^ *(?:data|SSND|BODY|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_RF64_SIZE = re.compile(r"^ *Data size *: (\d+)$", re.MULTILINE)
_FRAMES_IN_LOG = re.compile(r"^ *Frames *: (\d+)$", re.MULTILINE)
_NOT_SOUND = (  # how other things begin that people take for sound
    (rb"version https://git-lfs", "is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`"),
    (rb"\s*(\xef\xbb\xbf)?<(!doctype|!--|html|head|body)", "is a web page: the download failed, or needs a login"),
    (rb".{257}ustar", "is an archive: unpack it first"),
    (rb"PK\x03\x04|PK\x05\x06|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "is an archive: unpack it first"),
    (rb"%PDF|\x89PNG|\xff\xd8\xff|GIF8", "is a document or a picture"),
    (rb"MThd", "is MIDI, notes to play and not sound"),
    (rb"PAR1|ARROW1", "is a table"),
    (rb"\x7fELF|MZ.*PE\0\0", "is a program"),
    (rb"#EXTM3U|ffconcat|\[playlist\]", "is a playlist: give the files that it lists"),
    (rb"[\t\n\r -~]*$", "is text"),
)


class AudioError(ValueError):
    """Sound that cannot be read, or samples that make no sense. The message is fit for users."""


class AudioWarning(UserWarning):
    """Sound that was read, but of which its user should know something: that it ended early, say."""


@dataclass(frozen=True)
class RawAudio:
    """A file of samples without a header, of which only its owner knows what they mean.

    Attributes:
        file: a path, bytes or an open binary file.
        sample_rate_hz, n_channels: of the sound.
        encoding: as libsndfile names it, such as `PCM_16`, `PCM_U8`, `FLOAT`, `ULAW`, `ALAW`, `GSM610` and `VOX_ADPCM`.
    """

    file: str | os.PathLike | bytes | BinaryIO
    sample_rate_hz: int
    encoding: str = "PCM_16"
    n_channels: int = 1

    def __post_init__(self):
        import soundfile

        allowed = soundfile.available_subtypes("RAW")
        if self.encoding not in allowed:
            raise AudioError(f"encoding must be one of {', '.join(allowed)}, got {self.encoding!r}")
        for name, lowest, highest in (("n_channels", 1, MAX_CHANNELS), ("sample_rate_hz", MIN_RATE_HZ, MAX_RATE_HZ)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or not lowest <= value <= highest:
                raise AudioError(f"{name} must be a whole number from {lowest} to {highest}, got {value!r}")


class Decoded(NamedTuple):
    """A sound file, opened.

    Attributes:
        sample_rate_hz, n_channels: of the sound.
        is_float: whether the file holds floating point numbers, so that full scale is a mere convention.
        pieces: float32 [shape=(n, n_channels)], one after the other.
    """

    sample_rate_hz: int
    n_channels: int
    is_float: bool
    pieces: Iterator[np.ndarray]


FileSource = str | os.PathLike | bytes | bytearray | memoryview | BinaryIO | RawAudio


def name_of(source: Any) -> str:
    """What to call a source in messages."""
    source = source.file if isinstance(source, RawAudio) else source
    return repr(Path(source).name) if isinstance(source, (str, os.PathLike)) else "the given audio"


@contextmanager
def decoding_file(source: FileSource, note: Callable[[str], None]) -> Iterator[Decoded]:
    """Open a sound file. `note` is called with a sentence for each thing of which the user should know.

    Raises:
        AudioError: not sound, or sound of a rate that makes no sense; its pieces raise it too, where nothing can be read.
        FileNotFoundError: no such file.
    """
    import soundfile

    name = name_of(source)
    with _opened(source) as file:
        try:
            sound = _open_with_libsndfile(file, source)
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            if isinstance(source, RawAudio):
                raise AudioError(f"{name} cannot be read as {source.encoding} without a header: {error}") from error
            if reason := _other_than_sound(file):
                raise AudioError(f"{name} cannot be read as audio: it {reason}; {READABLE}") from error
            with _ffmpeg_sound(file, name, note) as decoded:
                yield decoded
            return
        with sound:
            _check_rate(sound.samplerate, name)
            is_float = sound.subtype in ("FLOAT", "DOUBLE")
            yield Decoded(sound.samplerate, sound.channels, is_float, _pieces(sound, file, name, note))


class _Forgiving:
    """A file as libsndfile wants one: damaged headers ask for places before its beginning, and then it stays where it is."""

    def __init__(self, file: BinaryIO):
        self._file, self.read, self.tell = file, file.read, file.tell

    def seek(self, offset: int, whence: int = 0) -> int:
        with suppress(ValueError, OSError):
            self._file.seek(offset, whence)
        return self._file.tell()


def _open_with_libsndfile(file: BinaryIO, source: FileSource) -> SoundFile:
    """Raises what soundfile does, and `ValueError` where a file is not what libsndfile takes it for, or is one for ffmpeg."""
    import soundfile

    if not isinstance(source, RawAudio) and declared_share(file) > 1.01 and is_installed():  # libmpg123 complains of it on stderr
        raise ValueError("an MP3 that is shorter than it says")
    file.seek(0)
    handle = file.fileno() if isinstance(file, io.FileIO) else _Forgiving(file)  # a descriptor is faster than calls into Python
    if isinstance(source, RawAudio):
        layout = {"samplerate": source.sample_rate_hz, "channels": source.n_channels, "subtype": source.encoding, "format": "RAW"}
        return soundfile.SoundFile(handle, closefd=False, **layout)
    sound = soundfile.SoundFile(handle, closefd=False)
    # else soundfile seeks behind each piece, which takes time, and of which libmpg123 complains on stderr
    sound.seekable = lambda: False  # type: ignore[method-assign]
    is_misread = sound.format == "W64" and "EXTENSIBLE" in (log := sound.extra_info) and "format : pcm" not in log
    if sound.format == "MP3":  # as which libsndfile takes almost anything; and any extensible Wave64 file for whole numbers
        place = file.tell()
        is_misread = find_stream(file) is None
        file.seek(place)
    if is_misread:
        sound.close()
        raise ValueError("not what libsndfile takes it for")
    return sound


def _check_rate(rate_hz: int, name: str) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"{name} has a sample rate of {rate_hz} Hz; from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz can be read")


def _pieces(sound: SoundFile, file: BinaryIO, name: str, note: Callable[[str], None]) -> Iterator[np.ndarray]:
    """All of the sound: what libsndfile reads, and what ffmpeg finds behind that."""
    import soundfile

    rate_hz, n_read, failure = sound.samplerate, 0, None
    step = max(1, min(rate_hz, PIECE_VALUES // sound.channels))
    try:
        while len(piece := sound.read(step, dtype="float32", always_2d=True)):
            n_read += len(piece)
            yield piece
    except soundfile.LibsndfileError as error:
        failure = error
    n_first = n_read
    is_more = sound.format != "RAW" and (failure is not None or _is_much_left(file))
    if is_more:
        try:
            with decoding(file, rate_hz, sound.channels) as rest:
                yield from _without_first(n_read, rest.pieces())
                if rest.n_read <= n_read and not failure and sound.format != "MP3":  # that has no such header
                    note(f"{name} may be cut short: it goes on after {n_read / rate_hz:.1f} s, where its header says it ends")
                n_read = max(n_read, rest.n_read)
        except FfmpegError as error:
            if n_read == 0 and failure:
                raise AudioError(f"{name} is damaged: {failure}") from error
            if not is_installed():
                note(f"{name} may be cut short after {n_read / rate_hz:.1f} s; all of it can be read where ffmpeg is installed")
    if n_read == 0 and is_more:
        raise AudioError(f"{name} holds no sound that can be read; it is cut off or damaged")
    n_bytes = file.seek(0, os.SEEK_END)
    # libsndfile guesses how long an MP3 is from its first frames where the file does not say
    n_declared = n_read * declared_share(file) if sound.format == "MP3" else _declared_frames(sound, n_first, n_bytes)
    if n_read < (1 - NEGLIGIBLE) * n_declared:
        note(f"{name} ended early: {n_read / rate_hz:.1f} of {n_declared / rate_hz:.1f} s are there")
    elif _ends_inside_ogg_page(file):
        note(f"{name} ended early, after {n_read / rate_hz:.1f} s")


def _without_first(n: int, pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    for piece in pieces:
        if len(piece) > n:
            yield piece[n:]
        n = max(0, n - len(piece))


def _is_much_left(file: BinaryIO) -> bool:
    """Whether what libsndfile left unread is likely sound; after the sound stand tags, and in the IFF family further chunks."""
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    if size - position <= NEGLIGIBLE * size:
        return False
    file.seek(position)
    if file.read(8).startswith((b"ID3", b"TAG", b"APETAGEX")):  # behind which another MP3 may have been joined on
        start = find_stream(file, position)
        return start is not None and size - start > NEGLIGIBLE * size
    file.seek(position + position % 2)
    header = file.read(8)
    lengths = (int.from_bytes(header[4:], "little"), int.from_bytes(header[4:], "big"))
    return not (header[:4].isascii() and header[:4].strip().isalnum() and min(lengths) <= size - position - 8)


def _declared_frames(sound: SoundFile, n_read: int, n_bytes: int) -> int:
    """How many samples of a channel the header promises, where libsndfile tells; else as many as were read."""
    log = sound.extra_info
    sizes = [(int(said), int(found)) for said, found in _SIZE_IN_LOG.findall(log)]
    if sound.format == "RF64":  # its size is as it should be, its count of frames is anything
        sizes = [(int(said), n_bytes) for said in _RF64_SIZE.findall(log)]
    missing = [said / max(1, found) for said, found in sizes if found < said and (said < UNKNOWN_SIZE or sound.format == "RF64")]
    if missing:
        return round(n_read * max(missing))
    if sound.format == "RF64" or sound.frames >= 2**62:
        return n_read
    return max(sound.frames, *map(int, _FRAMES_IN_LOG.findall(log)[:1]), 0)


def _ends_inside_ogg_page(file: BinaryIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2**17))
    tail = file.read()
    if not tail.startswith(b"OggS") and size <= 2**17:
        return False
    start = tail.rfind(b"OggS\0")
    n_segments = tail[start + 26] if 0 <= start < len(tail) - 26 else 0
    return start >= 0 and start + 27 + n_segments + sum(tail[start + 27 : start + 27 + n_segments]) > len(tail)


@contextmanager
def _ffmpeg_sound(file: BinaryIO, name: str, note: Callable[[str], None]) -> Iterator[Decoded]:
    try:
        with decoding(file) as sound:
            _check_rate(sound.sample_rate_hz, name)

            def pieces() -> Iterator[np.ndarray]:
                yield from sound.pieces()
                read_s, declared_s = sound.n_read / sound.sample_rate_hz, sound.declared_s
                if declared_s is not None and read_s < (1 - NEGLIGIBLE) * declared_s - 0.05:
                    note(f"{name} ended early: {read_s:.1f} of {declared_s:.1f} s are there")
                elif sound.is_damaged or _ends_inside_ogg_page(file):
                    note(f"{name} is damaged, and what could be read of it lasts {read_s:.1f} s")

            yield Decoded(sound.sample_rate_hz, sound.n_channels, sound.is_float, pieces())
    except FfmpegError as error:
        always = "wav, flac, ogg, mp3 and au always work (m4a and others too where ffmpeg is installed)"
        reason = f": it {error}; {READABLE}" if is_installed() else f"; {always}"
        raise AudioError(f"{name} cannot be read as audio{reason}") from error


def _other_than_sound(file: BinaryIO) -> str:
    """What a file is by its first bytes, where they tell that it holds no sound; else empty."""
    file.seek(0)
    head = file.read(512)
    return next((reason for pattern, reason in _NOT_SOUND if re.match(pattern, head, re.IGNORECASE | re.DOTALL)), "")


@contextmanager
def _opened(source: FileSource) -> Iterator[BinaryIO]:
    """The content of `source` as a binary file that can be read more than once."""
    source = source.file if isinstance(source, RawAudio) else source
    if isinstance(source, (str, os.PathLike)):
        with _open_path(source) as file:
            yield _not_empty(file, name_of(source))
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield _not_empty(io.BytesIO(source), name_of(source))
    elif hasattr(source, "read"):
        with rereadable(source) as file:
            yield _not_empty(file, name_of(source))
    else:
        kinds = "a path, the bytes of a file, an open binary file, a Clip or (samples, sample_rate_hz)"
        raise AudioError(f"audio must be {kinds}, got {type(source).__name__}")


def _open_path(path: str | os.PathLike) -> BinaryIO:
    text = os.fspath(path)
    try:
        if not os.path.exists(path):
            if re.match(r"[a-z]{2,}:/", text, re.IGNORECASE):  # of two slashes a `Path` leaves one
                raise AudioError(f"audio must be a file that is here, got the address {printable(text)}: download it first")
            with suppress(FileNotFoundError, NotADirectoryError, ValueError):
                os.stat(path)  # raises why where the file may be there
            raise FileNotFoundError(f"no such audio file: {printable(text) or 'an empty name'}")
        if not os.path.isfile(path):
            kind = "a folder" if os.path.isdir(path) else "a pipe or a device"
            raise AudioError(f"{printable(text)} is {kind} and not a file: give a sound file")
        return open(path, "rb", buffering=0)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise AudioError(f"{name_of(path)} cannot be opened: {error.strerror or error}") from error


def _not_empty(file: BinaryIO, name: str) -> BinaryIO:
    if file.seek(0, os.SEEK_END) == 0:
        raise AudioError(f"{name} is empty (0 bytes)")
    return file


@contextmanager
def rereadable(file: Any) -> Iterator[BinaryIO]:
    """The user's own file, which is read from its beginning, or a copy on disk of one that cannot go back."""
    if getattr(file, "closed", False):
        raise AudioError("the given file is closed")
    with tempfile.TemporaryFile() as copy:
        try:
            if not isinstance(file.read(0), bytes):
                raise AudioError("the given file was opened as text: open it with 'rb'")
            is_seekable = file.seekable()
            while not is_seekable and (block := file.read(2**20)):
                copy.write(block)
        except (OSError, AttributeError, TypeError) as error:
            raise AudioError(f"the given file cannot be read: {error}") from error
        yield file if is_seekable else copy
