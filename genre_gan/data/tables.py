"""Tables of tracks as people make them: any delimiter, encoding and usual headings or none, JSON, FMA's two headers."""

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

from genre_gan.audio import SUFFIXES as SOUND_SUFFIXES
from genre_gan.data.tracks import DataError
from genre_gan.genres import GENRES, canonical_genre

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
FILE_COLUMNS = (
    "file_name", "filename", "file", "path", "file_path", "filepath", "audio_path", "audio_file", "audio_filename", "audio",
    "wav", "mp3", "clip", "song", "song_id", "track_id", "id",
)
GENRE_COLUMNS = (
    "genre", "genre_top", "top_genre", "track_genre", "music_genre", "main_genre", "genre_name", "genres", "track_genres",
    "label", "labels", "label_name", "class", "class_name", "category", "style", "target",
)
ARTIST_COLUMNS = ("artist", "artist_name", "artists", "performer", "band")
SPLIT_COLUMNS = ("split", "set_split", "subset", "fold", "partition")
SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
}
_NAMES = ("name", "title", "genre", "genre_title", "genre_name", "label")  # of a genre that is an object
_PATHS = ("path", "file_name", "filename", "file")  # of a sound that is an object
_MISSING = ("", "null", "none", "nan", "n/a", "na", "<na>", "-1", "-1.0")
LFS_POINTER = b"version https://git-lfs"
IS_POINTER = "is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`"
_DELIMITERS = (",", ";", "\t", "|")
MAX_GENRE_LETTERS, MAX_TABLE_BYTES = 100, 2**30

Record = tuple[int, dict[str, Any], str]  # where it stands, what it says, and why it cannot be used, or empty


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
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise DataError(f"{path} has {path.stat().st_size} bytes: no table of tracks is as long")
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


def split_of(name: str) -> str:
    """The split that a name such as `train-00000-of-00004` or `Test_songs` tells; empty for none."""
    return next((SPLITS[part] for part in re.split(r"[\W_\d]+", name.lower()) if part in SPLITS), "")


def read_table(path: Path) -> Iterator[TableRow] | None:
    """The rows of a table of tracks; None where it has no column of files or none of genres.

    Raises:
        DataError: it cannot be read, or is no table at all; the rows raise it too.
    """
    records = _records(path)
    first = list(islice(records, 100))
    columns = {_heading(name): name for _, record, _ in reversed(first) for name in record}
    file_column, genre_column = find_column(columns, FILE_COLUMNS), find_column(columns, GENRE_COLUMNS)
    if file_column is None or genre_column is None:
        return None
    artist_column, split_column = find_column(columns, ARTIST_COLUMNS), find_column(columns, SPLIT_COLUMNS)

    def rows() -> Iterator[TableRow]:
        for number, record, damage in chain(first, records):
            genre, problem = read_genre(record.get(genre_column))
            file, split = _text(_part(record.get(file_column), _PATHS)), _text(record.get(split_column or "")).lower()
            if any("\n" in _text(record.get(column)) for column in (file_column, genre_column)):
                problem = "a line break within a cell: is a quotation mark not closed?"
            problem = damage or (problem if file else "no file is named")
            where, artist = f"{path.name} row {number}", read_artist(record.get(artist_column or ""))
            yield TableRow(where, file, genre, artist, SPLITS.get(split, split), problem)

    return rows()


def _records(path: Path) -> Iterator[Record]:
    text = read_text(path)
    readers = {".json": _json_records, ".jsonl": _json_lines, ".ndjson": _json_lines}
    try:
        yield from readers.get(path.suffix.lower(), _csv_records)(text)
    except (csv.Error, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} is no table that can be read: {error}") from error


def headings(path: Path) -> list[str]:
    """The headings of a table, for messages."""
    return list(next(_records(path), (0, {}, ""))[1])


def find_column(columns: Mapping[str, str], wanted: Sequence[str]) -> str | None:
    """The first of the `wanted` headings that stands in `columns`, which maps plain headings to those of the table."""
    return next((columns[name] for name in wanted if name in columns), None)


