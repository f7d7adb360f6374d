"""Tracks in `datasets` tables: columns are found by what they hold, and sound is not copied."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genre_gan.arrays import decode_array
from genre_gan.data.tables import (
    ARTIST_COLUMNS,
    FILE_COLUMNS,
    GENRE_COLUMNS,
    IS_POINTER,
    LFS_POINTER,
    SPLIT_COLUMNS,
    SPLITS,
    find_column,
    read_artist,
    read_genre,
    split_of,
)
from genre_gan.data.tracks import DataError, Found, Row, Skipped
from genre_gan.data.tree import named_file
from genre_gan.decode import AudioError

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_SOUND_COLUMNS = (*FILE_COLUMNS[:8], "audio", "wav", "mp3", "sound")
_SAMPLES_COLUMNS = ("audio", "array", "samples", "waveform", "wav", "sound")  # which hold numbers, beside one of rates
_RATE_COLUMNS = ("sampling_rate", "sample_rate", "samplerate", "sample_rate_hz", "sr", "rate")
_ARRAY_FIELDS = {"array", "sampling_rate"}


def from_parquet(paths: Sequence[Path], within: Path | None = None) -> Found | None:
    """The tracks of parquet files; those without sound are passed over, and a name such as `test-00000.parquet` tells a split.

    None where no file has a column of sound. Files outside of `within` that they name are not taken.

    Raises:
        DataError: a file is damaged or a pointer of Git LFS; those with sound have no genres.
    """
    from datasets import load_dataset

    with_sound = [path for path in sorted(paths) if _has_sound(path)]
    if not with_sound:
        return None
    groups: dict[tuple, list[Path]] = defaultdict(list)  # files of one split whose columns and classes are the same
    for path in with_sound:
        schema = _metadata(path).schema.to_arrow_schema()
        classes = (schema.metadata or {}).get(b"huggingface", b"")
        if _metadata(path).num_rows:
            groups[split_of(path.name) or split_of(path.parent.name), str(schema.remove_metadata()), classes].append(path)
    if not groups:
        raise DataError(f"the parquet file {with_sound[0]} has no rows")
    found, n_splits = Found(), len({split for split, *_ in groups})
    folders = sorted({path.parent.name for path in with_sound if not split_of(path.parent.name)})
    if len(folders) > 1:
        found.remarks.append(f"parquet files of {', '.join(folders)} were taken together: are all their tracks distinct?")
    for (split, *_), files in groups.items():
        try:
            part = load_dataset("parquet", data_files=[escape(str(path)) for path in files], split="train")
        except Exception as error:  # datasets raises many unrelated types for the same causes
            raise DataError(f"the parquet files {files[0]} and so on cannot be read: {_first_cause(error)}") from error
        lengths = [_metadata(path).num_rows for path in files]
        places = [f"{path.name} row {row}" for path, length in zip(files, lengths, strict=True) for row in range(1, length + 1)]
        add_dataset(found, part, split if n_splits > 1 else "", places, files[0].parent, within)
    return found


def from_saved(path: Path, within: Path | None = None) -> Found:
    """The tracks of what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    from datasets import DatasetDict, load_from_disk

    try:
        saved = load_from_disk(str(path))
    except Exception as error:  # datasets raises many unrelated types for the same causes
        raise DataError(f"the saved data set {path} cannot be read: {_first_cause(error)}") from error
    parts = saved if isinstance(saved, DatasetDict) else {"": saved}
    found = Found()
    for name, part in parts.items():
        split = SPLITS.get(name.lower(), name) if len(parts) > 1 else ""
        places = [f"{name or path.name} row {row}" for row in range(1, len(part) + 1)]
        add_dataset(found, part, split, places, path, within)
    return found


def stream_rows(dataset: IterableDataset, folder: Path) -> tuple[IterableDataset, tuple[str, ...]]:
    """A stream's rows as `sound`, the bytes of a file, `genre`, and `problem` where one is missing; and its declared classes."""
    audio_column, genre_column = _audio_column(dataset, folder), _genre_column(dataset, folder)
    classes, rate_column = _class_names(dataset, genre_column), _rate_column(dataset, audio_column, folder)
    dataset = _undecoded(dataset, audio_column)

    def read(row: dict[str, Any]) -> dict[str, Any]:
        genre, problem = read_genre(_named(row[genre_column], classes))
        value = _cell(row, audio_column, rate_column)
        has_sound = bool(value) and (isinstance(value, bytes) or bool(value.get("bytes")) or value.get("array") is not None)
        problem, sound = problem or ("" if has_sound else "no sound"), b""
        try:
            sound = _file_bytes(value) if has_sound else b""
        except AudioError as error:
            problem = problem or str(error)
        return {"sound": sound, "genre": genre, "problem": problem}

    names = [read_genre(name)[0] for name in classes]
    return dataset.map(read, remove_columns=dataset.column_names), tuple(name for name in names if name)


