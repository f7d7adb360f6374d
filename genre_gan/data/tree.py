"""What lies in a folder, whatever computers left in between, and where in it the files are that a table names."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from genre_gan.audio import SUFFIXES
from genre_gan.data.tables import IS_POINTER, LFS_POINTER
from genre_gan.data.tables import SUFFIXES as TABLE_SUFFIXES
from genre_gan.data.tracks import Skipped

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LABEL_SUFFIXES = (".json", ".cls", ".txt")  # of WebDataset, beside the sound of the same name
_JUNK = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}
_MAX_POINTER_BYTES = 1024
_MAX_JSON_TABLES = 8  # more of them are labels, each of one file


@dataclass
class Tree:
    """What lies in a folder: paths of each kind, and what else was seen there.

    Attributes:
        within: what comes from strangers may name no file outside this folder; None lets tables name any.
    """

    root: Path
    within: Path | None = None
    audio: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    parquet: list[Path] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)
    saved: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def contents(self) -> str:
        """What was found instead of tracks, for messages."""
        parts = [f"{len(paths)} {kind} files" for kind, paths in (("audio", self.audio), ("table", self.tables)) if paths]
        parts += [f"{count} {suffix or 'unnamed'} files" for suffix, count in self.others.most_common(4)]
        folders = sorted(path.name for path in self.root.iterdir() if path.is_dir() and not is_junk(path.name))
        parts += [f"the folders {', '.join(folders[:5])}{' and others' if len(folders) > 5 else ''}"] if folders else []
        return ", ".join(parts) or "nothing"


def is_junk(name: str) -> bool:
    """Whether a name is one that computers give to what they leave behind."""
    return name.startswith(".") or name.lower() in _JUNK


def walk(root: Path, within: Path | None = None) -> Tree:
    """Look through `root`, following links to folders (each folder once) and passing over what computers leave behind."""
    tree, seen = Tree(root, within), set()

    def leave_out(error: OSError) -> None:
        tree.skipped.append(Skipped(Path(error.filename).name, f"{error.filename} cannot be opened: {error.strerror}"))

    for folder, names, files in os.walk(root, followlinks=True, onerror=leave_out):
        real = os.path.realpath(folder)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not is_junk(name))
        if "dataset_dict.json" in files or {"state.json", "dataset_info.json"} <= set(files):
            tree.saved.append(Path(folder))
            names.clear()
            continue
        for name in sorted(files):
            if not is_junk(name):
                _sort_file(tree, Path(folder) / name)
    documents = [path for path in tree.labels if path.suffix.lower() == ".json"]
    tree.tables += documents if len(documents) <= _MAX_JSON_TABLES else []
    return tree


def _sort_file(tree: Tree, path: Path) -> None:
    suffix, name = path.suffix.lower(), path.name.lower()
    if suffix in SUFFIXES:
        if problem := problem_of(path):
            tree.skipped.append(Skipped(path.stem, problem))
        elif path.is_file():
            tree.audio.append(path)
    elif suffix in TABLE_SUFFIXES and suffix not in LABEL_SUFFIXES:
        tree.tables.append(path)
    elif suffix == ".parquet":
        tree.parquet.append(path)
    elif name.endswith(ARCHIVE_SUFFIXES):
        tree.archives.append(path)
    else:
        tree.others[suffix] += 1
        if suffix in LABEL_SUFFIXES:
            tree.labels.append(path)


def problem_of(path: Path) -> str:
    """Why a file cannot be sound, or empty: a link to nothing, or what Git LFS leaves in place of a file."""
    try:
        if path.stat().st_size < _MAX_POINTER_BYTES and path.is_file():
            with path.open("rb") as file:
                return f"{path} {IS_POINTER}" if file.read(40).startswith(LFS_POINTER) else ""
    except OSError as error:
        return f"{path} cannot be opened: {error.strerror or error}"
    return ""


def named_file(folder: Path, name: str, within: Path | None) -> Path | None:
    """The file that data in `folder` names; None where there is none, or it lies outside of `within`."""
    path = folder / name
    try:
        if (within is None or Path(os.path.normpath(path)).is_relative_to(within)) and path.is_file():
            return path
    except (OSError, ValueError):  # too long for a path, or with characters that none has
        pass
    return None


class FileIndex:
    """Where a table's files are: beside the table, or anywhere in a tree by their name, stem or number.

    Upper and lower case are one, as on many disks, and so are letters with marks however they are put together.
    """

    def __init__(self, tree: Callable[[], Tree]):
        self._get_tree = tree

    @cached_property
    def _tree(self) -> Tree:
        return self._get_tree()

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self._tree.audio:
            stem = _plain(path.stem)
            for key in {_plain(path.name), stem, stem.lstrip("0") or "0"}:
                by_name[key].append(path)
        return by_name

    def find(self, name: str, table: Path) -> Path | None:
        """The one file of that name; None where there is none, or several so that nobody knows which."""
        name = name.replace("\\", "/")
        if beside := named_file(table.parent, name, self._tree.within):
            return beside
        last = _plain(name.rsplit("/", 1)[-1])
        for key in (last, Path(last).stem if Path(last).suffix in SUFFIXES else last, last.lstrip("0")):
            found = self._by_name.get(key, [])
            for same in (str, _plain):
                if len(found) > 1:
                    found = [path for path in found if same(path.as_posix()).endswith(f"/{same(name)}")] or found
            if len(found) == 1:
                return found[0]
        return None


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
