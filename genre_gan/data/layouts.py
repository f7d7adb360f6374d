"""Folders of sound as people have them: beside tables, by genre, by split and genre, in parts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from genre_gan.audio import SUFFIXES
from genre_gan.data.tables import SPLITS, headings, read_table, split_of
from genre_gan.data.tracks import DataError, Found, Row, Skipped
from genre_gan.data.tree import FileIndex, Tree, problem_of
from genre_gan.genres import GENRES, canonical_genre

LIKELY_TABLES = ("tracks.csv", "metadata.csv", "metadata.jsonl")  # ours, and those of an audiofolder
_CONTAINERS = ("genres", "genres_original")  # GTZAN's own folders of genres
_NUMBERED = re.compile(r"(?P<genre>[^\W\d][^\d]*?)[\W_]*\d+")  # as GTZAN's files are named, `blues.00000`


def from_table(table: Path, index: FileIndex, below: Path | None = None) -> Found | None:
    """The tracks that a table lists, with `below` those in that folder alone; None where it has no files or no genres."""
    rows = read_table(table)
    if rows is None:
        return None
    found, missing = Found(), []
    split = split_of(table.stem) or SPLITS.get(table.parent.name.lower(), "")
    for row in rows:
        name = Path(row.file).stem or table.stem
        path = index.find(row.file, table) if row.file else None
        if below is not None and (path is None or not path.resolve().is_relative_to(below.resolve())):
            continue
        if path is not None and (problem := row.problem or problem_of(path)):
            found.skipped.append(Skipped(name, f"{row.where}: {problem}"))
        elif path is not None:
            found.rows.append(Row(path.stem, row.genre, row.artist, row.split or split, str(path)))
        else:
            missing.append(Skipped(name, f"{row.where}: {row.problem or f'no such file: {row.file}'}"))
    _without_doubles(found)
    if len(missing) > 10 * (len(found.rows) + 1) and found.rows:  # FMA's table describes 106 574 tracks, its small set has 8000
        found.remarks.append(f"{table.name} lists {len(missing)} more tracks, whose files are not here")
    else:
        found.skipped += missing
    return found


def _without_doubles(found: Found) -> None:
    """Take a file once where several rows name it, and not at all where they contradict each other."""
    genres: dict[str, set[str]] = defaultdict(set)
    for row in found.rows:
        genres[str(row.audio)].add(row.genre)
    rows = {str(row.audio): row for row in reversed(found.rows)}
    n_doubles = len(found.rows) - len(rows)
    found.remarks += [f"{n_doubles} rows name a file that another row names too"] if n_doubles else []
    found.rows = [row for name, row in reversed(rows.items()) if len(genres[name]) == 1]
    found.skipped += [Skipped(row.id, f"{len(genres[name])} genres ({', '.join(sorted(genres[name])[:3])}) in several rows")
                      for name, row in rows.items() if len(genres[name]) > 1]


def from_tables(tree: Tree) -> Found | None:
    """The tracks that the tables in a folder list: ours or an audiofolder's, else any that tell half of its files' genres."""
    index = FileIndex(lambda: tree)
    likely = [path for path in tree.tables if path.name.lower() in LIKELY_TABLES]
    for tables in (likely, [path for path in tree.tables if path not in likely]):
        found = Found()
        covered: set[str] = set()
        for table in tables:
            try:
                part = from_table(table, index) or Found()
            except DataError as error:
                if tables is likely:
                    raise
                tree.remarks.append(f"left out: {error}")
                continue
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
            found.remarks += tree.remarks
            return found
        if covered:
            reason = f" ({found.skipped[0].reason})" if found.skipped else ""
            tree.remarks.append(f"the tables name {len(covered)} of {len(tree.audio)} audio files{reason}: they were not used")
    return None


def from_folders(tree: Tree) -> Found:
    """The tracks of a folder whose genres are the names of its folders, below any number of others and of folders of splits."""
    found = Found(skipped=list(tree.skipped), remarks=list(tree.remarks))
    rows = list(_labelled(_without_copies(tree.audio, found), tree.root, "", found))
    found.rows = sorted(rows, key=lambda row: str(row.audio))
    if len({row.genre for row in rows}) == 1:
        found.remarks += [f"{path.name} tells no genres: its columns are {_columns(path)}" for path in tree.tables[:3]]
    return found


def _without_copies(paths: Sequence[Path], found: Found) -> list[Path]:
    """One of several files whose names differ in the suffix alone: a recording in several formats would be learned and tested."""
    kept: dict[Path, Path] = {}
    for path in sorted(paths, key=lambda path: (SUFFIXES.index(path.suffix.lower()), path)):
        kept.setdefault(path.with_suffix(""), path)
    if n_copies := len(paths) - len(kept):
        found.remarks.append(f"{n_copies} audio files differ from others in their suffix alone, and were left out as copies")
    return list(kept.values())


def _labelled(paths: Sequence[Path], level: Path, split: str, found: Found) -> Iterator[Row]:
    """Go down from `level` until its folders are genres."""
    groups: dict[str, list[Path]] = defaultdict(list)
    loose: list[Path] = []
    for path in paths:
        parts = path.relative_to(level).parts
        (groups[parts[0]] if len(parts) > 1 else loose).append(path)
    if not groups:
        yield from _loose(loose, level, split, found)
        return
    if loose:
        found.remarks.append(f"{len(loose)} audio files lie in no genre's folder but in {level}, and were left out")
    if container := next((name for name in groups if name.lower() in _CONTAINERS), None):
        others = sorted(name for name in groups if name != container)
        found.remarks += [f"beside {container}/ the folders {', '.join(others[:5])} hold sound too: left out"] if others else []
        yield from _labelled(groups[container], level / container, split, found)
    elif newest := _newest(level, list(groups)):
        yield from _labelled(groups[newest], level / newest, split, found)
    elif len(groups) == 1 or _are_parts(groups, level):
        is_deep = {name: any(len(path.relative_to(level).parts) > 2 for path in members) for name, members in groups.items()}
        for name, members in groups.items():
            if any(is_deep.values()) and not is_deep[name]:  # the part that a contest keeps without genres
                found.remarks.append(f"{len(members)} audio files in {level / name} lie in no genre's folder, and were left out")
                continue
            yield from _labelled(members, level / name, split_of(name) or split if len(groups) > 1 else split, found)
    else:
        for name, members in groups.items():
            genre = canonical_genre(name)
            if not genre:
                found.skipped += [Skipped(path.stem, f"the folder {name!r} names no genre") for path in members]
                continue
            for path in members:
                inner = (part.lower() for part in path.relative_to(level).parts[1:-1])
                yield Row(path.stem, genre, "", next((SPLITS[part] for part in inner if part in SPLITS), split), str(path))


def _newest(level: Path, names: Sequence[str]) -> str | None:
    """Of what kagglehub and the Hub's client keep, which is to be read; None for any other folder."""
    if level.name == "versions" and all(name.isdecimal() for name in names):
        return max(names, key=int)
    if level.name == "snapshots" and level.parent.name.startswith(("datasets--", "models--")):
        return max(names, key=lambda name: (level / name).stat().st_mtime)
    return None


