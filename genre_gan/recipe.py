"""The recipe of a generated clip: all that decides how it sounds, as one small record that travels with it."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from genre_gan import __version__
from genre_gan.genres import is_finite_number

MIN_DURATION_S = 1.0
MAX_DURATION_S = 120.0
MAX_VARIATION = 1.5
MAX_SEED = 2**63 - 1
BEATS_PER_BAR = 4
_N_TOLD_STEPS = 4
_AGAIN = 2**31  # no stream is as high, nor the upper half of a seed
TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
KEYS = tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in TONICS)
_OTHER_SPELLINGS = {"DB": "C#", "D#": "Eb", "GB": "F#", "G#": "Ab", "A#": "Bb"}
_MODES = {"": "major", "M": "minor", "MAJ": "major", "MAJOR": "major", "MIN": "minor", "MINOR": "minor"}


class RecipeError(ValueError):
    """No recipe, or a damaged one. The message is fit for users."""


class RecipeWarning(UserWarning):
    """A recipe that cannot do its work: made by other weights, so that the clip will sound different, or too long for a file."""


class VariationStep(NamedTuple):
    """One move away from a clip.

    Attributes:
        amount: how far, from 0 (the same clip) to 1 (another one of its genre, in its key).
        seed: where to.
    """

    amount: float
    seed: int


@dataclass(frozen=True)
class Recipe:
    """What makes a clip. The same recipe and the same weights give the same clip.

    Attributes:
        genre: weights above 0 of the genres, summing to 1.
        seed: of the random numbers.
        duration_s: from 1 to 120 seconds.
        variation: how far the clip may stray from the genre's average, from 0, not at all, to 1.5.
        tempo_bpm: beats a minute; None leaves it to the seed.
        key: one of `KEYS`; None leaves it to the seed.
        loop: whether the end flows into the beginning.
        steps: the moves that lead here from the clip of `seed`, in order.
        model: name of the model, such as `mel`.
        revision: checksum of its weights.
        version: of this package.

    Raises:
        ValueError: a value out of range; the message says the range.
    """

    genre: Mapping[str, float]
    seed: int
    duration_s: float
    variation: float = 1.0
    tempo_bpm: float | None = None
    key: str | None = None
    loop: bool = False
    steps: tuple[VariationStep, ...] = ()
    model: str = ""
    revision: str = ""
    version: str = __version__

    def __post_init__(self) -> None:
        is_blend = isinstance(self.genre, Mapping) and len(self.genre) > 0
        if not is_blend or not all(is_finite_number(weight) and weight > 0 for weight in self.genre.values()):
            raise ValueError(f"genre must be weights above 0 by name, got {self.genre!r}")
        check_duration(self.duration_s)
        check_variation(self.variation)
        check_seed(self.seed)
        if self.tempo_bpm is not None and not (is_finite_number(self.tempo_bpm) and self.tempo_bpm > 0):
            raise ValueError(f"tempo_bpm must be a number of beats a minute above 0, got {self.tempo_bpm!r}")
        if self.key is not None and self.key not in KEYS:
            raise ValueError(f"key must be one of {', '.join(KEYS)}, got {self.key!r}")
        if not isinstance(self.loop, bool):
            raise ValueError(f"loop must be True or False, got {self.loop!r}")
        if not isinstance(self.steps, (tuple, list)) or not all(isinstance(step, VariationStep) for step in self.steps):
            raise ValueError(f"steps must be a tuple of VariationStep(amount, seed), got {self.steps!r}")
        for step in self.steps:
            check_amount(step.amount)
            check_seed(step.seed)
        for name in ("model", "revision", "version"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be text, got {getattr(self, name)!r}")
        # plain numbers, whatever kind came: they go into JSON
        canonical = {
            "genre": {name: float(weight) for name, weight in self.genre.items()},
            "seed": int(self.seed), "duration_s": float(self.duration_s), "variation": float(self.variation),
            "tempo_bpm": None if self.tempo_bpm is None else float(self.tempo_bpm),
            "steps": tuple(VariationStep(float(step.amount), int(step.seed)) for step in self.steps),
        }  # fmt: skip
        for name, value in canonical.items():
            object.__setattr__(self, name, value)

    @property
    def genre_name(self) -> str:
        """The genre, or the blend with the strongest first: `jazz 70 %, hiphop 30 %`."""
        if len(self.genre) == 1:
            return next(iter(self.genre))
        strongest = sorted(self.genre.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {100 * weight:.0f} %" for name, weight in strongest)

    @property
    def title(self) -> str:
        """What to call the clip: `blues, seed 7`. Of many steps it tells the last ones: players, and tags, have room for few."""
        n_earlier = max(0, len(self.steps) - _N_TOLD_STEPS)
        title = f"{self.genre_name}, seed {self.seed}" + (f", varied {n_earlier} times" if n_earlier else "")
        return title + "".join(f", varied by {step.amount:g} towards {step.seed}" for step in self.steps[n_earlier:])

    def extended(self, duration_s: float) -> Recipe:
        """The recipe of a clip that begins as this one and lasts `duration_s` seconds, more than this one does.

        Raises:
            ValueError: `duration_s` not above the clip's own, or above 120; or a loop, which has no end to go on from.
        """
        check_duration(duration_s)
        if self.loop:  # its beginning is made of its end
            raise ValueError("clip must not be a loop, got one: generate a longer loop, or extend a clip made without loop=True")
        if duration_s <= self.duration_s:
            raise ValueError(f"duration_s must be above the clip's own {self.duration_s:g} seconds, got {duration_s!r}")
        return replace(self, duration_s=duration_s)

    def varied(self, amount: float, seed: int | None = None) -> Recipe:
        """The recipe of a clip near this one, in its key: with `amount` 0 the same, with 1 another one; `seed` says where to."""
        return replace(self, steps=(*self.steps, VariationStep(amount, draw_seed() if seed is None else seed)))

    def loop_bars(self, tempo_bpm: float) -> int:
        """How many whole bars a loop of about this length has at that tempo."""
        bar_s = BEATS_PER_BAR * 60.0 / tempo_bpm
        return max(1, min(round(self.duration_s / bar_s), int(MAX_DURATION_S / bar_s)))

    def noise(self, *stream: int) -> Noise:
        """Random numbers of this recipe; each `stream` of whole numbers has its own."""
        return Noise(self, stream)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self) | {"genre": dict(self.genre)})

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what `to_json` wrote.

        Raises:
            RecipeError: no JSON, a name missing or unknown, or a value out of range.
        """
        try:
            values: Any = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise RecipeError(f"the recipe is not valid JSON: {error}") from error
        names = {f.name for f in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            wrong = sorted(set(values) ^ names) if isinstance(values, dict) else [type(values).__name__]
            raise RecipeError(f"the recipe must have exactly {', '.join(sorted(names))}; wrong: {', '.join(wrong)}")
        try:
            values["steps"] = tuple(VariationStep(*step) for step in values["steps"])
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise RecipeError(f"the recipe makes no clip: {error}") from error

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> Recipe:
        """Read the recipe that `Clip.save` wrote into a sound file's comment.

        Raises:
            RecipeError: the file has none, or is no sound.
            FileNotFoundError: no such file.
        """
        import soundfile

        if not os.path.exists(path):
            raise FileNotFoundError(f"no such audio file: {os.fspath(path)}")
        try:
            with soundfile.SoundFile(os.fspath(path)) as file:
                comment = file.comment
        except (soundfile.LibsndfileError, TypeError) as error:
            raise RecipeError(f"{os.path.basename(path)!r} cannot be read as wav, flac, ogg or mp3") from error
        if not comment.startswith("{"):
            raise RecipeError(f"{os.path.basename(path)!r} has no recipe: this package did not make it, or its tags were removed")
        return cls.from_json(comment)


class Noise:
    """Standard normal numbers, drawn one after the other, so that a longer clip begins with a shorter one's.

    Each of a recipe's steps mixes in those of another seed along a circle: `cos(a) * here + sin(a) * there`, with `a` from 0 to
    a quarter turn. That is spherical interpolation of vectors at right angles, as independent normal ones nearly are, and what
    comes out is normal again (White, "Sampling generative networks", 2016).
    """

    def __init__(self, recipe: Recipe, stream: tuple[int, ...]):
        seeds = [recipe.seed, *(step.seed for step in recipe.steps)]
        # a seed that comes again has other numbers: two vectors that are one are at no right angle
        own = [[_AGAIN + i] if seed in seeds[:i] else [] for i, seed in enumerate(seeds)]
        self._generators = [np.random.default_rng([seed, *stream, *more]) for seed, more in zip(seeds, own, strict=True)]
        self._angles = [0.5 * math.pi * step.amount for step in recipe.steps]

    def draw(self, *shape: int) -> np.ndarray:
        """The next numbers, float32 [shape=shape]; time is the first axis."""
        first, *others = (generator.standard_normal(shape, dtype=np.float32) for generator in self._generators)
        for angle, other in zip(self._angles, others, strict=True):
            first = np.float32(math.cos(angle)) * first + np.float32(math.sin(angle)) * other
        return first


def draw_seed() -> int:
    """A seed at random."""
    return secrets.randbelow(2**31)


def canonical_key(name: str) -> str:
    """Spell a key as in `KEYS`: `"am"`, `"A min"` and `"a minor"` become `"A minor"`, `"Db"` and `"C#M"` become `"C# major"`.

    Raises:
        ValueError: no key.
    """
    allowed = f"allowed: {', '.join(KEYS)}"
    if not isinstance(name, str):
        raise ValueError(f"key must be text such as 'A minor', got {name!r}; {allowed}")
    written = "".join(name.replace("♯", "#").replace("♭", "b").split())
    letters = written.upper()
    length = 2 if letters[1:2] in ("#", "B") else 1
    tonic, mode = letters[:length], "major" if written[length:] == "M" else _MODES.get(letters[length:])
    tonic = _OTHER_SPELLINGS.get(tonic, tonic.capitalize())
    if tonic not in TONICS or mode is None:
        raise ValueError(f"key {name!r} is unknown; {allowed}")
    return f"{tonic} {mode}"


def check_duration(duration_s: float) -> None:
    """Raise `ValueError` unless `duration_s` is a number of seconds that can be generated."""
    if not is_finite_number(duration_s) or not MIN_DURATION_S <= duration_s <= MAX_DURATION_S:
        raise ValueError(f"duration_s must be from {MIN_DURATION_S:g} to {MAX_DURATION_S:g} seconds, got {duration_s!r}")


def check_variation(variation: float) -> None:
    """Raise `ValueError` unless `variation` is a number from 0 to 1.5."""
    if not is_finite_number(variation) or not 0.0 <= variation <= MAX_VARIATION:
        raise ValueError(f"variation must be from 0 to {MAX_VARIATION:g}, got {variation!r}")


def check_amount(amount: float) -> None:
    """Raise `ValueError` unless `amount` is a number from 0 to 1."""
    if not is_finite_number(amount) or not 0.0 <= amount <= 1.0:
        raise ValueError(f"amount must be from 0, the same clip, to 1, another one of its genre, got {amount!r}")


def check_seed(seed: int) -> None:
    """Raise `ValueError` unless `seed` is a whole number from 0 to 2**63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be a whole number from 0 to {MAX_SEED}, got {seed!r}")
