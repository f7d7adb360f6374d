"""Splits of tracks into a training and a validation side, each of which says what it keeps apart."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from genre_gan.data.sources import DataError, TrackSet

PROTOCOLS = ("segment", "track", "artist", "fold")
N_FOLDS = 5
_N_SHUFFLES = 20


@dataclass(frozen=True)
class Split:
    """Which items train and which validate.

    Attributes:
        protocol: `segment`, `track`, `artist`, or `fold`, which is another name for `artist`.
        train, valid: indices [shape=(n,)] of tracks, or of segments under the `segment` protocol.
        leaks: True where slices of one track stand on both sides, so that the figures flatter.
        n_left_out: faulty and repeated tracks that stand on neither side.
        n_unknown_artists: tracks on either side whose artist nobody knows, each taken as by an artist of its own.
    """

    protocol: str
    train: np.ndarray
    valid: np.ndarray
    leaks: bool
    n_left_out: int = 0
    n_unknown_artists: int = 0

    def summary(self) -> str:
        """Such as "artist split: 350 to train, 88 to validate; 29 faulty or repeated tracks left out"."""
        text = f"{self.protocol} split: {len(self.train)} to train, {len(self.valid)} to validate"
        if self.leaks:
            text += "; slices of a track stand on both sides"
        if self.n_left_out:
            text += f"; {self.n_left_out} faulty or repeated tracks left out"
        if self.n_unknown_artists:
            text += f"; {self.n_unknown_artists} tracks of unknown artists, each taken as by an artist of its own"
        return text

    def trained(self, tracks: TrackSet) -> TrackSet:
        """Those of `tracks` that are learned from: all of them where slices are split."""
        return tracks if self.leaks else tracks.select(self.train)

    def doubt(self, record: Mapping[str, Any], tracks: TrackSet, seed: int) -> str:
        """Why a model with this training record may have heard other tracks than the training side of this split of `tracks`.

        Empty where it learned from that side, or from a part of it.
        """
        alike = ("artist", "fold")
        summaries = [replace(self, protocol=name).summary() for name in (alike if self.protocol in alike else (self.protocol,))]
        heard, trained = record.get("tracks_per_genre", {}), self.trained(tracks).tracks_per_genre
        is_part = bool(heard) and all(n <= trained.get(genre, 0) for genre, n in heard.items())
        said, its_seed = record.get("split"), record.get("fold", record.get("seed"))
        if is_part and said in summaries and its_seed == seed:
            return ""
        here = f"{self.summary()!r}, seed {seed}, {trained!r}"
        return f"it was trained by {said!r}, seed {its_seed!r}, on {heard!r}, and here is {here}"


def split_tracks(tracks: TrackSet, protocol: str, valid_fraction: float = 0.2, seed: int = 0) -> Split:
    """Split `tracks` by the `track` or the `artist` protocol; every genre stands on both sides.

    `track`: no track on both sides. `artist`, also called `fold`: no artist on both sides. Either way the tracks are divided
    into 1 / `valid_fraction` folds, fewer where a genre has fewer artists, and fold number `seed` validates, so that seeds
    that follow each other give a cross-validation.

    Raises:
        DataError: a genre that cannot stand on both sides.
    """
    if protocol == "segment":
        raise ValueError("the segment protocol splits slices, not tracks: use split_segments")
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    if not 0 < valid_fraction <= 0.5:
        raise ValueError(f"valid_fraction must be above 0 and at most 0.5, got {valid_fraction!r}")
    by_artist = protocol != "track"
    groups, unknown = artist_groups(tracks) if by_artist else (np.arange(len(tracks)), np.zeros(len(tracks), bool))
    folds = _divide(tracks, groups, range(round(1 / valid_fraction), 1, -1), "artist" if by_artist else "track")
    used, valid = folds >= 0, folds == seed % (folds.max() + 1)
    train = np.flatnonzero(used & ~valid)
    return Split(protocol, train, np.flatnonzero(valid), False, int((~used).sum()), int(unknown[used].sum()))


def artist_folds(tracks: TrackSet, n_folds: int = N_FOLDS) -> np.ndarray:
    """Divide `tracks` for cross-validation: the fold of each, from 0 to `n_folds` - 1 [shape=(n_tracks,)].

    No artist stands in two folds, and every genre stands in each. Of several shuffled runs of scikit-learn's
    `StratifiedGroupKFold` the one counts that shares out the genres most evenly; the result depends on the tracks alone.
    Faulty and repeated tracks of GTZAN get fold -1.

    Raises:
        DataError: a genre with too few artists.
    """
    if n_folds < 2:
        raise ValueError(f"n_folds must be at least 2, got {n_folds!r}")
    return _divide(tracks, artist_groups(tracks)[0], [n_folds], "artist")


def split_segments(n_segments: int, seed: int = 0) -> Split:
    """The report's protocol: shuffle all slices, whatever their track, and validate on a fifth. Tracks land on both sides."""
    n_valid = round(n_segments / N_FOLDS)
    if n_valid == 0:
        raise DataError(f"{n_segments} segments are too few to validate on a fifth of them")
    order = np.random.default_rng(seed).permutation(n_segments)
    return Split("segment", np.sort(order[n_valid:]), np.sort(order[:n_valid]), leaks=True)


