"""Labelled tracks from the Hub, folders, `tracks.csv` files and parquet."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genre_gan.audio import SUFFIXES
from genre_gan.genres import GENRES, canonical_genre

if TYPE_CHECKING:
    from datasets import Dataset

DEFAULT_DATASET = "sanchit-gandhi/gtzan"
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
