"""Folders of sound as people have them: by genre, by split and genre, beside a table, with what computers leave in between."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from genre_gan.audio import SUFFIXES
from genre_gan.data.tables import IS_POINTER, LFS_POINTER, SPLITS, headings, read_table
from genre_gan.data.tables import SUFFIXES as TABLE_SUFFIXES
from genre_gan.data.tracks import DataError, Found, Row, Skipped
from genre_gan.genres import canonical_genre

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LIKELY_TABLES = ("tracks.csv", "metadata.csv", "metadata.jsonl")  # ours, and those of an audiofolder
_JUNK = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}
_CONTAINERS = ("genres", "genres_original")  # GTZAN's own folders of genres
_MAX_POINTER_BYTES = 1024


@dataclass
class Tree:
    """What lies in a folder: paths of each kind, and what else was seen there."""

    root: Path
    audio: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    parquet: list[Path] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)
    saved: list[Path] = field(default_factory=list)
    others: Counter = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)

    def contents(self) -> str:
        """What was found instead of tracks, for messages."""
        parts = [f"{len(paths)} {kind} files" for kind, paths in (("audio", self.audio), ("table", self.tables)) if paths]
        parts += [f"{count} {suffix or 'unnamed'} files" for suffix, count in self.others.most_common(4)]
        folders = sorted(path.name for path in self.root.iterdir() if path.is_dir() and not _is_junk(path.name))
        parts += [f"the folders {', '.join(folders[:5])}{' and others' if len(folders) > 5 else ''}"] if folders else []
        return ", ".join(parts) or "nothing"


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def walk(root: Path) -> Tree:
    """Look through `root`, following links to folders (each folder once) and passing over what computers leave behind."""
    tree, seen = Tree(root), set()
    for folder, names, files in os.walk(root, followlinks=True, onerror=None):
        real = os.path.realpath(folder)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not _is_junk(name))
        if {"dataset_dict.json", "state.json"} & set(files):
            tree.saved.append(Path(folder))
            names.clear()
            continue
        for name in sorted(files):
            if not _is_junk(name):
                _sort_file(tree, Path(folder) / name)
    return tree


def _sort_file(tree: Tree, path: Path) -> None:
    suffix, name = path.suffix.lower(), path.name.lower()
    if suffix in SUFFIXES:
        if problem := _problem_of(path):
            tree.skipped.append(Skipped(path.stem, problem))
        elif path.is_file():
            tree.audio.append(path)
    elif suffix in TABLE_SUFFIXES:
        tree.tables.append(path)
    elif suffix == ".parquet":
        tree.parquet.append(path)
    elif name.endswith(ARCHIVE_SUFFIXES):
        tree.archives.append(path)
    else:
        tree.others[suffix] += 1


def _problem_of(path: Path) -> str:
    """Why a file cannot be sound, or empty: a link to nothing, or what Git LFS leaves in place of a file."""
    try:
        if path.stat().st_size < _MAX_POINTER_BYTES and path.is_file():
            with path.open("rb") as file:
                return f"{path} {IS_POINTER}" if file.read(40).startswith(LFS_POINTER) else ""
    except OSError as error:
        return f"{path} cannot be opened: {error.strerror or error}"
    return ""


class FileIndex:
    """Where a table's files are: beside the table, or anywhere in a tree by their name, stem or number."""

    def __init__(self, tree: Callable[[], Tree]):
        self._tree = tree

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self._tree().audio:
            for key in {path.name, path.stem, path.stem.lstrip("0") or "0"}:
                by_name[key].append(path)
        return by_name

    def find(self, name: str, table: Path) -> Path | None:
        """The one file of that name; None where there is none, or several so that nobody knows which."""
        name = name.replace("\\", "/")
        try:
            if (beside := table.parent / name).is_file():
                return beside
        except (OSError, ValueError):  # too long for a path, or with characters that none has
            return None
        last = name.rsplit("/", 1)[-1]
        for key in (last, Path(last).stem if Path(last).suffix.lower() in SUFFIXES else last, last.lstrip("0")):
            found = self._by_name.get(key, ())
            found = [path for path in found if path.as_posix().endswith(f"/{name}")] if len(found) > 1 else found
            if len(found) == 1:
                return found[0]
        return None