def artist_groups(tracks: TrackSet) -> tuple[np.ndarray, np.ndarray]:
    """Which tracks share artists, directly or through others.

    Names come from the data's artist column, and for GTZAN's ids from Sturm's index (arXiv 1306.1461) where the data names
    none. See `artist_names` for how they are compared.

    Returns:
        The number of each track's group, and whether nobody knows its artist, so that it is a group of its own
        [shape=(n_tracks,) both].
    """
    index = gtzan_artists()
    names = [artist_names(artist or index.get(track_id, "")) for track_id, artist in zip(tracks.ids, tracks.artists, strict=True)]
    number = {name: i for i, name in enumerate(sorted(set().union(*names)))}
    edges = [(i, len(tracks) + number[name]) for i, found in enumerate(names) for name in found]
    ends = np.array(edges, np.int64).reshape(-1, 2).T
    n_nodes = len(tracks) + len(number)
    graph = coo_array((np.ones(len(edges)), (ends[0], ends[1])), shape=(n_nodes, n_nodes))
    groups = connected_components(graph, directed=False)[1][: len(tracks)]
    return groups, np.array([not found for found in names], dtype=bool)


def artist_names(artist: str) -> set[str]:
    """The names in an artist column as they are compared: without case, accents, a leading "The", spaces and punctuation.

    Several are separated by `;` or "feat."; of "Bob Marley & the Wailers" the leader counts too. Empty where none is known.
    """
    found = set()
    for name in re.split(r";|\b(?:feat|ft)\.|\bfeaturing\b", artist, flags=re.IGNORECASE):
        plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
        plain = re.sub(r"\s+", " ", plain.replace("&", " and ")).strip()
        if plain in ("", "unknown", "unknown artist"):
            continue
        for variant in {plain, plain.split(" and the ")[0]}:
            variant = re.sub(r"^the |, the$", "", variant)
            found.add("".join(c for c in variant if c.isalnum()) or variant)
    return found


def gtzan_artists() -> dict[str, str]:
    """`{track id: artist}` of GTZAN's 1000 tracks, empty for 17 (B. L. Sturm's index of 2024; arXiv 1306.1461)."""
    return {row["id"]: row["artist"] for row in _facts("gtzan_artists.csv")}


def _faulty(tracks: TrackSet) -> np.ndarray:
    """Which tracks are GTZAN's faulty or repeated ones [shape=(n_tracks,)].

    These are the ids that Foleiss & Tavares or the fault-filtered split (Kereliuk, Sturm & Larsen 2015) leave out. Other
    collections number their files in the same way: a track whose artist is another than GTZAN's of that id is not GTZAN's.
    """
    faults, index = {row["id"] for row in _facts("gtzan_faults.csv")}, gtzan_artists()
    return np.array(
        [
            track_id in faults and (not artist or artist_names(artist) == artist_names(index[track_id]))
            for track_id, artist in zip(tracks.ids, tracks.artists, strict=True)
        ],
        dtype=bool,
    )


