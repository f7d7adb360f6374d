"""A guess in words and as a row of a table, for the page and the command line alike."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genre_gan.classify import Guess

MAX_CHANGES = 3  # that are told one by one
MIN_KNOWN = 0.1  # probability of being one of the genres below which it is of no use to name the nearest
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def clock(time_s: float) -> str:
    """Seconds as minutes and seconds: 72.3 is 1:12."""
    return f"{int(time_s) // 60}:{int(time_s) % 60:02d}"


def passages(guess: Guess) -> list[tuple[float, str]]:
    """The parts of the music between its changes: start in seconds, and the genre that it is closest to."""
    found: list[tuple[float, str]] = []
    for start_s, stop_s in zip((0.0, *guess.changes), (*guess.changes, math.inf), strict=True):
        heard = [point.probabilities for point in guess.timeline if start_s <= point.start_s < stop_s]
        genre = max(guess.probabilities, key=lambda name: sum(probabilities[name] for probabilities in heard))
        if not found or found[-1][1] != genre:
            found.append((start_s, genre))
    return found


def sentence(guess: Guess) -> str:
    """What a guess says, in a sentence: "Sounds like jazz (62 %); from 0:12 closer to blues."."""
    if not guess.is_sure:
        n_genres = len(guess.probabilities)
        return f"None of my {_COUNTS[n_genres] if n_genres < len(_COUNTS) else n_genres} genres, as far as I can tell."
    text = f"Sounds like {guess.genre} ({guess.probabilities[guess.genre]:.0%})".replace("%", " %")
    (_, first), *later = passages(guess)
    changes = [] if first == guess.genre else [f"at first closer to {first}"]
    changes += [f"from {clock(start_s)} closer to {genre}" for start_s, genre in later]
    if len(changes) > MAX_CHANGES:
        changes = [*changes[: MAX_CHANGES - 1], f"and {len(changes) - MAX_CHANGES + 1} more changes"]
    return "; ".join([text, ", ".join(changes)] if changes else [text]) + "."


def strongest_moment(guess: Guess) -> str:
    """Which seconds spoke most for the genre, in a sentence; nothing where there is one slice only, or no genre."""
    if not guess.is_sure or len(guess.timeline) < 2:
        return ""
    best = max(guess.timeline, key=lambda point: point.probabilities[guess.genre])
    return f"Most like {guess.genre} from {clock(best.start_s)} to {clock(best.end_s)}."


def nearest(guess: Guess) -> str:
    """What an unsure guess leans to, in a sentence; nothing where it hears none of its genres at all."""
    if guess.is_sure or guess.known < MIN_KNOWN:
        return ""
    return f"Nearest to {', then '.join(f'{genre} ({100 * p:.0f} %)' for genre, p in guess.top(2))}."


def table(results: Mapping[str, Guess | str], genres: Sequence[str]) -> tuple[list[str], list[list[str | float]]]:
    """A header and one row for each sound: its name, the verdict, the probability of every genre, and what went wrong.

    Args:
        results: by name, a guess, or the words of an error.
        genres: of the classifier.
    """
    header = ["file", "genre", *(f"p_{genre}" for genre in genres), "error"]
    rows: list[list[str | float]] = []
    for name, result in results.items():
        if isinstance(result, str):
            rows.append([name, "", *[""] * len(genres), result])
        else:
            rows.append([name, result.verdict, *(round(result.probabilities[genre], 4) for genre in genres), ""])
    return header, rows


def csv_text(results: Mapping[str, Guess | str], genres: Sequence[str]) -> str:
    """`table` as CSV. A name that a spreadsheet would take for a formula is written behind an apostrophe.

    Of names only what no table can hold becomes a question mark: control characters, and halves of characters.
    """
    text = io.StringIO()
    header, rows = table(results, genres)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for raw_name, *rest in rows:
        name = "".join("?" if unicodedata.category(c) in ("Cc", "Cs") else c for c in str(raw_name))
        writer.writerow([f"'{name}" if name.startswith(("=", "+", "-", "@")) else name, *rest])
    return text.getvalue()
