"""Labelled tracks, wherever they came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from genre_gan.genres import GENRES

SHOWN_SKIPPED = 10


class DataError(ValueError):
    """Data that cannot be used as asked. The message is fit for users."""


@dataclass(frozen=True)
class Skipped:
    """A track that was left out, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Track:
    """One labelled recording.

    Attributes:
        id: name without folder and suffix, such as `blues.00007`.
        genre: canonical name of the genre.
        artist, split: empty where the source names none.
        audio: path of the file, or its bytes.
    """

    id: str
    genre: str
    artist: str
    split: str
    audio: str | bytes


class Row(NamedTuple):
    """A track before its sound is fetched: `audio` is the path of a file, or gives the bytes of one when it is called."""

    id: str
    genre: str
    artist: str
    split: str
    audio: str | Callable[[], bytes]
    source: int = 0


@dataclass
class Found:
    """What a source holds: its rows, the rows that were left out, and what else should be said about it."""

    rows: list[Row] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class TrackSet(Sequence):
    """Tracks of one or several sources; their sound is read one at a time, from files or memory-mapped tables.

    Attributes:
        ids, genre_names, artists, splits: of each track.
        sources: for each track the place of its source in the list that was loaded.
        skipped: rows that were left out because they have no genre or no sound.
        remarks: what else the sources' reader wants to be known.
    """

    def __init__(self, rows: Iterable[Row], skipped: Sequence[Skipped] = (), remarks: Sequence[str] = ()):
        self._rows, self.skipped, self.remarks = list(rows), tuple(skipped), tuple(remarks)
        self.ids: list[str] = [row.id for row in self._rows]
        self.genre_names: list[str] = [row.genre for row in self._rows]
        self.artists: list[str] = [row.artist for row in self._rows]
        self.splits: list[str] = [row.split for row in self._rows]
        self.sources: list[int] = [row.source for row in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Track:  # type: ignore[override]  # no slices: see `select`
        row = self._rows[int(index)]
        return Track(row.id, row.genre, row.artist, row.split, row.audio if isinstance(row.audio, str) else row.audio())

    def sound(self, index: int) -> str | Callable[[], bytes]:
        """The path of a track's file, or what gives its bytes, which may have a `key`: see `columns.StoredSound`."""
        return self._rows[int(index)].audio

    def select(self, indices: Iterable[int]) -> TrackSet:
        return TrackSet([self._rows[int(index)] for index in indices], self.skipped, self.remarks)

    def joined(self, rows: Iterable[Row]) -> TrackSet:
        """These tracks and, behind them, more."""
        return TrackSet([*self._rows, *rows], self.skipped, self.remarks)

    @property
    def genres(self) -> tuple[str, ...]:
        """The genres that occur: GTZAN's in their order, then others by name."""
        found = set(self.genre_names)
        return tuple(g for g in GENRES if g in found) + tuple(sorted(found - set(GENRES)))

    @property
    def tracks_per_genre(self) -> dict[str, int]:
        """How many tracks each genre has, in the order of `genres`."""
        counts = Counter(self.genre_names)
        return {genre: counts[genre] for genre in self.genres}

    def describe(self) -> str:
        """What was found, in a few lines: genres with their counts, rows left out, remarks."""
        counts = self.tracks_per_genre
        word = "genre" if len(counts) == 1 else "genres"
        lines = [f"found {len(self)} tracks of {len(counts)} {word}: " + ", ".join(f"{g} {n}" for g, n in counts.items())]
        if self.skipped:
            listed = "; ".join(f"{item.id}: {item.reason}" for item in self.skipped[:SHOWN_SKIPPED])
            more = f"; and {len(self.skipped) - SHOWN_SKIPPED} more" if len(self.skipped) > SHOWN_SKIPPED else ""
            lines.append(f"left out {len(self.skipped)}: {listed}{more}")
        return "\n".join([*lines, *self.remarks])