def add_dataset(
    found: Found, dataset: Dataset, split: str, places: Sequence[str], folder: Path, within: Path | None = None
) -> None:
    """Add the rows of `dataset` to `found`; `places` names them for messages, and paths are relative to `folder`."""
    audio_column, genre_column = _audio_column(dataset, folder), _genre_column(dataset, folder)
    rate_column = _rate_column(dataset, audio_column, folder)
    dataset = _undecoded(dataset, audio_column)
    plain = {name.lower(): name for name in dataset.column_names}
    others = {key: find_column(plain, names) for key, names in
              (("artist", ARTIST_COLUMNS), ("split", SPLIT_COLUMNS), ("id", ("id", "track_id")), ("file", FILE_COLUMNS[:8]))}
    columns = {key: dataset.select_columns([name])[name][:] for key, name in others.items() if name not in (None, audio_column)}
    names, problems = _genres(dataset, genre_column)
    has_sound, paths = _sound_of(dataset, audio_column)
    for i, (genre, problem) in enumerate(zip(names, problems, strict=True)):
        said = {key: str(values[i]) if values[i] is not None else "" for key, values in columns.items()}
        name = said.get("id") or Path(paths[i] or said.get("file") or "").stem or f"{split or 'track'}.{i:05d}"
        if split and not said.get("id") and not paths[i]:
            name = f"{split}.{i:05d}"
        audio: str | StoredSound = StoredSound(dataset, audio_column, i, rate_column)
        if not has_sound[i]:
            file = named_file(folder, paths[i], within) if paths[i] else None
            problem = problem or ("" if file else f"no such file: {folder / paths[i]}" if paths[i] else "no sound")
            audio = str(file)
        if problem:
            found.skipped.append(Skipped(name, f"{places[i]}: {problem}"))
            continue
        row_split = said.get("split", "").lower()
        found.rows.append(Row(name, genre, read_artist(said.get("artist")), SPLITS.get(row_split, row_split) or split, audio))


def _audio_column(dataset: Dataset | IterableDataset, folder: Path) -> str:
    from datasets import Audio

    ranks = {}
    for name, feature in dataset.features.items():
        parts = set(feature) if isinstance(feature, dict) else set()
        ranks[name] = 0 if isinstance(feature, Audio) else _rank(name, parts, _is_list(feature))
    likely = {name: rank for name, rank in ranks.items() if rank is not None}
    if likely:
        return min(likely, key=likely.__getitem__)
    raise DataError(f"{folder} has no column of sound; its columns: {', '.join(ranks) or 'none'}")


def _rank(name: str, parts: set[str], is_list: bool) -> int | None:
    """How likely a column holds sound, the least number the likeliest; None where it does not. `parts` are those of an object."""
    if {"bytes", "path"} <= parts or parts >= _ARRAY_FIELDS or (is_list and name.lower() in _SAMPLES_COLUMNS):
        return 1
    return 2 if name.lower() in _SOUND_COLUMNS else None


def _is_list(feature: Any) -> bool:
    return isinstance(feature, list) or hasattr(feature, "feature")


def _rate_column(dataset: Dataset | IterableDataset, audio_column: str, folder: Path) -> str | None:
    """The column with the sample rates of samples that have a column of their own; None for sound that knows its rate."""
    if not _is_list(dataset.features[audio_column]):
        return None
    column = find_column({name.lower(): name for name in dataset.column_names}, _RATE_COLUMNS)
    if column is None:
        raise DataError(f"{folder} has samples in its column {audio_column!r}, but none of their sample rates: sampling_rate")
    return column


def _cell(row: Mapping[str, Any], column: str, rate_column: str | None) -> Any:
    return {"array": row[column], "sampling_rate": row[rate_column]} if rate_column else row[column]


