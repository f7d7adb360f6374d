"""Files: names for them that nothing in data can turn into another place, and writing so that none is ever half there."""

from __future__ import annotations

import os
import re
import secrets
import unicodedata
from collections.abc import Sequence
from pathlib import Path

MAX_NAME_BYTES = 100  # leaves room for suffixes: file systems allow 255
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices, on Windows


def file_names(names: Sequence[str]) -> list[str]:
    """A file name without suffix for each of `names`, which may come from data, the Hub or a form.

    Letters, digits, and `. _ -` between them stay; all else becomes a hyphen, so that no name leads to another folder, hides a
    file, or names a device. The results differ from each other even where upper and lower case are one. A name that was fine
    stays as it is, and the same names give the same result.
    """
    safe = [_safe(name) for name in names]
    taken: set[str] = set()
    found: dict[int, str] = {}
    for i in sorted(range(len(names)), key=lambda i: safe[i] != names[i]):  # names that were fine come first
        found[i], n = safe[i], 1
        while found[i].casefold() in taken:
            n += 1
            found[i] = f"{safe[i]}-{n}"
        taken.add(found[i].casefold())
    return [found[i] for i in range(len(names))]


def printable(text: str) -> str:
    """Text from data as it can be shown: control characters, which may steer a terminal, become question marks."""
    return "".join(c if c.isprintable() else "?" for c in text)


def cache_folder() -> Path:
    """Where features and unpacked archives are kept: `$GENRE_GAN_CACHE`, or `~/.cache/genre_gan`."""
    return Path(os.environ.get("GENRE_GAN_CACHE", "~/.cache/genre_gan")).expanduser()


def _safe(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in unicodedata.normalize("NFKC", name))
    kept = re.sub(r"-{2,}", "-", re.sub(r"\.{2,}", "-", kept)) if kept != name or ".." in kept else kept
    kept = kept.encode("utf-8", "ignore")[:MAX_NAME_BYTES].decode("utf-8", "ignore").strip("._-")
    return f"{kept}_" if _RESERVED.fullmatch(kept) else kept or "unnamed"


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` under a temporary name, sync it and rename it, so that `path` is never half-written.

    Raises:
        OSError: it cannot be written there.
    """
    temporary = path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}"
    try:
        try:
            with open(temporary, "xb") as file:  # with the rights that the user's umask leaves
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:  # the system's own words are about the temporary name
        raise type(error)(f"{path} cannot be written: {error.strerror or error}") from error
