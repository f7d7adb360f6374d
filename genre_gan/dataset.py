"""Labelled tracks from the Hub, folders, `tracks.csv` files and parquet, and splits that say what they keep apart."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genre_gan.audio import SUFFIXES
from genre_gan.genres import GENRES, canonical_genre

if TYPE_CHECKING:
    from datasets import Dataset

DEFAULT_DATASET = "sanchit-gandhi/gtzan"
PROTOCOLS = ("segment", "track", "artist", "fold")
N_FOLDS = 6
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_GENRE_FOLDERS = ("", "genres", "genres_original", "Data/genres_original")


class DataError(ValueError):
    """Data that cannot be used as asked. The message is fit for users."""


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


class TrackSet(Sequence):
    """Tracks of one or several sources, kept as a memory-mapped `datasets.Dataset` and read one at a time.

    `sources` holds, for each track, the place of its source in the list that was loaded.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.ids: list[str] = dataset["id"][:]
        self.genre_names: list[str] = dataset["genre"][:]
        self.artists: list[str] = dataset["artist"][:]
        self.splits: list[str] = dataset["split"][:]
        self.sources: list[int] = dataset["source"][:]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Track:
        row = self.dataset[int(index)]
        audio = row["audio"]["bytes"] or row["audio"]["path"]
        return Track(row["id"], row["genre"], row["artist"], row["split"], audio)

    def select(self, indices: Iterable[int]) -> TrackSet:
        return TrackSet(self.dataset.select([int(index) for index in indices]))

    @property
    def genres(self) -> tuple[str, ...]:
        """The genres that occur: GTZAN's in their order, then others by name."""
        found = set(self.genre_names)
        return tuple(g for g in GENRES if g in found) + tuple(sorted(found - set(GENRES)))


def load_tracks(sources: Sequence[str], genres: Sequence[str] | None = None) -> TrackSet:
    """Gather the tracks of `sources`.

    Args:
        sources: each a Hub data set id, a folder with a `tracks.csv`, a `tracks.csv` itself, a folder of
            `<genre>/*.wav|au|flac|ogg|mp3` (also below `genres/` or `genres_original/`), or a folder of parquet files. A folder
            beside a `tracks.csv` that lists its files takes their rows.
        genres: keep these alone; None keeps all.

    Raises:
        DataError: a source that does not exist, cannot be reached, or holds no labelled audio; a genre nobody has.
    """
    from datasets import concatenate_datasets

    if not sources:
        raise DataError("no data named: give a folder or a Hub data set id")
    parts = [_load_source(str(source)) for source in sources]
    tracks = TrackSet(concatenate_datasets([part.add_column("source", [i] * len(part)) for i, part in enumerate(parts)]))
    if genres is None:
        return tracks
    wanted = [canonical_genre(genre) for genre in genres]
    for genre in wanted:
        if genre not in tracks.genres:
            raise DataError(f"genre {genre!r} is not in the data; it has: {', '.join(tracks.genres)}")
    return tracks.select(i for i, genre in enumerate(tracks.genre_names) if genre in wanted)


def _load_source(source: str) -> Dataset:
    path = Path(source).expanduser()
    if path.is_file() and path.suffix == ".csv":
        return _from_csv(path)
    if path.is_dir():
        if (path / "tracks.csv").is_file():
            return _from_csv(path / "tracks.csv")
        if (path.parent / "tracks.csv").is_file() and (listed := _rows_of_csv(path.parent / "tracks.csv", below=path)):
            return _rows_to_dataset(listed, "")
        if any(path.rglob("*.parquet")):
            return _from_parquet(path)
        return _from_folder(path)
    if path.exists() or not _HUB_ID.fullmatch(source):
        raise DataError(
            f"{source!r} is neither a folder, a tracks.csv nor a Hub data set id like {DEFAULT_DATASET!r}"
        )
    return _from_hub(source)


def _rows_to_dataset(rows: list[dict], looked_for: str) -> Dataset:
    from datasets import Dataset

    if not rows:
        raise DataError(f"no labelled audio found: looked for {looked_for}")
    return Dataset.from_list(rows, features=_features())


def _features():
    # Plain storage types, not datasets.Audio: encoding through that type needs torchcodec.
    from datasets import Features, Value

    text = Value("string")
    return Features(
        {"id": text, "genre": text, "artist": text, "split": text, "audio": {"bytes": Value("large_binary"), "path": text}}
    )