def _genre_column(dataset: Dataset | IterableDataset, folder: Path) -> str:
    from datasets import ClassLabel

    column = find_column({name.lower(): name for name in dataset.column_names}, GENRE_COLUMNS)
    classes = [name for name, feature in dataset.features.items() if isinstance(feature, ClassLabel)]
    if column is None and len(classes) == 1:
        return classes[0]
    if column is None:
        raise DataError(f"{folder} has no column genre or label; its columns: {', '.join(dataset.column_names) or 'none'}")
    return column


def _undecoded(dataset: Any, column: str) -> Any:
    from datasets import Audio

    return dataset.cast_column(column, Audio(decode=False)) if isinstance(dataset.features[column], Audio) else dataset


def _class_names(dataset: Dataset | IterableDataset, column: str) -> list[str]:
    """The names of a column's classes; none where it holds no numbers of classes."""
    feature = dataset.features[column]
    return list(getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None) or ())


def _named(value: Any, classes: Sequence[str]) -> Any:
    """A cell with numbers of classes, or lists of them, replaced by their names."""
    if isinstance(value, list):
        return [_named(item, classes) for item in value]
    if not classes:
        return value
    return classes[value] if value is not None and 0 <= value < len(classes) else None


def _genres(dataset: Dataset, column: str) -> tuple[list[str], list[str]]:
    """The genre of each row, and why it has none."""
    classes = _class_names(dataset, column)
    pairs = [read_genre(_named(value, classes)) for value in dataset.select_columns([column])[column][:]]
    return [genre for genre, _ in pairs], [problem for _, problem in pairs]


def _sound_of(dataset: Dataset, column: str) -> tuple[np.ndarray, list[str]]:
    """Whether each row holds sound itself [shape=(n,)], and the path that it names, without reading any of it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = dataset.with_format("arrow").select_columns([column])[:]
    values, paths = table.column(column), [None] * len(table)
    if str(values.type) in ("string", "large_string", "string_view"):
        return np.zeros(len(values), bool), [path or "" for path in values.to_pylist()]
    if pa.types.is_struct(values.type):
        fields = {field.name for field in values.type}
        paths = pc.struct_field(values, "path").to_pylist() if "path" in fields else paths
        values = pc.struct_field(values, "bytes" if "bytes" in fields else "array")
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        is_there = pc.greater(pc.binary_length(values), 0)
    elif pa.types.is_nested(values.type):
        is_there = pc.greater(pc.list_value_length(values), 0)
    else:
        is_there = pc.is_valid(values)
    return pc.fill_null(is_there, False).to_numpy(), [path or "" for path in paths]


@dataclass(frozen=True)
class StoredSound:
    """Sound inside a data set; called it gives the bytes of a file."""

    dataset: Dataset
    column: str
    row: int
    rate_column: str | None = None

    @property
    def key(self) -> str:
        """What changes whenever the sound may have: the fingerprint of the data set, and the place in it."""
        return f"{self.dataset._fingerprint}/{self.column}/{self.row}"

    def __call__(self) -> bytes:
        return _file_bytes(_cell(self.dataset[self.row], self.column, self.rate_column))


def _file_bytes(value: Any) -> bytes:
    """A cell of sound as the bytes of a file; `AudioError` for samples or a sample rate that make no sense."""
    import soundfile

    if isinstance(value, bytes):
        return value
    if value.get("bytes"):
        return value["bytes"]
    samples = np.asarray(value["array"])
    samples = samples.T if samples.ndim == 2 and samples.shape[0] < samples.shape[1] else samples
    sound = decode_array((samples, value["sampling_rate"]), lambda text: None)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.concatenate(list(sound.pieces)), sound.sample_rate_hz, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def _has_sound(path: Path) -> bool:
    import pyarrow as pa

    def rank(field: pa.Field) -> int | None:
        parts = {part.name for part in field.type} if pa.types.is_struct(field.type) else set()
        return _rank(field.name, parts, pa.types.is_list(field.type) or pa.types.is_large_list(field.type))

    return any(rank(field) is not None for field in _metadata(path).schema.to_arrow_schema())


def _metadata(path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            if file.read(40).startswith(LFS_POINTER):
                raise DataError(f"{path} {IS_POINTER}")
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is no parquet file that can be read: {first_line(error)}") from error


def columns_text(path: Path) -> str:
    return f"{path.name} has the columns {', '.join(_metadata(path).schema.to_arrow_schema().names[:10])}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _first_cause(error: BaseException) -> str:
    """The first line of what was wrong at first: `datasets` wraps it in errors that say nothing."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
