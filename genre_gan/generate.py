"""Music by genre: the pipeline that the app, the previews, the metrics and the tests all generate through."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Mapping

import numpy as np
import torch

from genre_gan.audio import Clip
from genre_gan.genres import genre_weights
from genre_gan.hub import packaged_weights, resolve_model_folder
from genre_gan.models.waveform import WaveformGenerator

MIN_DURATION_S = 1.0
MAX_DURATION_S = 120.0
CROSSFADE_S = 0.1
FADE_S = 0.02
PEAK = 0.89  # -1 dB full scale
MAX_SEED = 2**63 - 1


class GenreGenerator:
    """Generate clips of a genre.

    Attributes:
        genres: what can be asked for.
        sample_rate_hz: of the clips.
        name: of the model, such as `fcn`.
        source: where its weights came from.
    """

    min_duration_s = MIN_DURATION_S
    max_duration_s = MAX_DURATION_S

    def __init__(self, model: WaveformGenerator, source: str = "memory"):
        self.model = model.eval()
        self.genres = model.config.genres
        self.sample_rate_hz = model.config.sample_rate_hz
        self.name = model.config.model
        self.source = source

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike | None = None, revision: str | None = None) -> GenreGenerator:
        """Load the weights inside the package (no argument), of a folder, or of a Hub id.

        Raises:
            genre_gan.pretrained.ModelError: nothing there, damaged, or of another family.
        """
        if source is None:
            return cls(WaveformGenerator.load(packaged_weights("fcn")), "packaged weights")
        return cls(WaveformGenerator.load(resolve_model_folder(source, revision)), os.fspath(source))

    def generate(self, genre: str | Mapping[str, float], duration_s: float = 8.0, seed: int | None = None) -> Clip:
        """Make one clip.

        Args:
            genre: a name, or a blend such as `{"jazz": 0.7, "hiphop": 0.3}`.
            duration_s: from 1 to 120 seconds. Longer than the model's segment means several, cross-faded.
            seed: the same seed gives the same clip; None draws one at random.

        Returns:
            A `Clip` with float32 samples in [-1, 1] [shape=(round(duration_s * sample_rate_hz),)].

        Raises:
            ValueError: an unknown genre, or a duration or seed out of range.
        """
        weights = torch.tensor([genre_weights(genre, self.genres)])
        check_duration(duration_s)
        if seed is None:
            seed = secrets.randbelow(2**31)
        check_seed(seed)
        n_wanted = round(duration_s * self.sample_rate_hz)
        n_fade = round(CROSSFADE_S * self.sample_rate_hz)
        n_segments = max(1, math.ceil((n_wanted - n_fade) / (self.model.config.n_samples - n_fade)))
        generator = torch.Generator().manual_seed(seed)
        with torch.inference_mode():
            segments = [
                self.model(torch.randn(1, self.model.config.latent_dim, generator=generator), weights)[0].numpy()
                for _ in range(n_segments)
            ]
        return Clip(finish(_crossfade(segments, n_fade)[:n_wanted], self.sample_rate_hz), self.sample_rate_hz)


def check_duration(duration_s: float) -> None:
    """Raise `ValueError` unless `duration_s` is a number of seconds that can be generated."""
    is_number = isinstance(duration_s, (int, float, np.integer, np.floating)) and not isinstance(duration_s, bool)
    if not is_number or not MIN_DURATION_S <= duration_s <= MAX_DURATION_S:
        raise ValueError(f"duration_s must be from {MIN_DURATION_S:g} to {MAX_DURATION_S:g} seconds, got {duration_s!r}")


def check_seed(seed: int) -> None:
    """Raise `ValueError` unless `seed` is a whole number from 0 to 2**63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be a whole number from 0 to {MAX_SEED}, got {seed!r}")


def _crossfade(segments: list[np.ndarray], n_fade: int) -> np.ndarray:
    rise = np.sin(np.linspace(0.0, np.pi / 2, n_fade, dtype=np.float32)) ** 2
    joined = segments[0]
    for segment in segments[1:]:
        seam = joined[-n_fade:] * (1.0 - rise) + segment[:n_fade] * rise
        joined = np.concatenate([joined[:-n_fade], seam, segment[n_fade:]])
    return joined


def finish(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Remove the mean, bring the peak to -1 dB full scale and fade both ends; float32 [shape=(n,)]."""
    samples = samples.astype(np.float32) - np.float32(samples.mean())
    samples *= PEAK / max(float(np.abs(samples).max()), 1e-6)
    n_fade = min(round(FADE_S * sample_rate_hz), len(samples) // 2)
    rise = np.linspace(0.0, 1.0, n_fade, dtype=np.float32)
    samples[:n_fade] *= rise
    samples[len(samples) - n_fade :] *= rise[::-1]
    return samples