def read_genre(value: Any) -> tuple[str, str]:
    """The canonical genre that a cell holds, and why it holds none, of which one is empty."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "(", "{"):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = value.strip().strip("[](){}")
    if isinstance(value, (list, tuple)):
        names = [_text(_part(item, _NAMES)) for item in value]
    else:
        names = [name.strip() for name in re.split(r"[|;]", _text(_part(value, _NAMES)))]
        parts = names[0].split(",")
        if len(names) == 1 and all(canonical_genre(part) in GENRES for part in parts):  # unlike "Folk, World, & Country"
            names = [part.strip() for part in parts]
    names = [name for name in names if name.lower() not in _MISSING]
    if len(names) > 1:
        return "", f"{len(names)} genres ({', '.join(names[:3])})"
    if names and len(names[0]) > MAX_GENRE_LETTERS:
        return "", f"a text of {len(names[0])} letters in place of a genre"
    genre = canonical_genre(names[0]) if names else ""
    return genre, "" if genre else "no genre"


def read_artist(value: Any) -> str:
    """The artist that a cell names; empty for none."""
    text = _text(value)
    return "" if text.lower() in _MISSING else text


def _part(value: Any, names: Sequence[str]) -> Any:
    """What an object holds by the first of `names` that it has, or None; anything else as it is."""
    return next((value[name] for name in names if name in value), None) if isinstance(value, Mapping) else value


def _text(value: Any) -> str:
    if value is None or value != value:  # not a number
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _heading(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_")


def _json_lines(text: str) -> Iterator[Record]:
    for number, line in enumerate(text.split("\n"), 1):  # not `splitlines`: strings may hold other line ends
        if line.strip():
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                yield number, {}, f"no JSON: {error.msg}"
                continue
            yield number, record if isinstance(record, dict) else {}, "" if isinstance(record, dict) else "no object"


def _json_records(text: str) -> Iterator[Record]:
    """A list of objects, also below a name, or an object that gives the genre, or an object with it, of each file."""
    value = json.loads(text)
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list) and part and isinstance(part[0], dict)]
        if lists:
            value = lists[0]
        elif value and all(isinstance(part, (str, dict)) for part in value.values()):
            value = [{"file": name, **(part if isinstance(part, dict) else {"genre": part})} for name, part in value.items()]
    for number, record in enumerate(value if isinstance(value, list) else [], 1):
        if isinstance(record, dict):
            yield number, record, ""


def _csv_records(text: str) -> Iterator[Record]:
    """Rows numbered as a spreadsheet shows them; of FMA's double header the second line names what the first one groups."""
    remarks = re.match(r"(#[^\n,;|\t]*\n)*", text)  # by people, about the table
    text = text[remarks.end() :] if remarks else text
    n_skipped = remarks[0].count("\n") if remarks else 0
    if named := re.match(r"\s*sep=(.)\r?\n", text):  # as Excel writes first
        text, n_skipped = text[named.end() :], n_skipped + 1
    first_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = named[1] if named else max(_DELIMITERS, key=lambda mark: (first_line.count(mark), mark == ","))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    filled = ((reader.line_num + n_skipped, line) for line in reader if any(cell.strip() for cell in line))
    number, header = next(filled, (0, []))
    lines: Iterator[tuple[int, list[str]]] = filled
    is_file = [cell.strip().lower().endswith(SOUND_SUFFIXES) for cell in header]
    if sorted(is_file) == [False, True]:  # no headings: a file and its genre
        lines = chain([(number, header)], filled)
        header = ["file" if is_one else "genre" for is_one in is_file]
    if len(set(header)) < len(header) and "track" in header:
        groups, names = header, next(lines, (0, []))[1]
        header = [f"{group}_{name}" if group else name for group, name in zip(groups, names, strict=False)]
        header = ["genre_top" if name == "track_genre_top" else name for name in header]
        header[0] = next(lines, (0, [""]))[1][0].strip() or "track_id"
    for number, line in lines:
        n_cells = max(i for i, cell in enumerate(line, 1) if cell.strip())
        damage = f"{n_cells} cells for {len(header)} headings" if n_cells > len(header) else ""
        record: dict[str, Any] = {}
        for name, cell in zip(header, line, strict=False):
            record.setdefault(name, cell)  # of two columns with one heading the first counts
        yield number, record, damage
