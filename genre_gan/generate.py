"""Music by genre: the pipeline that the app, the previews, the metrics and the tests all generate through."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, overload

import numpy as np
import torch

from genre_gan.clip import Clip
from genre_gan.devices import find_device
from genre_gan.genres import genre_weights
from genre_gan.hub import load_model, packaged_weights
from genre_gan.loudness import Leveler, level_loop
from genre_gan.recipe import (
    BEATS_PER_BAR,
    MAX_DURATION_S,
    MIN_DURATION_S,
    Recipe,
    RecipeError,
    RecipeWarning,
    canonical_key,
    draw_seed,
)
from genre_gan.spectral import SpectralModel
from genre_gan.waveform import WaveformModel

LOOP_CROSSFADE_S = 0.25
FADE_IN_S, FADE_OUT_S, FADE_OUT_SHARE = 0.02, 0.3, 0.05  # the shorter of the two counts at the end


class GeneratorModel(Protocol):
    """What the pipeline asks of a model.

    Attributes:
        name: such as `mel`.
        genres: what it was trained on.
        sample_rate_hz: of its samples.
        tempo_range_bpm: the slowest and the fastest tempo that can be asked for; None where none can.
        keys: those of `recipe.KEYS` that can be asked for; empty where none can.
        training_record: how its weights came to be.
        revision: a checksum of its weights.
    """

    @property
    def name(self) -> str: ...
    @property
    def tempo_range_bpm(self) -> tuple[float, float] | None: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def genres(self) -> tuple[str, ...]: ...
    @property
    def sample_rate_hz(self) -> int: ...
    @property
    def training_record(self) -> dict: ...
    @property
    def revision(self) -> str: ...

    def tempo_bpm(self, recipe: Recipe) -> float | None:
        """The tempo that a clip will have, asked for or not; None where the model knows none."""

    def chunks(self, recipe: Recipe, n_samples: int) -> Iterator[np.ndarray]:
        """Consecutive parts [shape=(n,)] of at least `n_samples` samples; more of them begin as fewer do."""

    def to(self, device: torch.device) -> GeneratorModel:
        """Move all networks there."""

    def save_pretrained(self, folder: Path) -> Path:
        """Write a folder from which `GenreGenerator.from_pretrained` loads the model."""


_MODELS: dict[str, type[SpectralModel] | type[WaveformModel]] = {"spectral-gan": SpectralModel, "waveform-gan": WaveformModel}


class GenreGenerator:
    """Generate clips of a genre.

    Attributes:
        genres: what can be asked for.
        sample_rate_hz: of the clips.
        name: of the model: `mel`, `fcn` or `cnn`.
        tempo_range_bpm: the slowest and the fastest tempo that can be asked for; None where none can.
        keys: those that can be asked for; empty where none can.
        source: where its weights came from.
    """

    min_duration_s = MIN_DURATION_S
    max_duration_s = MAX_DURATION_S

    def __init__(self, model: GeneratorModel, source: str = "memory"):
        self.model = model
        self.genres, self.sample_rate_hz, self.name = model.genres, model.sample_rate_hz, model.name
        self.tempo_range_bpm, self.keys = model.tempo_range_bpm, model.keys
        self.source = source

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike | None = None, revision: str | None = None, device: str | torch.device = "cpu"
    ) -> GenreGenerator:
        """Load weights: those inside the package by name (`mel`, the default, `fcn` or `cnn`), of a folder, or of a Hub id.

        Args:
            source: the name, folder or id.
            revision: a branch, tag or commit of a Hub repository.
            device: where to generate: `cpu`, `cuda`, `mps`, or `auto` for a GPU where there is one.

        Raises:
            genre_gan.pretrained.ModelError: nothing there, damaged, or of another family.
            ValueError: no such device.
        """
        device = find_device(device)
        model, folder = load_model(source, revision, "mel", _MODELS)
        is_packaged = folder.parent == packaged_weights("mel").parent
        name = "packaged weights" if source is None or is_packaged else os.fspath(source)
        return cls(model, name).to(device)

    def to(self, device: str | torch.device) -> GenreGenerator:
        """Generate on that device from now on: `cpu`, `cuda`, `mps`, or `auto` for a GPU where there is one."""
        self.model.to(find_device(device))
        return self

    @property
    def supports_tempo(self) -> bool:
        """Whether a tempo can be asked for."""
        return self.tempo_range_bpm is not None

    @property
    def supports_key(self) -> bool:
        """Whether a key can be asked for."""
        return bool(self.keys)

    @cached_property
    def revision(self) -> str:
        """A checksum of the weights, which a clip's recipe names."""
        return self.model.revision[:16]

    @overload
    def generate(
        self, genre: str | Mapping[str, float], duration_s: float = ..., seed: int | None = ..., variation: float = ...,
        *, tempo_bpm: float | None = ..., key: str | None = ..., loop: bool = ..., stream: Literal[False] = ...,
    ) -> Clip: ...

    @overload
    def generate(
        self, genre: str | Mapping[str, float], duration_s: float = ..., seed: int | None = ..., variation: float = ...,
        *, tempo_bpm: float | None = ..., key: str | None = ..., loop: bool = ..., stream: Literal[True],
    ) -> Iterator[Clip]: ...

    def generate(self, genre, duration_s=8.0, seed=None, variation=1.0, *, tempo_bpm=None, key=None, loop=False, stream=False):
        """Make one clip: `generate_recipe(make_recipe(...))`.

        Args:
            genre: a name, or a blend such as `{"jazz": 0.7, "hiphop": 0.3}`.
            duration_s: from 1 to 120 seconds.
            seed: the same seed gives the same clip; None draws one at random.
            variation: how far the clip may stray from the genre's average, from 0, not at all, to 1.5.
            tempo_bpm: beats a minute, within `tempo_range_bpm`; None leaves it to the seed.
            key: such as `"A minor"` or `"Eb"`, one of `keys`, to which the clip is transposed; None leaves it to the seed.
            loop: let the end flow into the beginning, without fades; where the model knows its tempo, the length is rounded
                to whole bars.
            stream: give the clip in consecutive parts, as soon as each is made.

        Returns:
            A `Clip` with float32 samples in [-1, 1] [shape=(round(duration_s * sample_rate_hz),)] and its recipe; with
            `stream` an iterator of clips, without recipes, that joined are the very same. A longer clip begins as a shorter
            one, up to its fade. A loop's first part comes when all of it is made.

        Raises:
            ValueError: an unknown genre, a value out of range, or a tempo or a key asked of a model that takes none.
        """
        recipe = self.make_recipe(genre, duration_s, seed, variation, tempo_bpm=tempo_bpm, key=key, loop=loop)
        return self.generate_recipe(recipe, stream=stream)

    def make_recipe(
        self, genre: str | Mapping[str, float], duration_s: float = 8.0, seed: int | None = None, variation: float = 1.0,
        *, tempo_bpm: float | None = None, key: str | None = None, loop: bool = False,
    ) -> Recipe:
        """The recipe that `generate` follows when it is given the same; see there for arguments and errors."""
        weights = genre_weights(genre, self.genres)
        recipe = Recipe(
            genre={name: weight for name, weight in zip(self.genres, weights, strict=True) if weight > 0},
            seed=draw_seed() if seed is None else seed, duration_s=duration_s, variation=variation, tempo_bpm=tempo_bpm,
            key=None if key is None else canonical_key(key), loop=loop, model=self.name, revision=self.revision,
        )  # fmt: skip
        self._check(recipe)
        return recipe

    @overload
    def generate_recipe(self, recipe: Clip | Recipe, *, stream: Literal[False] = ...) -> Clip: ...

    @overload
    def generate_recipe(self, recipe: Clip | Recipe, *, stream: Literal[True]) -> Iterator[Clip]: ...

    def generate_recipe(self, recipe, *, stream=False):
        """Make the clip of a recipe, or of the recipe that a clip has; see `generate`.

        Warns:
            RecipeWarning: the recipe was made by other weights, so that the clip will sound different.

        Raises:
            RecipeError: no recipe, or that of another model.
            ValueError: a genre, tempo or key that this model does not know.
        """
        recipe = _recipe_of(recipe)
        self._check(recipe)
        if recipe.revision != self.revision:
            text = f"the recipe was made by other weights ({recipe.revision or 'unknown'}) than these ({self.revision})"
            warnings.warn(f"{text}: the clip will sound different", RecipeWarning, stacklevel=2)
        parts = self._make_loop(recipe) if recipe.loop else self._make(recipe)
        if stream:
            return (Clip(samples, self.sample_rate_hz) for samples in parts)
        return Clip(np.concatenate(list(parts)), self.sample_rate_hz, recipe)

    def extend(self, clip: Clip | Recipe, duration_s: float) -> Clip:
        """Go on with a clip until it lasts `duration_s` seconds: it begins as before, up to its fade.

        Raises:
            RecipeError: the clip has no recipe, or that of another model.
            ValueError: `duration_s` not above the clip's own, or above 120; or the clip is a loop.
        """
        return self.generate_recipe(_recipe_of(clip).extended(duration_s))

    def variation_of(self, clip: Clip | Recipe, amount: float, seed: int | None = None) -> Clip:
        """Make a clip near another: with `amount` 0 the same, with 1 another one of its genre, in its key and tempo.

        Args:
            amount: from 0 to 1.
            seed: where to; None draws one at random.

        Raises:
            RecipeError: the clip has no recipe, or that of another model.
            ValueError: amount or seed out of range.
        """
        return self.generate_recipe(_recipe_of(clip).varied(amount, seed))

    def _check(self, recipe: Recipe) -> None:
        if recipe.model != self.name:
            raise RecipeError(f"the recipe is of the model {recipe.model!r}, and this is {self.name!r}: load that one instead")
        genre_weights(recipe.genre, self.genres)
        if recipe.tempo_bpm is not None:
            if self.tempo_range_bpm is None:
                raise ValueError(f"tempo_bpm must be None: the model {self.name!r} takes no tempo, got {recipe.tempo_bpm!r}")
            lowest, highest = self.tempo_range_bpm
            if not lowest <= recipe.tempo_bpm <= highest:
                raise ValueError(f"tempo_bpm must be from {lowest:g} to {highest:g}, got {recipe.tempo_bpm!r}")
        if recipe.key is not None and recipe.key not in self.keys:
            allowed = f"one of {', '.join(self.keys)}" if self.keys else f"None: the model {self.name!r} takes no key"
            raise ValueError(f"key must be {allowed}, got {recipe.key!r}")

    def _chunks(self, recipe: Recipe, n_samples: int) -> Iterator[np.ndarray]:
        chunks = self.model.chunks(recipe, n_samples)
        while True:
            with torch.inference_mode():  # not around the yield: it would leak into the caller
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def _make(self, recipe: Recipe) -> Iterator[np.ndarray]:
        n_samples = round(recipe.duration_s * self.sample_rate_hz)
        leveler, position = Leveler(self.sample_rate_hz), 0
        for chunk in self._chunks(recipe, leveler.n_input(n_samples)):
            samples = leveler(chunk)[: n_samples - position]
            if len(samples):
                yield _fade(samples, position, n_samples, self.sample_rate_hz)
            position += len(samples)

    def _make_loop(self, recipe: Recipe) -> Iterator[np.ndarray]:
        """One part: the sound of a few moments after the end is cross-faded into the beginning."""
        n_samples = round(self._loop_duration_s(recipe) * self.sample_rate_hz)
        n_fade = round(LOOP_CROSSFADE_S * self.sample_rate_hz)
        samples = np.concatenate(list(self._chunks(recipe, n_samples + n_fade)))
        angle = np.linspace(0.0, np.pi / 2, n_fade, dtype=np.float32)
        samples[:n_fade] = np.sin(angle) * samples[:n_fade] + np.cos(angle) * samples[n_samples : n_samples + n_fade]
        yield level_loop(samples[:n_samples], self.sample_rate_hz)

    def _loop_duration_s(self, recipe: Recipe) -> float:
        tempo_bpm = self.model.tempo_bpm(recipe)
        if tempo_bpm is None:
            return recipe.duration_s
        return recipe.loop_bars(tempo_bpm) * BEATS_PER_BAR * 60.0 / tempo_bpm


