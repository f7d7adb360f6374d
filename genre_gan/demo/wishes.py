"""What visitors ask for, as recipes: from the form, from a link, and from a clip that they go on with."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlencode

from genre_gan import GenreGenerator
from genre_gan.demo.models import Models
from genre_gan.genres import genre_weights
from genre_gan.recipe import Recipe, VariationStep

MIN_DURATION_S, DEFAULT_DURATION_S, MAX_DURATION_S = 2.0, 8.0, 60.0
MAX_SEED = 2**53 - 1  # the largest whole number that a browser keeps exactly
MAX_STEPS = 12
ALONE = "none"  # no second genre
ANY = "any"  # key
N_TAKES = 4
# What the first screen offers to start from: only what the classifier mostly hears as it was asked for.
EXAMPLES: dict[str, dict[str, Any]] = {
    "Fast metal": {"genre": "metal", "tempo_bpm": "170"},
    "A jazz loop": {"genre": "jazz", "tempo_bpm": "100", "loop": True},
    "Jazz meets classical": {"genre": "jazz", "second": "classical", "share": 50},
    "A minute of disco": {"genre": "disco", "duration_s": 60.0, "tempo_bpm": "120"},
    "Calm, in A minor": {"genre": "classical", "duration_s": 12.0, "variation": 0.7, "key": "A minor"},
}


def short_seed() -> int:
    """A seed at random that people can read out and type."""
    return secrets.randbelow(100_000)


def blend(genre: str, second: str | None, share: float) -> dict[str, float]:
    """Weights of one genre, or of two; `share` is the second one's in percent.

    Raises:
        ValueError: a share that is no number from 0 to 100, or a genre that is no name.
    """
    for name in (genre, second):
        if not isinstance(name, (str, type(None))):
            raise ValueError(f"a genre must be a name, got {name!r:.80}")
    if second in (None, "", ALONE, genre):
        return {genre: 1.0}
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 100:
        raise ValueError(f"second_share must be a number from 0 to 100 percent, got {share!r}")
    return {genre: 1.0 - share / 100.0, str(second): share / 100.0}


class Form(NamedTuple):
    """The fields of the Generate tab; without a seed one is drawn."""

    genre: str
    second: str = ALONE
    share: float = 40
    duration_s: float = DEFAULT_DURATION_S
    variation: float = 1.0
    seed: int | float | str | None = ""
    model: str = "mel"
    tempo_bpm: float | str | None = ""
    key: str | None = ANY
    loop: bool = False

    def recipe(self, models: Models, number: int = 0) -> Recipe:
        """The recipe of one of several clips; those of a given seed have the seeds that follow it."""
        generator = models.generator(self.model)
        return checked(
            generator.make_recipe(
                blend(self.genre, self.second, self.share), seconds(self.duration_s),
                short_seed() if self.seed in (None, "") else whole(self.seed) + number, self.variation,
                tempo_bpm=tempo(self.tempo_bpm), key=None if self.key in (None, "", ANY) else self.key, loop=flag(self.loop),
            )
        )  # fmt: skip


def examples(models: Models) -> dict[str, Form]:
    """Those of `EXAMPLES` that the default model can make, as forms that are filled in."""
    generator = models.generator(models.default)
    can = {"tempo_bpm": generator.supports_tempo, "key": generator.supports_key}
    return {
        name: Form(**fields, model=models.default)
        for name, fields in EXAMPLES.items()
        if {fields["genre"], fields.get("second", fields["genre"])} <= set(generator.genres)
        and all(can.get(field, True) for field in fields)
    }


def seconds(duration_s: float) -> float:
    """A length that was typed or sent.

    Raises:
        ValueError: no number, or beyond the limits of the page.
    """
    is_number = isinstance(duration_s, (int, float)) and not isinstance(duration_s, bool)
    if not is_number or not MIN_DURATION_S <= duration_s <= MAX_DURATION_S:
        limits = f"from {MIN_DURATION_S:g} to {MAX_DURATION_S:g} seconds"
        raise ValueError(f"duration_s must be a number {limits}, got {duration_s!r:.80}")
    return duration_s


def whole(seed: int | float | str | None) -> int:
    """A seed that was typed or sent.

    Raises:
        ValueError: no whole number from 0 to `MAX_SEED`.
    """
    text = str(int(seed) if isinstance(seed, float) and seed.is_integer() else seed).strip()
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_SEED))
    if isinstance(seed, bool) or not is_number or int(text) > MAX_SEED:
        raise ValueError(f"seed must be a whole number from 0 to {MAX_SEED}, got {seed!r:.80}")
    return int(text)


def flag(loop: bool | None) -> bool:
    """Whether to make a loop, as it was sent.

    Raises:
        ValueError: neither true nor false.
    """
    if loop not in (True, False, None):
        raise ValueError(f"loop must be true or false, got {loop!r:.80}")
    return bool(loop)


def tempo(typed: float | str | None) -> float | None:
    """A tempo in beats a minute that was typed or sent; None where there is none.

    Raises:
        ValueError: no number.
    """
    if typed in (None, ""):
        return None
    try:
        return float(str(typed))
    except ValueError:
        raise ValueError(f"tempo_bpm must be a number of beats a minute, got {typed!r}") from None


def tempo_range(generator: GenreGenerator) -> str:
    """The tempi that a model takes, in words."""
    return "{:g} to {:g} beats a minute.".format(*generator.tempo_range_bpm) if generator.tempo_range_bpm else ""


def checked(recipe: Recipe) -> Recipe:
    """The recipe, if it keeps to the limits of the page.

    Raises:
        ValueError: too short, too long, or too many steps.
    """
    seconds(recipe.duration_s)
    if len(recipe.steps) > MAX_STEPS:
        raise ValueError(f"A clip can be varied {MAX_STEPS} times in a row; this would be {len(recipe.steps)}.")
    return recipe


def surprise(models: Models, model: str) -> Recipe:
    """Something that the visitor did not think of: a genre or a blend, of some length, more or less typical."""
    generator = models.generator(model)
    first, second = secrets.choice(generator.genres), secrets.choice(generator.genres)
    weights = {first: 1.0} if first == second else {first: 0.6, second: 0.4}
    return generator.make_recipe(weights, secrets.choice((8.0, 12.0, 16.0)), short_seed(), secrets.choice((0.7, 1.0, 1.2)))


def followed(what: str, recipe: Recipe, asked: Mapping[str, Any]) -> Recipe:
    """What follows from a clip: `more` like it, by an `amount`; a `longer` one; or the same in `other` `genre`.

    Raises:
        ValueError: none of these, or out of range.
    """
    if what == "more":
        return checked(recipe.varied(asked["amount"], short_seed()))
    if what == "longer":
        if recipe.loop:
            raise ValueError("A loop ends where it begins: make a longer one, or this clip without a loop.")
        if recipe.duration_s >= MAX_DURATION_S:
            raise ValueError(f"This clip has {MAX_DURATION_S:g} s already, the most that there is here.")
        return checked(recipe.extended(min(MAX_DURATION_S, 2.0 * recipe.duration_s)))
    if what == "other":
        return checked(replace(recipe, genre={str(asked.get("genre")): 1.0}))
    raise ValueError(f"what must be more, longer or other, got {what!r}")


def title_of(recipe: Recipe) -> str:
    """A clip's name on the page."""
    n_steps = len(recipe.steps)
    varied = "" if not n_steps else ", varied" if n_steps == 1 else f", varied {n_steps} times"
    return f"{recipe.genre_name}, seed {recipe.seed}{varied}"


