"""The ten GTZAN genres, and how users name one genre or a blend of several."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
# Names of one genre in their canonical form; who asks for one gets whichever a model has, or else what is nearest to it.
_SAME = (
    ("hiphop", "rap", "hiphoprap", "raphiphop", "hiphopnrap", "rapnhiphop"),
    ("rnb", "rhythmnblues", "soulrnb", "rnbsoul", "soulnrnb", "rnbnsoul"),
    ("metal", "heavymetal"),
    ("rock", "rocknroll"),
    ("classical", "classic"),
)
_NEAREST = {"rnb": ("soul", "blues")}


def canonical_genre(name: str) -> str:
    """The letters and digits of `name` in lower case: `"Hip-Hop"` becomes `"hiphop"`, and `"R&B"`, as `"R'n'B"`, `"rnb"`."""
    name = unicodedata.normalize("NFKC", name).casefold()
    name = re.sub(r"&|\band\b|(?<=\w)['\u2019]n['\u2019](?=\w)", "n", name)
    return "".join(character for character in name if character.isalnum())


def find_genre(name: str, genres: Sequence[str] = GENRES) -> str:
    """Which of `genres` the user means by `name`: spelled so, spelled otherwise, or the nearest that has another name.

    Raises:
        ValueError: none of them.
    """
    if name in genres:
        return name
    if isinstance(name, str):
        known = {canonical_genre(genre): genre for genre in reversed(genres)}
        key = canonical_genre(name)
        same = next((names for names in _SAME if key in names), (key,))
        for candidate in (key, *same, *_NEAREST.get(same[0], ())):
            if candidate in known:
                return known[candidate]
    raise ValueError(f"genre {name!r:.80} is unknown; allowed: {', '.join(genres)}")


def genre_weights(genre: str | Mapping[str, float], genres: Sequence[str] = GENRES) -> list[float]:
    """Turn a genre or a blend into one weight for each of `genres`, in their order, summing to 1.

    Args:
        genre: a name such as `"jazz"`, or a blend such as `{"jazz": 0.7, "hiphop": 0.3}` with weights >= 0
            of which at least one is positive; they are scaled to sum to 1.
        genres: the genres that the model knows.

    Raises:
        ValueError: an unknown genre, an empty blend, or a weight that is negative or not a number.
    """
    allowed = f"allowed: {', '.join(genres)}"
    if isinstance(genre, str):
        genre = {genre: 1.0}
    if not isinstance(genre, Mapping) or not genre:
        raise ValueError(f"genre must be a name or a blend like {{'jazz': 0.7, 'hiphop': 0.3}}, got {genre!r}; {allowed}")
    weights = dict.fromkeys(genres, 0.0)
    for name, weight in genre.items():
        key = find_genre(name, genres)
        if not is_finite_number(weight) or weight < 0:
            raise ValueError(f"the weight of genre {name!r} must be a number >= 0, got {weight!r}")
        weights[key] += float(weight)
    total = sum(weights.values())
    if total <= 0:
        raise ValueError(f"a blend of genres needs at least one weight above 0, got {dict(genre)!r}")
    return [weight / total for weight in weights.values()]


def is_finite_number(value: object) -> bool:
    """Whether it is a number, of Python or NumPy, that a float can hold: a whole number of 400 digits is none."""
    try:
        if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool):
            return False
        return math.isfinite(value)
    except OverflowError:
        return False
