"""The spectral model as the pipeline uses it: a recipe to noise, noise to latents, latents to sound, in pieces without seams."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genre_gan.genres import genre_weights
from genre_gan.keys import semitones_to
from genre_gan.models.codec import Codec
from genre_gan.models.generator import N_COLOURS, ClipNoise, SpectralGenerator
from genre_gan.models.pulse import MAX_TEMPO_BPM, MIN_TEMPO_BPM, N_TURNED, Pulse, grid_tempo
from genre_gan.pretrained import ModelError
from genre_gan.recipe import BEATS_PER_BAR, KEYS, Recipe

_FIRST_FRAMES, _MORE_FRAMES = 16, 96  # latent frames made at a time: 1.5 s, so that playing starts at once, then 8.9 s
_N_STYLES = 256  # from which the mean style of a genre is taken
TRUNCATION = 0.6  # of the size that styles had in training (after Brock et al. 2018, section 3.1)
LABEL_SCALE = 1.1  # times as far apart as in training are labels: a clip is then surer of its genre, as with guidance


@dataclass
class SpectralModel:
    """A generator of latents, and the codec that makes sound of them."""

    generator: SpectralGenerator
    codec: Codec

    name = "mel"
    tempo_range_bpm = (MIN_TEMPO_BPM, MAX_TEMPO_BPM)
    keys = KEYS

    def __post_init__(self) -> None:
        made, read = self.generator.config, self.codec.config
        if (made.n_coefficients, made.n_rows) != (read.n_coefficients, read.n_rows):
            raise ModelError(
                f"the generator makes {made.n_coefficients} x {made.n_rows} latents a frame, "
                f"the codec reads {read.n_coefficients} x {read.n_rows}"
            )

    @classmethod
    def load(cls, folder: Path) -> SpectralModel:
        """Load a folder with the generator's files, and `codec` below it."""
        generator = SpectralGenerator.load(folder)
        generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as what its convolutions read
        return cls(generator, Codec.load(folder / "codec"))

    def save_pretrained(self, folder: Path) -> Path:
        """Write both, so that one folder, or one Hub id, is enough to generate."""
        self.codec.save_pretrained(folder / "codec")
        return self.generator.save_pretrained(folder, half=True)

    def to(self, device: torch.device) -> SpectralModel:
        """Move both there."""
        self.generator.to(device)
        self.codec.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return self.codec.mean.device

    @property
    def genres(self) -> tuple[str, ...]:
        return self.generator.config.genres

    @property
    def training_record(self) -> dict:
        return self.generator.training_record

    @property
    def revision(self) -> str:
        parts = (self.generator, self.codec)
        return hashlib.sha256("".join(part.weights_sha256() for part in parts).encode()).hexdigest()

    @property
    def sample_rate_hz(self) -> int:
        return self.codec.config.features.sample_rate_hz

    def tempo_bpm(self, recipe: Recipe) -> float:
        """The tempo asked for, or one that the genre has, to the nearest whole hop length."""
        grid_bpm, speed, wanted_bpm = self._tempos(recipe)
        made_bpm = grid_bpm * self.codec.hop_length / self.codec.hurried(speed).hop_length
        return made_bpm * 2.0 ** round(math.log2(wanted_bpm / made_bpm))

    def _tempos(self, recipe: Recipe) -> tuple[float, float, float]:
        """What the generator plays at, how many times faster it is to sound, and the tempo that was wanted or is drawn."""
        if recipe.tempo_bpm is not None:
            wanted = torch.tensor([recipe.tempo_bpm])
        else:
            wanted = self.generator.draw_tempo_bpm(self._weights(recipe), self._uniform(_origin(recipe), 1))
        grid_bpm, speed = grid_tempo(wanted, self.generator.config.latent_rate_hz)
        return float(grid_bpm), float(speed), float(wanted)

    def chunks(self, recipe: Recipe, n_samples: int) -> Iterator[np.ndarray]:
        """Consecutive parts of at least `n_samples` samples."""
        codec = self._codec_in_key(recipe).hurried(self._tempos(recipe)[1])
        n_frames = -(-n_samples // codec.samples_per_latent)
        for part in codec.stream(self.latents(recipe, n_frames + codec.margin)):
            samples = part[0].cpu().numpy()
            yield samples

    def _codec_in_key(self, recipe: Recipe) -> Codec:
        """The codec, transposed so that the clip's first ten seconds fit the key asked for, whatever the clip's own length.

        The generator is told the key too, but learned little of what it means.
        """
        if recipe.key is None:
            return self.codec
        beginning = torch.cat(list(self.latents(recipe, _FIRST_FRAMES + _MORE_FRAMES)), 3)
        samples = self.codec.decode(beginning)[0].cpu().numpy()
        return self.codec.transposed(semitones_to(KEYS.index(recipe.key), samples, self.sample_rate_hz))

    def latents(self, recipe: Recipe, n_frames: int) -> Iterator[Tensor]:
        """Consecutive parts Tensor[1 x C x R x T], `n_frames` in all. More of them begin as fewer do.

        To the last bit: the sizes in which they are made do not depend on `n_frames`, as how convolutions round depends on them.
        """
        config = self.generator.config
        first = _FIRST_FRAMES + config.stride * math.ceil(self.codec.margin / config.stride)
        n_whole = first + max(0, math.ceil((n_frames - first) / _MORE_FRAMES)) * _MORE_FRAMES
        mapped, weights = self._map_style(recipe), self._weights(recipe)
        colour = TRUNCATION * recipe.variation * torch.from_numpy(recipe.noise(0, 1).draw(N_COLOURS))[None].to(self.device)
        grid_bpm, _, wanted_bpm = self._tempos(recipe)
        pulse = Pulse(torch.tensor([grid_bpm], device=self.device), BEATS_PER_BAR * self._uniform(recipe, 2))
        whole = config.spans(0, n_whole)
        grid = [
            torch.from_numpy(recipe.noise(4 + level).draw(high - low, config.level_rows(level), config.noise_dim))[None]
            for level, (low, high) in enumerate(whole)
        ]
        n_bars = config.n_bars(n_whole)
        bars = torch.from_numpy(recipe.noise(2, 1).draw(n_bars, N_TURNED, 2))[None].to(self.device)
        half_bars = torch.from_numpy(recipe.noise(2, 2).draw(2 * n_bars, config.noise_dim))[None].to(self.device)
        if recipe.loop:  # what follows the last bar is the first one
            tempo_bpm = self.tempo_bpm(recipe)
            n_loop = recipe.loop_bars(tempo_bpm) * 2 ** round(math.log2(grid_bpm / wanted_bpm))
            bars, half_bars = bars[:, torch.arange(n_bars) % n_loop], half_bars[:, torch.arange(2 * n_bars) % (2 * n_loop)]
        for start, stop in pairwise([0, *range(first, n_whole + 1, _MORE_FRAMES)]):
            spans = zip(grid, whole, config.spans(start, stop), strict=True)
            part = [values[:, low - begin : high - begin].to(self.device) for values, (begin, _), (low, high) in spans]
            noise = ClipNoise(mapped, bars, half_bars, part)  # the style has been mapped
            latents = self.generator.synthesize(noise, mapped, pulse, start)[..., : n_frames - start]
            yield self.generator.calibrate(latents, weights, colour)

    def _genre_weights(self, recipe: Recipe) -> Tensor:
        return torch.tensor([genre_weights(recipe.genre, self.genres)], device=self.device)

    def _weights(self, recipe: Recipe) -> Tensor:
        """Weights of labels Tensor[1 x n_labels]; of each genre the recipe draws a cluster."""
        uniform = self._uniform(_origin(recipe), 3, 1, n=len(self.genres))
        return self.generator.draw_labels(self._genre_weights(recipe), uniform[None])

    def _uniform(self, recipe: Recipe, *stream: int, n: int = 1) -> Tensor:
        """Uniform numbers (n,) in [0, 1] that move little where the recipe varies little."""
        normal = torch.from_numpy(recipe.noise(*stream).draw(n)).to(self.device)
        return 0.5 * (1.0 + torch.erf(normal / math.sqrt(2.0)))

    def _map_style(self, recipe: Recipe) -> Tensor:
        """The mapped style Tensor[1 x S], as far from the mean of its genre as the recipe's variation says."""
        weights = self._weights(recipe)
        if recipe.key is not None:
            key = torch.tensor([KEYS.index(recipe.key)], device=self.device)
        else:
            key = self.generator.draw_key(weights, self._uniform(_origin(recipe), 3))
        style_dim = self.generator.config.style_dim
        own = TRUNCATION * torch.from_numpy(recipe.noise(0).draw(style_dim))[None].to(self.device)
        noise = torch.from_numpy(recipe.noise(0, 2).draw(self.generator.config.instance_dim))[None].to(self.device)
        uniform = self._uniform(_origin(recipe), 3, 2, n=len(self.genres))[None]
        own = self.generator.map_style(own, weights, key, self.generator.draw_instances(weights, uniform, noise), LABEL_SCALE)
        if recipe.variation == 1.0:
            return own
        rng = np.random.default_rng(0)
        many = torch.from_numpy(rng.normal(0.0, TRUNCATION, (_N_STYLES, style_dim)).astype(np.float32)).to(self.device)
        uniform = torch.from_numpy(rng.random((_N_STYLES, len(self.genres)), np.float32)).to(self.device)
        labels = self.generator.draw_labels(self._genre_weights(recipe).expand(_N_STYLES, -1), uniform)
        uniform = torch.from_numpy(rng.random((_N_STYLES, len(self.genres)), np.float32)).to(self.device)
        instances = self.generator.draw_instances(labels, uniform, torch.zeros((), device=self.device))
        mean = self.generator.map_style(many, labels, key.expand(_N_STYLES), instances, LABEL_SCALE).mean(0, keepdim=True)
        return mean + recipe.variation * (own - mean)


def _origin(recipe: Recipe) -> Recipe:
    """Before all variations: a key or a cluster has no others near it, so the smallest step could turn it into any other."""
    return replace(recipe, steps=())
