"""The spectral model as the pipeline uses it: random numbers to latents, latents to log-mel spectrograms, and those to sound."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genre_gan.genres import genre_weights
from genre_gan.models.autoencoder import Autoencoder
from genre_gan.models.judge import LatentJudge
from genre_gan.models.latent_gan import ClipLatents, LatentGenerator, noise_shapes
from genre_gan.models.vocoder import LOG_MEL_STD_DB, Vocoder
from genre_gan.pretrained import ModelError
from genre_gan.recipe import Recipe

N_CANDIDATES, _CANDIDATE_FRAMES = 6, 64
_FIRST_CHUNK_FRAMES, _CHUNK_FRAMES = 16, 112  # latent frames: 1.5 s, so that playing starts at once, then 10.4 s
_N_STYLES = 256  # from which the mean style of a genre is taken
LEVEL_DB, LOUD_SHARE = -16.0, 0.05  # root mean square of the loudest twentieth, full scale: what the vocoder learned from
MAX_GAIN_DB = 24.0
MAX_LEVEL_DB = -6.0  # of a frame: generated thumps can be far louder than anything recorded


@dataclass
class SpectralModel:
    """A latent generator, the judge that chooses among its candidates, and what makes sound of them: autoencoder, vocoder."""

    generator: LatentGenerator
    autoencoder: Autoencoder
    judge: LatentJudge
    vocoder: Vocoder
    n_candidates: int = N_CANDIDATES  # 1 chooses nothing

    name = "mel"
    tempo_range_bpm = None
    keys = ()

    def __post_init__(self) -> None:
        made, read = self.generator.config, self.autoencoder.config
        if made.latent_dim != read.latent_dim:
            raise ModelError(f"the generator makes {made.latent_dim} latents a frame, the autoencoder reads {read.latent_dim}")
        if read.features != self.vocoder.config.features:
            raise ModelError("the autoencoder's spectrograms are not those that the vocoder was trained on")

    @classmethod
    def load(cls, folder: Path) -> SpectralModel:
        """Load a folder with the generator's files, and `autoencoder`, `judge` and `vocoder` below it."""
        return cls(
            LatentGenerator.load(folder),
            Autoencoder.load(folder / "autoencoder"),
            LatentJudge.load(folder / "judge"),
            Vocoder.load(folder / "vocoder"),
        )

    def save_pretrained(self, folder: Path) -> Path:
        """Write all four, so that one folder, or one Hub id, is enough to generate."""
        self.autoencoder.save_pretrained(folder / "autoencoder", half=True)
        self.judge.save_pretrained(folder / "judge", half=True)
        self.vocoder.save_pretrained(folder / "vocoder", half=True)
        return self.generator.save_pretrained(folder, half=True)

    def to(self, device: torch.device) -> SpectralModel:
        """Move all four there."""
        for part in (self.generator, self.autoencoder, self.judge, self.vocoder):
            part.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return self.generator.start.device

    @property
    def genres(self) -> tuple[str, ...]:
        return self.generator.config.genres

    @property
    def training_record(self) -> dict:
        return self.generator.training_record

    @property
    def revision(self) -> str:
        parts = (self.generator, self.autoencoder, self.judge, self.vocoder)
        return hashlib.sha256("".join(part.weights_sha256() for part in parts).encode()).hexdigest()

    @property
    def sample_rate_hz(self) -> int:
        return self.vocoder.config.features.sample_rate_hz

    def tempo_bpm(self, recipe: Recipe) -> None:
        """None: the tempo is not known."""

    def chunks(self, recipe: Recipe, n_samples: int) -> Iterator[np.ndarray]:
        """Consecutive parts of at least `n_samples` samples. Only latents are held for the whole clip, 2.8 kB a second."""
        n_frames = -(-n_samples // (self.autoencoder.config.stride * self.vocoder.config.features.hop_length))
        latents = self.compose(recipe, max(n_frames + self.context, _CANDIDATE_FRAMES))
        # from the same frames whatever the length: a longer clip begins as a shorter one
        yield from self.render(latents, n_frames, self.find_gain_db(latents[:, :_CANDIDATE_FRAMES]))

    @property
    def context(self) -> int:
        """Latent frames on either side that samples depend on."""
        return self.autoencoder.context + self._vocoder_context

    @property
    def _vocoder_context(self) -> int:
        return -(-self.vocoder.context_frames // self.autoencoder.config.stride)

    def compose(self, recipe: Recipe, n_frames: int) -> Tensor:
        """Autoencoder latents Tensor[1 x n_frames x latent_dim].

        Of `n_candidates` beginnings the one is gone on with in which the judge hears the genre best.
        """
        weights = torch.tensor([genre_weights(recipe.genre, self.genres)], device=self.device)
        n_frames_made = n_frames + self.generator.context
        candidates = self._draw(recipe, n_frames_made)
        begun = candidates if not recipe.steps else self._draw(replace(recipe, steps=()), n_frames_made)
        shapes = noise_shapes(self.generator.config, _CANDIDATE_FRAMES)
        noise = [level[:, :length] for level, (length, _) in zip(begun.noise, shapes, strict=True)]
        heard = self.judge(self.generator.synthesize(begun._replace(noise=noise), self._map_style(begun.style, weights, recipe)))
        best = (heard.log_softmax(1) @ weights[0]).argmax(keepdim=True)
        style, pulse = candidates.style[best], begun.pulse[best]  # a variation keeps the tempo
        chosen = ClipLatents(style, pulse, [level[best] for level in candidates.noise])
        return self.generator.synthesize(chosen, self._map_style(style, weights, recipe))[:, :n_frames]

    def _draw(self, recipe: Recipe, n_frames: int) -> ClipLatents:
        """Random numbers for all candidates and at least `n_frames` latent frames."""
        config = self.generator.config

        def draw(number: int, *shape: int) -> Tensor:
            drawn = [recipe.noise(candidate, number).draw(*shape) for candidate in range(self.n_candidates)]
            return torch.from_numpy(np.stack(drawn)).to(self.device)

        shapes = noise_shapes(config, -(-n_frames // config.stride) * config.stride)
        noise = [draw(2 + level, *shape) for level, shape in enumerate(shapes)]
        return ClipLatents(draw(0, config.style_dim), draw(1, 2), noise)

    def _map_style(self, style: Tensor, weights: Tensor, recipe: Recipe) -> Tensor:
        """Mapped styles, brought nearer to the genre's mean where the recipe's variation is below 1."""
        many = torch.from_numpy(np.random.default_rng(0).standard_normal((_N_STYLES, style.shape[1]), dtype=np.float32))
        mean = self.generator.map_style(many.to(self.device), weights.expand(_N_STYLES, -1)).mean(0, keepdim=True)
        return mean + recipe.variation * (self.generator.map_style(style, weights.expand(len(style), -1)) - mean)

    def find_gain_db(self, latents: Tensor) -> Tensor:
        """What brings the loud parts of these latents to `LEVEL_DB`, before any sound is made: Tensor[]."""
        level_db = self.vocoder.estimate_level_db(self.autoencoder.decode_components(latents))
        return (LEVEL_DB - level_db.quantile(1.0 - LOUD_SHARE)).clamp_max(MAX_GAIN_DB)

    def _set_level(self, log_mel: Tensor, gain_db: Tensor | float) -> Tensor:
        """Normalised log-mel with the gain, and no frame above `MAX_LEVEL_DB`."""
        log_mel = log_mel + gain_db / LOG_MEL_STD_DB
        excess_db = (self.vocoder.estimate_level_db(log_mel) - MAX_LEVEL_DB).clamp_min(0.0)
        return log_mel - excess_db[..., None] / LOG_MEL_STD_DB

    def render(self, latents: Tensor, n_frames: int, gain_db: Tensor | float = 0.0) -> Iterator[np.ndarray]:
        """Samples [shape=(n,)] of the first `n_frames` of autoencoder latents Tensor[1 x T x latent_dim], without seams.

        The gain changes the spectrograms, so that the vocoder gets levels as it learned them. With each chunk go as many
        frames on either side as the networks look at, where there are so many; they are decoded too and cut off. The
        vocoder's phase accumulates from the beginning on, so it is carried along.
        """
        stride, hop_length = self.autoencoder.config.stride, self.vocoder.config.features.hop_length
        n_latents, margin = latents.shape[1], self._vocoder_context
        start, length = 0, _FIRST_CHUNK_FRAMES
        cycles, first = None, 0
        while start < n_frames:
            stop = min(start + length, n_frames)
            last = min(n_latents, stop + margin)
            low, high = max(0, first - self.autoencoder.context), min(n_latents, last + self.autoencoder.context)
            log_mel = self.autoencoder.decode(latents[:, low:high])[:, stride * (first - low) : stride * (last - low)]
            log_mel = self._set_level(log_mel, gain_db)
            samples = self.vocoder(log_mel, cycles)[0].cpu().numpy()
            wanted = (stop - start) * stride * hop_length
            samples = samples[(start - first) * stride * hop_length :][:wanted]
            # the last of all latents has no successor to overlap with
            yield np.pad(samples, (0, wanted - len(samples)))
            following = max(0, stop - margin)
            if following > first:
                passed = self.vocoder.estimate_magnitude(log_mel[:, : stride * (following - first)])
                cycles = self.vocoder.accumulate(passed, cycles)[:, -1]
            start, first, length = stop, following, _CHUNK_FRAMES
