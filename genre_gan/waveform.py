"""The report's generators as the pipeline uses them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from genre_gan.genres import genre_weights
from genre_gan.models.waveform import WaveformGenerator
from genre_gan.recipe import Recipe

CROSSFADE_S = 0.1


@dataclass
class WaveformModel:
    """One of the report's generators of fixed length: longer clips are several segments, cross-faded."""

    generator: WaveformGenerator

    tempo_range_bpm = None
    keys = ()

    @classmethod
    def load(cls, folder: Path) -> WaveformModel:
        return cls(WaveformGenerator.load(folder))

    def save_pretrained(self, folder: Path) -> Path:
        return self.generator.save_pretrained(folder)

    def to(self, device: torch.device) -> WaveformModel:
        self.generator.to(device)
        return self

    @property
    def name(self) -> str:
        return self.generator.config.model

    @property
    def genres(self) -> tuple[str, ...]:
        return self.generator.config.genres

    @property
    def sample_rate_hz(self) -> int:
        return self.generator.config.sample_rate_hz

    @property
    def training_record(self) -> dict:
        return self.generator.training_record

    @property
    def revision(self) -> str:
        return self.generator.weights_sha256()

    def tempo_bpm(self, recipe: Recipe) -> None:
        """None: the tempo is not known."""

    def chunks(self, recipe: Recipe, n_samples: int) -> Iterator[np.ndarray]:
        """Consecutive parts of at least `n_samples` samples; the recipe's variation scales z."""
        device = self.generator.embedding.weight.device
        weights = torch.tensor([genre_weights(recipe.genre, self.genres)], device=device)
        n_fade = round(CROSSFADE_S * self.sample_rate_hz)
        rise = np.sin(np.linspace(0.0, np.pi / 2, n_fade, dtype=np.float32)) ** 2
        noise, tail, n_made = recipe.noise(), None, 0
        while n_made < n_samples:
            z = torch.from_numpy(recipe.variation * noise.draw(1, self.generator.config.latent_dim)).to(device)
            segment = self.generator(z, weights)[0].cpu().numpy()
            if tail is not None:
                segment[:n_fade] = tail * (1.0 - rise) + segment[:n_fade] * rise
            segment, tail = segment[:-n_fade], segment[-n_fade:]
            n_made += len(segment)
            yield segment