def _recipe_of(clip: Clip | Recipe) -> Recipe:
    if not isinstance(clip, (Clip, Recipe)):
        raise RecipeError(f"clip must be a Clip or a Recipe, got {type(clip).__name__}; Recipe.from_json and from_file read one")
    recipe = clip if isinstance(clip, Recipe) else clip.recipe
    if recipe is None:
        raise RecipeError("the clip has no recipe: it was not generated here; Recipe.from_file reads that of a saved one")
    return recipe


def _fade(samples: np.ndarray, position: int, n_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Fade the part that begins at `position` of a clip of `n_samples` where it is near an end; the ends are 0."""
    n_in, n_out = round(FADE_IN_S * sample_rate_hz), round(min(FADE_OUT_S * sample_rate_hz, FADE_OUT_SHARE * n_samples))
    rise, fall = (np.sin(np.linspace(0.0, np.pi / 2, n, dtype=np.float32)) ** 2 for n in (n_in, n_out))
    samples = samples.copy()
    samples[: max(0, n_in - position)] *= rise[position : position + len(samples)]
    n_faded = max(0, position + len(samples) - (n_samples - n_out))  # samples at the end of this part that fade
    begun = max(0, n_faded - len(samples))  # samples of the fade in earlier parts
    start = len(samples) - (n_faded - begun)
    samples[start:] *= fall[::-1][begun : begun + len(samples) - start]
    return samples
