"""Splits of tracks into a training and a validation side, each of which says what it keeps apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from genre_gan.data.sources import DataError, TrackSet

PROTOCOLS = ("segment", "track", "artist", "fold")
N_FOLDS = 6


@dataclass(frozen=True)
class Split:
    """Which items train and which validate.

    Attributes:
        protocol: `segment`, `track`, `artist` or `fold`.
        train, valid: indices [shape=(n,)] of tracks, or of segments under the `segment` protocol.
        leaks: True where slices of one track stand on both sides, so that the figures flatter.
    """

    protocol: str
    train: np.ndarray
    valid: np.ndarray
    leaks: bool


def published_split() -> dict[str, str]:
    """`{track id: train|valid|test}` of the fault-filtered GTZAN split (Kereliuk, Sturm & Larsen 2015)."""
    lists = files("genre_gan") / "data" / "facts"
    return {
        line.strip(): name
        for name in ("train", "valid", "test")
        for line in (lists / f"{name}_filtered.txt").read_text().splitlines()
        if line.strip()
    }


def split_tracks(tracks: TrackSet, protocol: str, valid_fraction: float = 0.2, seed: int = 0) -> Split:
    """Split `tracks` by the `track`, the `artist` or the `fold` protocol.

    `track`: stratified by genre, every track on one side. `artist`: no artist on both sides. A `split` column of the
    data counts first, then an `artist` column, then the published fault-filtered lists for GTZAN ids; tracks of other
    splits (test, unlisted) and tracks of which none of the three is known join neither side. `fold`: one of the `N_FOLDS`
    parts of `artist_folds`, chosen by `seed`, validates; unlike the published validation list it has every genre.

    Raises:
        DataError: a genre with too few tracks or artists for two sides, or no artist known at all.
    """
    if protocol == "segment":
        raise ValueError("the segment protocol splits slices, not tracks: use split_segments")
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    _check_fraction(valid_fraction)
    rng = np.random.default_rng(seed)
    if protocol == "track":
        sides = _split_groups(tracks, range(len(tracks)), lambda i: i, valid_fraction, rng)
    elif protocol == "fold":
        folds = artist_folds(tracks)
        sides = {i: "valid" if folds[i] == (seed + 1) % N_FOLDS else "train" for i in np.flatnonzero(folds >= 0)}
    else:
        sides = _split_artists(tracks, valid_fraction, rng)
    train = np.array([i for i, side in sorted(sides.items()) if side == "train"], dtype=np.int64)
    valid = np.array([i for i, side in sorted(sides.items()) if side == "valid"], dtype=np.int64)
    if len(train) == 0 or len(valid) == 0:
        raise DataError(
            f"the {protocol} split leaves {len(train)} tracks to train and {len(valid)} to validate; both need some. "
            "An artist split needs GTZAN track ids (blues.00000), an artist column or a split column"
        )
    missing = set(tracks.genres) - {tracks.genre_names[i] for i in train}
    if missing:
        raise DataError(f"the {protocol} split leaves no training track for: {', '.join(sorted(missing))}")
    return Split(protocol, train, valid, leaks=False)


def artist_folds(tracks: TrackSet, n_folds: int = N_FOLDS) -> np.ndarray:
    """Divide `tracks` for cross-validation: the fold of each, from 0 to `n_folds` - 1 [shape=(n_tracks,)].

    Where the artist is named, an artist's tracks share a fold. GTZAN names none but lists an artist's tracks one after the
    other (Sturm, arXiv 1306.1461, table 1), so a genre is cut into `n_folds` runs of consecutive ids: only an artist on a cut
    stands on both sides of it. Tracks that the published split leaves out as faulty or repeated get fold -1.
    """
    if n_folds < 2:
        raise ValueError(f"n_folds must be at least 2, got {n_folds!r}")
    folds = np.full(len(tracks), -1, dtype=np.int64)
    for genre in tracks.genres:
        members = [i for i, name in enumerate(tracks.genre_names) if name == genre and tracks.splits[i] != "unlisted"]
        unnamed = sorted((i for i in members if not tracks.artists[i]), key=lambda i: tracks.ids[i])
        for fold, part in enumerate(np.array_split(unnamed, n_folds)):
            folds[part.astype(np.int64)] = fold
        by_artist = Counter(tracks.artists[i] for i in members if tracks.artists[i])
        sizes = np.zeros(n_folds)
        for artist, size in sorted(by_artist.items(), key=lambda item: (-item[1], item[0])):
            taken = [folds[i] for i, name in enumerate(tracks.artists) if name == artist and folds[i] >= 0]
            fold = int(taken[0]) if taken else int(sizes.argmin())
            sizes[fold] += size
            folds[[i for i in members if tracks.artists[i] == artist]] = fold
    return folds


def split_segments(n_segments: int, valid_fraction: float = 0.2, seed: int = 0) -> Split:
    """The report's protocol: shuffle all slices, whatever their track. Slices of a track land on both sides."""
    _check_fraction(valid_fraction)
    n_valid = round(valid_fraction * n_segments)
    if not 0 < n_valid < n_segments:
        raise DataError(f"{n_segments} segments are too few to split with valid_fraction {valid_fraction}")
    order = np.random.default_rng(seed).permutation(n_segments)
    return Split("segment", np.sort(order[n_valid:]), np.sort(order[:n_valid]), leaks=True)