def _facts(name: str) -> Iterator[dict[str, str]]:
    text = (files("genre_gan") / "data" / "facts" / name).read_text(encoding="utf-8")
    yield from csv.DictReader(text.splitlines())


def _divide(tracks: TrackSet, groups: np.ndarray, numbers_of_folds: Sequence[int], what: str) -> np.ndarray:
    """The fold of each track [shape=(n_tracks,)], with as many folds as is possible first of these numbers.

    Tracks of one group [shape=(n_tracks,)] stay together; `what` the groups are is for the error. GTZAN's faulty and repeated
    tracks get fold -1.
    """
    folds = np.full(len(tracks), -1, dtype=np.int64)
    usable = np.flatnonzero(~_faulty(tracks))
    if len(usable) == 0:
        raise DataError(f"the {what} split has no track to divide: {len(tracks)} given, {len(tracks)} faulty or repeated")
    genre_ids = np.unique([tracks.genre_names[i] for i in usable], return_inverse=True)[1]
    for n_folds in numbers_of_folds:
        found = _most_even_folds(tuple(genre_ids.tolist()), tuple(groups[usable].tolist()), n_folds)
        if found is not None:
            folds[usable] = found
            return folds
    raise _cannot_divide(tracks, usable, groups, numbers_of_folds[-1], what)


@lru_cache(maxsize=8)  # all folds of a cross-validation ask for the same
def _most_even_folds(of_tracks: tuple[int, ...], groups: tuple[int, ...], n_folds: int) -> np.ndarray | None:
    """The fold of each track, by its genre and group, with the genres shared out most evenly; None if one lacks a genre."""
    from sklearn.model_selection import StratifiedGroupKFold

    genre_ids = np.array(of_tracks)
    sizes = np.bincount(genre_ids)
    if any(len(np.unique(np.array(groups)[genre_ids == genre])) < n_folds for genre in range(len(sizes))):
        return None
    best: tuple[float, np.ndarray | None] = (np.inf, None)
    for shuffle in range(_N_SHUFFLES):
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=shuffle)
        folds = np.empty(len(genre_ids), dtype=np.int64)
        for fold, (_, valid) in enumerate(splitter.split(genre_ids, genre_ids, groups)):
            folds[valid] = fold
        counts = np.zeros((len(sizes), n_folds))
        np.add.at(counts, (genre_ids, folds), 1)
        unevenness = float(np.square(counts / sizes[:, None] - 1 / n_folds).sum())
        if counts.all() and unevenness < best[0]:
            best = (unevenness, folds)
    return best[1]


def _cannot_divide(tracks: TrackSet, usable: np.ndarray, groups: np.ndarray, n_folds: int, what: str) -> DataError:
    """The error that names the genre with the fewest groups, and its artists."""
    members = defaultdict(list)
    for i in usable:
        members[tracks.genre_names[i]].append(i)
    genre = min(members, key=lambda name: len({groups[i] for i in members[name]}))
    n_groups, index = len({groups[i] for i in members[genre]}), gtzan_artists()
    artists = sorted({tracks.artists[i] or index.get(tracks.ids[i], "") or "unknown" for i in members[genre]})
    named = ", ".join(artists[:8]) + (f" and {len(artists) - 8} more" if len(artists) > 8 else "")
    size = f"{len(members[genre])} {'track' if len(members[genre]) == 1 else 'tracks'}"
    by = f"{n_groups} {'artist' if n_groups == 1 else 'artists'} or groups of artists that share tracks"
    return DataError(
        f"genre {genre!r} cannot stand on both sides of each of {n_folds} {what} folds: it has {size} by {by} ({named}). "
        "Add tracks by other artists, leave the genre out, or ask for fewer folds"
    )