def from_table(table: Path, index: FileIndex, below: Path | None = None) -> Found | None:
    """The tracks that a table lists, with `below` those in that folder alone; None where it has no files or no genres."""
    rows = read_table(table)
    if rows is None:
        return None
    found, missing = Found(), []
    split = next((SPLITS[part] for part in re.split(r"[\W_]+", table.stem.lower()) if part in SPLITS), "")
    for row in rows:
        name = Path(row.file).stem or row.where
        path = index.find(row.file, table) if row.file else None
        if below is not None and (path is None or not path.resolve().is_relative_to(below.resolve())):
            continue
        if path is not None and (problem := row.problem or _problem_of(path)):
            found.skipped.append(Skipped(name, f"{row.where}: {problem}"))
        elif path is not None:
            found.rows.append(Row(path.stem, row.genre, row.artist, row.split or split, str(path)))
        else:
            missing.append(Skipped(name, f"{row.where}: {row.problem or f'no such file: {row.file}'}"))
    if len(missing) > 10 * (len(found.rows) + 1) and found.rows:  # FMA's table describes 106 574 tracks, its small set has 8000
        found.remarks.append(f"{table.name} lists {len(missing)} more tracks, whose files are not here")
    else:
        found.skipped += missing
    return found


def from_tables(tree: Tree) -> Found | None:
    """The tracks that the tables in a folder list: ours or an audiofolder's, else any that tell half of its files' genres."""
    index = FileIndex(lambda: tree)
    likely = [path for path in tree.tables if path.name.lower() in LIKELY_TABLES]
    for tables in (likely, [path for path in tree.tables if path not in likely]):
        found = Found()
        covered: set[str] = set()
        for table in tables:
            part = from_table(table, index) or Found()
            files = {str(row.audio) for row in part.rows}
            if not files <= covered:  # one of features beside one of tracks says nothing new
                found.rows += [row for row in part.rows if row.audio not in covered]
                found.skipped += part.skipped
                found.remarks += part.remarks
                covered |= files
        if covered and (tables is likely or len(covered) >= 0.5 * len(tree.audio)):
            skipped = {item.id for item in found.skipped}
            n_left = sum(str(path) not in covered and path.stem not in skipped for path in tree.audio)
            found.remarks += [f"{n_left} audio files stand in no table and were left out"] if n_left else []
            return found
    return None


def from_folders(tree: Tree) -> Found:
    """The tracks of a folder whose genres are the names of its folders, below any number of others and of folders of splits."""
    found = Found(skipped=list(tree.skipped))
    rows = list(_labelled(tree.audio, tree.root, "", found))
    found.rows = sorted(rows, key=lambda row: str(row.audio))
    return found


def _labelled(paths: Sequence[Path], level: Path, split: str, found: Found) -> Iterator[Row]:
    """Go down from `level` until its folders are genres."""
    groups: dict[str, list[Path]] = defaultdict(list)
    loose = 0
    for path in paths:
        parts = path.relative_to(level).parts
        if len(parts) > 1:
            groups[parts[0]].append(path)
        else:
            loose += 1
    if not groups:
        yield from (Row(path.stem, canonical_genre(level.resolve().name), "", split, str(path)) for path in paths)
        return
    if loose:
        found.remarks.append(f"{loose} audio files lie in no genre's folder but in {level}, and were left out")
    if container := next((name for name in groups if name.lower() in _CONTAINERS), None):
        yield from _labelled(groups[container], level / container, split, found)
    elif all(name.lower() in SPLITS for name in groups):
        for name, members in groups.items():
            yield from _labelled(members, level / name, SPLITS[name.lower()], found)
    elif level.name == "versions" and all(name.isdecimal() for name in groups):  # what kagglehub keeps; the last is the newest
        newest = max(groups, key=int)
        yield from _labelled(groups[newest], level / newest, split, found)
    elif len(groups) == 1:
        name, members = next(iter(groups.items()))
        yield from _labelled(members, level / name, split, found)
    else:
        for name, members in groups.items():
            genre = canonical_genre(name)
            if not genre:
                found.skipped += [Skipped(path.stem, f"the folder {name!r} names no genre") for path in members]
                continue
            for path in members:
                inner = (part.lower() for part in path.relative_to(level).parts[1:-1])
                yield Row(path.stem, genre, "", next((SPLITS[part] for part in inner if part in SPLITS), split), str(path))


def explain_nothing(tree: Tree) -> DataError:
    """What to say of a folder that holds no labelled audio."""
    if tree.skipped and not tree.audio:
        return DataError(f"none of the {len(tree.skipped)} audio files in {tree.root} can be read: {tree.skipped[0].reason}")
    seen = "; ".join(f"{path.name} has the columns {', '.join(headings(path)[:8])}" for path in tree.tables[:2])
    return DataError(
        f"no labelled audio found: looked for {tree.root}/<genre>/*.wav and other audio, a tracks.csv with the columns file_name "
        f"and genre, parquet files and archives; found {tree.contents()}" + (f" ({seen})" if seen else "")
    )