def _check_fraction(valid_fraction: float) -> None:
    if not 0 < valid_fraction < 1:
        raise ValueError(f"valid_fraction must be between 0 and 1, got {valid_fraction!r}")


def _split_artists(tracks: TrackSet, valid_fraction: float, rng: np.random.Generator) -> dict[int, str]:
    published = published_split()
    sides, by_artist = {}, []
    for i, (track_id, artist, split) in enumerate(zip(tracks.ids, tracks.artists, tracks.splits)):
        if split:
            sides[i] = split
        elif artist:
            by_artist.append(i)
        elif track_id in published:
            sides[i] = published[track_id]
    sides.update(_split_groups(tracks, by_artist, lambda i: tracks.artists[i], valid_fraction, rng))
    for artist in set(tracks.artists) - {""}:
        crossing = {sides.get(i) for i, name in enumerate(tracks.artists) if name == artist} & {"train", "valid"}
        if len(crossing) > 1:
            raise DataError(f"artist {artist!r} stands on both sides of the data's own split; correct its split column")
    return sides


def _split_groups(tracks: TrackSet, indices: Iterable[int], group_of, valid_fraction: float, rng) -> dict[int, str]:
    """Send whole groups to `valid`, genre by genre, until each genre has its share; a group never divides."""
    members, genre_groups, genre_sizes = defaultdict(list), defaultdict(set), Counter()
    for i in indices:
        members[group_of(i)].append(i)
        genre_groups[tracks.genre_names[i]].add(group_of(i))
        genre_sizes[tracks.genre_names[i]] += 1
    side_of: dict[object, str] = {}
    for genre in sorted(genre_groups):
        groups = sorted(genre_groups[genre])
        if len(groups) < 2:
            side_of.setdefault(groups[0], "train")
            continue
        wanted = max(1, round(valid_fraction * genre_sizes[genre]))
        n_valid = sum(tracks.genre_names[i] == genre for g in groups if side_of.get(g) == "valid" for i in members[g])
        free = [groups[k] for k in rng.permutation(len(groups)) if groups[k] not in side_of]
        has_train = any(side_of.get(group) == "train" for group in groups)
        for position, group in enumerate(free):
            size = sum(tracks.genre_names[i] == genre for i in members[group])
            last_hope = not has_train and position == len(free) - 1
            if n_valid < wanted and not last_hope and (n_valid == 0 or n_valid + size <= 1.5 * wanted):
                side_of[group] = "valid"
                n_valid += size
            else:
                side_of[group] = "train"
                has_train = True
    return {i: side_of[group] for group, group_members in members.items() for i in group_members}
