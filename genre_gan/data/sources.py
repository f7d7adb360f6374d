"""Labelled tracks from whatever people have: folders, tables, parquet files, archives, and data sets on the Hub."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from genre_gan.data import archives, columns, layouts
from genre_gan.data.tables import SPLITS, headings
from genre_gan.data.tables import SUFFIXES as TABLE_SUFFIXES
from genre_gan.data.tracks import DataError, Found, Skipped, Track, TrackSet
from genre_gan.data.tree import ARCHIVE_SUFFIXES, FileIndex, Tree, walk
from genre_gan.files import cache_folder, printable
from genre_gan.genres import GENRES, canonical_genre, find_genre

__all__ = ["DEFAULT_DATASET", "DataError", "Track", "TrackSet", "load_tracks"]

DEFAULT_DATASET = "sanchit-gandhi/gtzan"
MAX_DEPTH = 2  # of archives within archives
MIN_TRACKS = 2  # of a genre: one to train on and one to validate
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def load_tracks(sources: Sequence[str], genres: Sequence[str] | None = None) -> TrackSet:
    """Gather the tracks of `sources`.

    Args:
        sources: each a Hub data set id, a folder, or a file: a table, a parquet file or an archive. In a folder are looked for,
            in this order: what `datasets` saved to disk, a `tracks.csv` or an audiofolder's metadata (also beside the folder, if
            it lists its files), parquet files, other tables that tell the genres of at least half of its sound, labels beside
            the files of a WebDataset, `<genre>/**` below any number of other folders, such as `genres_original/` or `train/`,
            and archives.
        genres: keep these alone; None keeps all. Who names them has looked at them, so that doubts are not raised.

    Raises:
        DataError: a source that does not exist, cannot be reached, or holds no labelled audio; a genre nobody has; or, where no
            genres are named, ones that look like a mistake: a single one, mere numbers, one with fewer than two tracks.
    """
    if not sources or not all(str(source).strip() for source in sources):
        raise DataError("no data named: give a folder or a Hub data set id")
    if genres is not None and not genres:
        raise DataError("genres must name at least one, or be None for all")
    found = [_load_source(str(source)) for source in sources]
    rows = [row._replace(id=printable(row.id), artist=printable(row.artist), source=i)
            for i, part in enumerate(found) for row in part.rows]
    first = {row.audio: row for row in reversed(rows)}  # of a file that several sources have
    remarks = [printable(remark) for part in found for remark in part.remarks]
    if n_doubles := len(rows) - len(first):
        remarks.append(f"{n_doubles} tracks of one source stand in another too, and were taken once")
    skipped = [Skipped(printable(item.id), printable(item.reason)) for part in found for item in part.skipped]
    tracks = TrackSet([row for row in rows if first[row.audio] is row], skipped, list(dict.fromkeys(remarks)))
    if genres is None:
        _check_genres(tracks)
        return tracks
    wanted = set()
    for genre in genres:
        try:
            wanted.add(find_genre(genre, tracks.genres))
        except ValueError:
            raise DataError(f"genre {canonical_genre(genre)!r} is not in the data; it has: {', '.join(tracks.genres)}") from None
    return tracks.select(i for i, genre in enumerate(tracks.genre_names) if genre in wanted)


def _check_genres(tracks: TrackSet) -> None:
    """Ask about genres that look like a mistake, before hours are spent on them."""
    counts = Counter(tracks.genre_names)
    names = " ".join(tracks.genres[:20])
    question = ""
    if len(counts) == 1 and tracks.genres[0] not in GENRES:
        question = f"there is one genre only, {names!r}: is that a genre, or does the folder lie one level too deep?"
    elif len(counts) == 1:
        question = f"there is one genre only, {names!r}: are the others missing?"
    elif numbers := [name for name in tracks.genres if name.isdecimal()]:
        words, listed = "the" if len(numbers) == len(counts) else "some", ", ".join(numbers[:10])
        question = f"{words} genres are mere numbers ({listed}): are they folders, or classes that have names elsewhere?"
    elif parts := [name for name in tracks.genres if name in SPLITS]:
        names = " ".join(genre for genre in tracks.genres if genre not in parts) or names
        question = f"the genres {', '.join(parts)} look like parts of a data set: does the folder lie one level too high?"
    elif few := [genre for genre in tracks.genres if counts[genre] < MIN_TRACKS]:
        names = " ".join(genre for genre in tracks.genres if genre not in few) or names
        listed = ", ".join(few[:10])
        question = f"there are fewer than {MIN_TRACKS} tracks of {listed}: are these genres, and is that all their sound?"
    if question:
        raise DataError(f"{question} If that is as you want it, name the genres: --genres {names}. ({tracks.describe()})")


def _load_source(source: str) -> Found:
    path = Path(source).expanduser()
    if path.is_dir():
        found = _from_folder(path)
    elif path.is_file():
        found = _from_file(path)
    elif path.exists() or path.is_symlink() or not _HUB_ID.fullmatch(source):
        raise DataError(f"{source!r} is neither a folder, a table, an archive nor a Hub data set id like {DEFAULT_DATASET!r}")
    else:
        found = _from_hub(source)
    if not found.rows:
        listed = "; ".join(f"{item.id}: {item.reason}" for item in found.skipped[:5])
        raise DataError(f"no labelled audio found in {source}: all {len(found.skipped)} rows were left out ({listed})")
    return found


def _from_file(path: Path) -> Found:
    name = path.name.lower()
    if name.endswith(TABLE_SUFFIXES):
        found = layouts.from_table(path, FileIndex(lambda: walk(path.parent)))
        if found is None:
            wanted = "one of files, such as file_name, and one of genres, such as genre"
            raise DataError(f"{path} needs two columns, {wanted}; its columns: {', '.join(headings(path)) or 'none'}")
        return found
    if name.endswith(".parquet"):
        return columns.from_parquet([path]) or _no_sound_in([path])
    if name.endswith(ARCHIVE_SUFFIXES):
        return _from_archives([path], [], 0)
    raise DataError(f"{str(path)!r} is neither a folder, a table ({', '.join(TABLE_SUFFIXES)}), a parquet file nor an archive")


def _from_folder(root: Path) -> Found:
    beside = root.parent / "tracks.csv"
    if not (root / "tracks.csv").is_file() and beside.is_file():
        listed = layouts.from_table(beside, FileIndex(lambda: walk(root)), below=root)
        if listed and listed.rows:
            return listed
    return _from_tree(walk(root))


def _from_tree(tree: Tree, depth: int = 0) -> Found:
    """The tracks of a folder, or `depth` archives deep of an unpacked one."""
    if tree.saved:
        return _joined([columns.from_saved(path, tree.within) for path in tree.saved])
    if any(path.name.lower() in layouts.LIKELY_TABLES for path in tree.tables) and (listed := layouts.from_tables(tree)):
        return listed
    if tree.parquet and (listed := columns.from_parquet(tree.parquet, tree.within)):
        return listed
    if tree.audio:
        found = layouts.from_tables(tree) or archives.from_webdataset(tree) or layouts.from_folders(tree)
        if tree.archives:
            packed = ", ".join(path.name for path in tree.archives[:3])
            found.remarks.append(f"{len(tree.archives)} archives beside the sound were left packed: {packed}")
        return found
    if tree.archives:
        return _from_archives(tree.archives, tree.tables, depth)
    if tree.parquet:
        return _no_sound_in(tree.parquet)
    raise layouts.explain_nothing(tree)


def _from_archives(paths: Sequence[Path], tables: Sequence[Path], depth: int) -> Found:
    """The tracks of archives that belong together, and of tables beside them."""
    named = ", ".join(path.name for path in paths[:3]) + (" and others" if len(paths) > 3 else "")
    if depth == MAX_DEPTH:
        raise DataError(f"{named}: archives within archives within archives are not unpacked")
    root = archives.unpack(paths, cache_folder())
    tree = walk(root, within=root)
    tree.tables += tables
    try:
        return _from_tree(tree, depth + 1)
    except DataError as error:
        raise DataError(f"in {named}: {str(error).replace(f'{root}{os.sep}', '').replace(str(root), '.')}") from error


def _no_sound_in(paths: Sequence[Path]) -> NoReturn:
    raise DataError(f"none of the {len(paths)} parquet files has a column of sound: {columns.columns_text(paths[0])}")


def _joined(parts: Sequence[Found]) -> Found:
    return Found(
        [row for part in parts for row in part.rows],
        [item for part in parts for item in part.skipped],
        [remark for part in parts for remark in part.remarks],
    )


def _from_hub(repo_id: str) -> Found:
    from genre_gan.hub import HubError, download_dataset

    try:
        root = download_dataset(repo_id)
        return _from_tree(walk(root, within=root))
    except (HubError, DataError) as error:
        raise DataError(
            f"the Hub data set {repo_id!r} cannot be loaded ({error}). Check the id and the network, or use a local folder: "
            "--data path/to/genres, with one folder of audio files for each genre"
        ) from error
