"""The ten GTZAN genres, and how users name one genre or a blend of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")


def canonical_genre(name: str) -> str:
    """Lower-case `name` and drop spaces, hyphens and underscores: `"Hip-Hop"` becomes `"hiphop"`."""
    return "".join(character for character in name.lower() if character not in " -_")


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
        key = canonical_genre(name) if isinstance(name, str) else name
        if key not in weights:
            raise ValueError(f"genre {name!r} is unknown; {allowed}")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight < 0:
            raise ValueError(f"the weight of genre {name!r} must be a number >= 0, got {weight!r}")
        weights[key] += float(weight)
    total = sum(weights.values())
    if total <= 0:
        raise ValueError(f"a blend of genres needs at least one weight above 0, got {dict(genre)!r}")
    return [weight / total for weight in weights.values()]