def _row(path: str, genre: str, artist: str = "", split: str = "") -> dict:
    return {
        "id": Path(path).stem,
        "genre": canonical_genre(genre),
        "artist": artist,
        "split": split,
        "audio": {"bytes": None, "path": path},
    }


def _from_csv(path: Path) -> Dataset:
    return _rows_to_dataset(_rows_of_csv(path), f"rows in {path}")


def _rows_of_csv(path: Path, below: Path | None = None) -> list[dict]:
    """The rows of a `tracks.csv`; with `below`, those of files in that folder alone."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        name_column = _find_column(columns, ("file_name", "file", "path", "filename"), path)
        genre_column = _find_column(columns, ("genre", "label"), path)
        return [
            _row(str(path.parent / row[name_column]), row[genre_column], row.get("artist") or "", row.get("split") or "")
            for row in reader
            if below is None or (path.parent / row[name_column]).is_relative_to(below)
        ]


def _find_column(columns: Sequence[str], names: Sequence[str], where: object) -> str:
    for name in names:
        if name in columns:
            return name
    raise DataError(f"{where} has no column {' or '.join(names)}; its columns: {', '.join(columns) or 'none'}")


def _from_folder(root: Path) -> Dataset:
    for below in _GENRE_FOLDERS:
        rows = [
            _row(str(path), path.relative_to(root / below).parts[0])
            for path in sorted((root / below).rglob("*"))
            if path.suffix.lower() in SUFFIXES and len(path.relative_to(root / below).parts) > 1
        ]
        names = {row["genre"] for row in rows}
        if rows and not names <= {canonical_genre(part) for folder in _GENRE_FOLDERS[1:] for part in folder.split("/")}:
            return _rows_to_dataset(rows, "")
    kinds = "|".join(suffix[1:] for suffix in SUFFIXES)
    raise DataError(f"no labelled audio found: looked for {root}/<genre>/*.{kinds}, a tracks.csv and parquet files")


def _from_parquet(root: Path) -> Dataset:
    from datasets import load_dataset

    data_files = sorted(str(path) for path in root.rglob("*.parquet"))
    return _normalise(load_dataset("parquet", data_files=data_files, split="train"), "", root)


def _from_hub(repo_id: str) -> Dataset:
    from datasets import concatenate_datasets, load_dataset

    from genre_gan.hub import offline_when_unreachable

    advice = "or use a local folder: --data path/to/genres, with one folder of audio files for each genre"
    try:
        with offline_when_unreachable():
            parts = load_dataset(repo_id)
    except Exception as error:  # datasets raises many unrelated types for the same causes
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"the Hub data set {repo_id!r} cannot be loaded ({reason}). Check the id and the network, {advice}"
        ) from error
    several = len(parts) > 1
    return concatenate_datasets([_normalise(part, split if several else "", repo_id) for split, part in parts.items()])


def _normalise(dataset: Dataset, split: str, where: object) -> Dataset:
    """Bring a data set of any column names to `_features()`, without decoding or copying sound."""
    from datasets import Audio, ClassLabel

    audio_column = next((name for name, feature in dataset.features.items() if isinstance(feature, Audio)), None)
    if audio_column is None:
        audio_column = _find_column(
            [n for n, f in dataset.features.items() if isinstance(f, dict) and set(f) == {"bytes", "path"}], ("audio",), where
        )
    else:
        dataset = dataset.cast_column(audio_column, Audio(decode=False))
    genre_column = _find_column(dataset.column_names, ("genre", "label"), where)
    genre_feature = dataset.features[genre_column]
    is_class = isinstance(genre_feature, ClassLabel)

    def to_row(row: dict, index: int) -> dict:
        audio = row[audio_column]
        genre = genre_feature.int2str(row[genre_column]) if is_class else str(row[genre_column])
        name = row.get("id") or Path(audio["path"] or row.get("file") or "").stem or f"{split or 'track'}.{index:05d}"
        if split and not row.get("id") and not audio["path"]:
            name = f"{split}.{index:05d}"
        return {
            "id": name,
            "genre": canonical_genre(genre),
            "artist": row.get("artist") or "",
            "split": row.get("split") or split,
            "audio": {"bytes": audio["bytes"], "path": audio["path"]},
        }

    return dataset.map(to_row, with_indices=True, remove_columns=dataset.column_names, features=_features(), desc=None)


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
    lists = files("genre_gan") / "data" / "splits"
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
