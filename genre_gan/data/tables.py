"""Tables of tracks as people make them: any delimiter, encoding and usual headings, JSON lines, FMA's two headers."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from genre_gan.data.tracks import DataError
from genre_gan.genres import canonical_genre

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
FILE_COLUMNS = (
    "file_name", "filename", "file", "path", "file_path", "filepath", "audio_path", "audio_file", "audio_filename", "audio",
    "wav", "mp3", "clip", "song", "song_id", "track_id", "id",
)
GENRE_COLUMNS = (
    "genre", "genre_top", "top_genre", "track_genre", "music_genre", "main_genre", "genre_name", "genres", "label", "labels",
    "label_name", "class", "class_name", "category", "style", "target",
)
ARTIST_COLUMNS = ("artist", "artist_name", "artists", "performer", "band")
SPLIT_COLUMNS = ("split", "set_split", "subset", "fold", "partition")
SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
}
_MISSING = ("", "null", "none", "nan", "n/a", "na", "<na>", "-1", "-1.0")
LFS_POINTER = b"version https://git-lfs"
IS_POINTER = "is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`"
_DELIMITERS = (",", ";", "\t", "|")


class TableRow(NamedTuple):
    """One row: where it stands, and what it says; `problem` is why it cannot be used, or empty."""

    where: str
    file: str
    genre: str
    artist: str
    split: str
    problem: str


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, UTF-16 or, as older Windows programs write, cp1252.

    Raises:
        DataError: it cannot be read, or Git LFS left only a pointer to it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if data.startswith(LFS_POINTER):
        raise DataError(f"{path} {IS_POINTER}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif data[:200].count(0) > len(data[:200]) // 4:
        encodings = ["utf-16-le" if data[1:2] == b"\0" else "utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            return data.decode(encoding).replace("\0", "")
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path} is no text: neither UTF-8, UTF-16 nor cp1252")


def read_table(path: Path) -> Iterator[TableRow] | None:
    """The rows of a table of tracks; None where it has no column of files or none of genres.

    Raises:
        DataError: it cannot be read, or is no table at all; the rows raise it too.
    """
    records = _records(path)
    first = list(islice(records, 100))
    columns = {_heading(name): name for _, record in reversed(first) for name in record}
    file_column, genre_column = find_column(columns, FILE_COLUMNS), find_column(columns, GENRE_COLUMNS)
    if file_column is None or genre_column is None:
        return None
    artist_column, split_column = find_column(columns, ARTIST_COLUMNS), find_column(columns, SPLIT_COLUMNS)

    def rows() -> Iterator[TableRow]:
        for number, record in chain(first, records):
            genre, problem = read_genre(record.get(genre_column))
            file, split = _text(record.get(file_column)), _text(record.get(split_column or "")).lower()
            where, artist = f"{path.name} row {number}", _text(record.get(artist_column or ""))
            yield TableRow(where, file, genre, artist, SPLITS.get(split, split), problem if file else "no file is named")

    return rows()


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = read_text(path)
    try:
        yield from _json_records(text) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_records(text)
    except (csv.Error, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} is no table that can be read: {error}") from error


def headings(path: Path) -> list[str]:
    """The headings of a table, for messages."""
    return list(next(_records(path), (0, {}))[1])


def find_column(columns: Mapping[str, str], wanted: Sequence[str]) -> str | None:
    """The first of the `wanted` headings that stands in `columns`, which maps plain headings to those of the table."""
    return next((columns[name] for name in wanted if name in columns), None)


def read_genre(value: Any) -> tuple[str, str]:
    """The canonical genre that a cell holds, and why it holds none, of which one is empty."""
    if isinstance(value, str) and value.strip()[:1] in "[(" and value.strip():
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = value.strip().strip("[]()")
    if isinstance(value, (list, tuple)):
        names = [name for name in map(_text, value) if name.lower() not in _MISSING]
    else:
        names = [name.strip() for name in re.split(r"[|;]", _text(value)) if name.strip().lower() not in _MISSING]
    if len(names) > 1:
        return "", f"{len(names)} genres ({', '.join(names[:3])})"
    genre = canonical_genre(names[0]) if names else ""
    return genre, "" if genre else "no genre"


def _text(value: Any) -> str:
    if value is None or value != value:  # not a number
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _heading(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_")


def _json_records(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            record = json.loads(line)
            yield number, record if isinstance(record, dict) else {}


def _csv_records(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows numbered as a spreadsheet shows them; of FMA's double header the second line names what the first one groups."""
    first_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=lambda mark: (first_line.count(mark), mark == ","))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines = ((reader.line_num, line) for line in reader if any(cell.strip() for cell in line))
    header = next(lines, (0, []))[1]
    if len(set(header)) < len(header) and "track" in header:
        groups, names = header, next(lines, (0, []))[1]
        header = [f"{group}_{name}" if group else name for group, name in zip(groups, names, strict=False)]
        header = ["genre_top" if name == "track_genre_top" else name for name in header]
        header[0] = next(lines, (0, [""]))[1][0].strip() or "track_id"
    for number, line in lines:
        yield number, dict(zip(header, line, strict=False))
