"""Sound in memory with its sample rate, and how it becomes a file."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genre_gan.files import write_bytes
from genre_gan.recipe import Recipe, RecipeWarning

FORMATS = ("wav", "flac", "ogg", "mp3")
MP3_KBPS = 128
MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
OGG_COMPRESSION_LEVEL = 0.2  # from 0, the best quality, to 1; about 75 kb/s
MAX_WAV_COMMENT = 2_045  # letters that libsndfile writes and reads
_BLOCK = 2**16
_MP3_KBPS_RANGES = {0: (8, 64), 16_000: (8, 160), 32_000: (32, 320)}  # of MPEG 2.5, 2 and 1, by their lowest sample rates


@dataclass(frozen=True, eq=False)
class Clip:
    """Mono sound with its rate. It unpacks as `samples, sample_rate_hz`.

    Attributes:
        samples: float32 [shape=(n,)], nominally in [-1, 1].
        sample_rate_hz: samples per second.
        recipe: what made it, where it was generated.
    """

    samples: np.ndarray
    sample_rate_hz: int
    recipe: Recipe | None = None

    def __iter__(self) -> Iterator:
        return iter((self.samples, self.sample_rate_hz))

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate_hz

    def encode(self, audio_format: str = "wav") -> bytes:
        """Return the clip as the bytes of a file; `audio_format` is wav, flac, ogg or mp3 (128 kb/s).

        A clip with a recipe carries it as tags: title, genre, and in the comment all that makes it again (`Recipe.from_file`).

        Warns:
            RecipeWarning: a wav's comment has no room for the recipe, as after a hundred variations.

        Raises:
            ValueError: another format, or a sample rate that MP3 does not have.
        """
        import soundfile

        if audio_format not in FORMATS:
            raise ValueError(f"audio_format must be one of {', '.join(FORMATS)}, got {audio_format!r}")
        settings: dict = {"ogg": {"compression_level": OGG_COMPRESSION_LEVEL}}.get(audio_format, {})
        if audio_format == "mp3":
            if self.sample_rate_hz not in MP3_RATES_HZ:
                allowed = ", ".join(map(str, MP3_RATES_HZ))
                raise ValueError(
                    f"sample_rate_hz of an mp3 must be one of {allowed}, got {self.sample_rate_hz!r}; flac takes any"
                )
            settings = {"bitrate_mode": "CONSTANT", "compression_level": _mp3_compression_level(self.sample_rate_hz)}
        comment = "" if self.recipe is None else self.recipe.to_json()
        if audio_format == "wav" and len(comment) > MAX_WAV_COMMENT:
            text = f"a wav has room for {MAX_WAV_COMMENT} letters of a recipe, and this one has {len(comment)}"
            warnings.warn(f"{text}: it is left out; flac, ogg and mp3 keep it", RecipeWarning, stacklevel=2)
        buffer = io.BytesIO()
        with soundfile.SoundFile(buffer, "w", self.sample_rate_hz, 1, format=audio_format.upper(), **settings) as file:
            if self.recipe is not None:
                file.title, file.genre, file.comment = self.recipe.title, self.recipe.genre_name, comment
                file.software = f"genre-gan {self.recipe.version}"
            # in blocks: libsndfile's Vorbis encoder ends the process when it gets minutes at once
            for start in range(0, len(self.samples), _BLOCK):
                file.write(np.clip(self.samples[start : start + _BLOCK], -1.0, 1.0))
        return buffer.getvalue()

    def save(self, path: str | os.PathLike) -> Path:
        """Write the clip to `path`, whose suffix chooses the format; see `encode`. A failed write leaves no file behind."""
        path = Path(path)
        audio_format = path.suffix.lower().lstrip(".")
        if audio_format not in FORMATS:
            raise ValueError(f"path must end in one of .{', .'.join(FORMATS)}, got {str(path)!r}")
        write_bytes(path, self.encode(audio_format))
        return path


def _mp3_compression_level(sample_rate_hz: int) -> float:
    """What libsndfile takes for `MP3_KBPS`: its scale from 0 to 1 goes from the highest bit rate to the lowest."""
    lowest, highest = next(r for rate_hz, r in reversed(_MP3_KBPS_RANGES.items()) if sample_rate_hz >= rate_hz)
    return max(0, highest - MP3_KBPS) / (highest - lowest)