def _are_parts(groups: Mapping[str, Sequence[Path]], level: Path) -> bool:
    """Whether folders are no genres but splits or other parts of one set, as all of them hold the same genres."""
    if all(split_of(name) for name in groups):
        return True
    if any(canonical_genre(name) in GENRES for name in groups):
        return False
    inner = [{canonical_genre(part) for path in members for part in path.relative_to(level).parts[1:-1]}
             for members in groups.values()]
    shared = set.intersection(*inner)
    if len(shared & set(GENRES)) > 1:
        return True
    without_digits = {re.sub(r"\d+", "", name.lower()) for name in groups}
    distinct = {re.sub(r"\d+", "", name) for name in shared} - set(SPLITS)
    return len(without_digits) == 1 and len(distinct) > 1 and 2 * len(shared) >= len(set.union(*inner))


def _loose(paths: Sequence[Path], level: Path, split: str, found: Found) -> Iterator[Row]:
    """Files in one folder, which is a genre, unless their own names say theirs, as GTZAN's do."""
    matches = [_NUMBERED.fullmatch(path.stem) for path in paths]
    named = [canonical_genre(match["genre"]) if match else "" for match in matches]
    if len(set(named)) > 1 and set(named) <= set(GENRES):
        found.remarks.append(f"the genres in {level} are those that its files' names begin with")
    else:
        named = [canonical_genre(level.resolve().name)] * len(paths)
    yield from (Row(path.stem, genre, "", split, str(path)) for path, genre in zip(paths, named, strict=True))


def _columns(table: Path) -> str:
    try:
        return ", ".join(headings(table)[:8]) or "none"
    except DataError:
        return "not to be read"


def explain_nothing(tree: Tree) -> DataError:
    """What to say of a folder that holds no labelled audio."""
    if tree.skipped and not tree.audio:
        return DataError(f"none of the {len(tree.skipped)} audio files in {tree.root} can be read: {tree.skipped[0].reason}")
    seen = "; ".join(f"{path.name} has the columns {_columns(path)}" for path in tree.tables[:2])
    return DataError(
        f"no labelled audio found: looked for {tree.root}/<genre>/*.wav and other audio, a tracks.csv with the columns file_name "
        f"and genre, parquet files and archives; found {tree.contents()}" + (f" ({seen})" if seen else "")
    )
