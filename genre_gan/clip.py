"""Sound in memory with its sample rate, and how it becomes a file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genre_gan.files import write_bytes

FORMATS = ("wav", "flac", "ogg", "mp3")


@dataclass(frozen=True, eq=False)
class Clip:
    """Mono sound with its rate. It unpacks as `samples, sample_rate_hz`.

    Attributes:
        samples: float32 [shape=(n,)], nominally in [-1, 1].
        sample_rate_hz: samples per second.
    """

    samples: np.ndarray
    sample_rate_hz: int

    def __iter__(self) -> Iterator:
        return iter((self.samples, self.sample_rate_hz))

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate_hz

    def encode(self, audio_format: str = "wav") -> bytes:
        """Return the clip as the bytes of a file; `audio_format` is wav, flac, ogg or mp3."""
        import soundfile

        if audio_format not in FORMATS:
            raise ValueError(f"audio_format must be one of {', '.join(FORMATS)}, got {audio_format!r}")
        buffer = io.BytesIO()
        soundfile.write(buffer, np.clip(self.samples, -1.0, 1.0), self.sample_rate_hz, format=audio_format.upper())
        return buffer.getvalue()

    def save(self, path: str | os.PathLike) -> Path:
        """Write the clip to `path`, whose suffix chooses the format. A failed write leaves no file behind."""
        path = Path(path)
        write_bytes(path, self.encode(path.suffix.lower().lstrip(".")))
        return path
