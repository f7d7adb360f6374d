"""Sound in archives: unpacked once, beside the feature cache, with bounds that no honest archive meets."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from genre_gan.audio import SUFFIXES
from genre_gan.data.tables import GENRE_COLUMNS, find_column, read_genre, split_of
from genre_gan.data.tables import SUFFIXES as TABLE_SUFFIXES
from genre_gan.data.tracks import DataError, Found, Row, Skipped
from genre_gan.data.tree import ARCHIVE_SUFFIXES, LABEL_SUFFIXES, Tree
from genre_gan.files import file_names

MAX_MEMBERS = 1_000_000
MAX_FILE_BYTES = 4 * 2**30
MAX_RATIO, FREE_BYTES = 50, 2**30  # sound packs to a fifth at best; small archives may hold anything up to FREE_BYTES
MAX_LABEL_BYTES = MAX_REMARK_BYTES = 2**20
_BLOCK_BYTES = 2**20
_REMARKS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
)
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
_WANTED = {*SUFFIXES, *TABLE_SUFFIXES, *LABEL_SUFFIXES, ".parquet", ".arrow", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz"}


def unpack(paths: Sequence[Path], cache: Path) -> Path:
    """Unpack the sound, tables and labels of archives below `cache`, where they stay for the next time.

    Returns:
        A folder that has one folder for each archive, of its name: it may be a genre, or a split.

    Raises:
        DataError: one is damaged, encrypted, or holds more than an archive of sound can.
    """
    names = file_names([_stem(path) for path in paths])
    folders = [_unpack_one(path, name, cache / "archives") for path, name in zip(paths, names, strict=True)]
    if len(folders) == 1:
        return folders[0]
    together = cache / "archives" / _key(*(str(folder) for folder in folders))
    together.mkdir(exist_ok=True)
    for folder, name in zip(folders, names, strict=True):
        with suppress(FileExistsError):
            (together / name).symlink_to(folder / name, target_is_directory=True)
    return together


def _unpack_one(archive: Path, name: str, cache: Path) -> Path:
    stat = archive.stat()
    folder = cache / _key(name, archive.resolve(), stat.st_size, stat.st_mtime_ns)
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=cache, prefix=".unpacking-"))
    try:
        (unfinished / name).mkdir()
        _unpack_into(archive, unfinished / name, max(FREE_BYTES, MAX_RATIO * stat.st_size))
        os.replace(unfinished, folder)
    except (*_DAMAGE, NotImplementedError, RuntimeError) as error:  # the latter two of unknown packing and encryption
        raise DataError(f"{archive} cannot be unpacked: {error}") from error
    except OSError as error:
        if not folder.is_dir():  # another process may have been faster
            raise DataError(f"{archive} cannot be unpacked: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _key(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _stem(path: Path) -> str:
    suffix = max((suffix for suffix in ARCHIVE_SUFFIXES if path.name.lower().endswith(suffix)), key=len, default="")
    return path.name.removesuffix(path.name[-len(suffix) :]) if suffix else path.name


def _unpack_into(archive: Path, folder: Path, max_bytes: int) -> None:
    n_left = max_bytes
    for number, (name, file) in enumerate(_members(archive)):
        if number >= MAX_MEMBERS:
            raise DataError(f"{archive} holds more than {MAX_MEMBERS} files: no archive of sound does")
        path = _inside(folder, name)
        if path is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        n_file = 0
        with path.open("wb") as copy:
            while block := file.read(_BLOCK_BYTES):
                n_file, n_left = n_file + len(block), n_left - len(block)
                if n_left < 0 or n_file > MAX_FILE_BYTES:
                    raise DataError(f"{archive} unpacks to far more than its size: no archive of sound does")
                copy.write(block)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents of the plain files; links and devices are passed over."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir() and (info.external_attr >> 16) & 0o170000 in (0, 0o100000):
                    with packed.open(info) as file:
                        yield info.filename, file
        return
    with tarfile.open(archive, "r|*", tarinfo=_Header) as packed:
        for member in packed:
            if member.isreg() and (content := packed.extractfile(member)) is not None:
                yield member.name, content


class _Header(tarfile.TarInfo):
    """A header that is refused where it is followed by a name, or other remarks, of a length that fills memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _REMARKS and header.size > MAX_REMARK_BYTES:
            raise tarfile.ReadError(f"a header has {header.size} bytes")
        return header


def _inside(folder: Path, name: str) -> Path | None:
    """Where a member goes; None for one that is not wanted, or whose name leads elsewhere."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "."]
    is_wanted = parts and Path(parts[-1]).suffix.lower() in _WANTED
    is_plain = all(part not in ("..", "/") and part.isprintable() and ":" not in part and len(part) < 120 for part in parts)
    return folder.joinpath(*parts) if is_wanted and is_plain else None


def from_webdataset(tree: Tree) -> Found | None:
    """The tracks of an unpacked WebDataset: beside `key.flac` stands `key.json`, `key.cls` or `key.txt` with the genre."""
    order = sorted(tree.labels, key=lambda path: LABEL_SUFFIXES.index(path.suffix.lower()), reverse=True)
    labels = {path.with_suffix(""): path for path in order}
    found = Found(remarks=list(tree.remarks))
    for path in tree.audio:
        label = labels.get(path.with_suffix("")) or labels.get(path.with_name(path.name.partition(".")[0]))
        genre, problem = _read_label(label) if label else ("", "no genre beside it")
        if problem:
            found.skipped.append(Skipped(path.stem, f"{path.name}: {problem}"))
        else:
            split = next((split for part in path.relative_to(tree.root).parts[:-1] if (split := split_of(part))), "")
            found.rows.append(Row(path.stem, genre, "", split, str(path)))
    return found if len(found.rows) >= 0.5 * len(tree.audio) and found.rows else None


def _read_label(path: Path) -> tuple[str, str]:
    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            return "", f"{path.name} is too long for a label"
        text = path.read_text(encoding="utf-8-sig")
        value = json.loads(text) if path.suffix == ".json" else text.strip()
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return "", f"{path.name} cannot be read"
    if isinstance(value, dict):
        column = find_column({name.lower(): name for name in value}, GENRE_COLUMNS)
        value = value.get(column) if column else None
    if isinstance(value, str) and len(value) > 60:
        return "", f"{path.name} holds no genre"
    return read_genre(value)