def facts_of(recipe: Recipe, duration_s: float) -> str:
    """What else is known of a clip before it is heard."""
    facts = [f"{duration_s:.3g} s"]
    facts += [f"variation {recipe.variation:g}"] if recipe.variation != 1.0 else []
    facts += [f"{recipe.tempo_bpm:g} beats a minute"] if recipe.tempo_bpm else []
    facts += [recipe.key] if recipe.key else []
    facts += ["loop"] if recipe.loop else []
    return " · ".join([*facts, recipe.model])


def query_of(recipe: Recipe) -> str:
    """A recipe as the query of an address; `recipe_of_query` reads it."""
    values: dict[str, Any] = {
        "genre": ",".join(f"{name}:{weight:.6g}" for name, weight in recipe.genre.items()),
        "seed": recipe.seed, "duration_s": f"{recipe.duration_s:g}", "variation": f"{recipe.variation:g}",
    }  # fmt: skip
    values |= {"tempo_bpm": f"{recipe.tempo_bpm:g}"} if recipe.tempo_bpm else {}
    values |= {"key": recipe.key} if recipe.key else {}
    values |= {"loop": "1"} if recipe.loop else {}
    values |= {"steps": ",".join(f"{step.amount:g}:{step.seed}" for step in recipe.steps)} if recipe.steps else {}
    return urlencode(values | {"model": recipe.model, "revision": recipe.revision}, safe=":,")


def recipe_of_query(values: Mapping[str, str], models: Models) -> Recipe:
    """The recipe that a link carries; what it leaves out is as in the form.

    Raises:
        ValueError: a value that cannot be read, or one out of range.
    """

    def pairs(name: str) -> list[tuple[str, str]]:
        return [(first, second) for first, _, second in (part.partition(":") for part in values.get(name, "").split(",") if part)]

    def number(name: str, text: str | float) -> float:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{name} must be a number, got {text!r:.80}") from None

    model = values.get("model") or models.generator(models.default).name
    try:
        recipe = Recipe(
            genre={name: number("the weight of a genre", weight or 1.0) for name, weight in pairs("genre")},
            seed=whole(values["seed"]), duration_s=seconds(number("duration_s", values.get("duration_s", DEFAULT_DURATION_S))),
            variation=number("variation", values.get("variation", 1.0)), tempo_bpm=tempo(values.get("tempo_bpm")),
            key=values.get("key"), loop=values.get("loop") == "1",
            steps=tuple(VariationStep(number("the amount of a step", a), whole(s)) for a, s in pairs("steps")),
            model=model, revision=values.get("revision", ""),
        )  # fmt: skip
        generator = models.following(recipe)
        weights = genre_weights(recipe.genre, generator.genres)
    except (KeyError, ValueError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"This link leads to no clip: {what}.") from error
    named = {name: weight for name, weight in zip(generator.genres, weights, strict=True) if weight > 0}
    return checked(replace(recipe, genre=named, revision=recipe.revision or generator.revision))
