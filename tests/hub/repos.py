"""What the small Hub holds: users, and repositories with their branches and commits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

LARGE_SUFFIXES = (".safetensors", ".parquet", ".png", ".wav", ".flac", ".ogg", ".mp3")


class User(NamedTuple):
    """Who a token stands for; a read token writes nowhere."""

    name: str
    can_write: bool = True


class Commit(NamedTuple):
    sha: str
    title: str
    files: dict[str, bytes]


@dataclass
class Repo:
    """One repository; each branch is a list of commits, the newest last."""

    id: str
    kind: str
    private: bool
    gated: bool = field(default=False, kw_only=True)
    sdk: str | None = None
    hardware: str = "cpu-basic"
    variables: dict[str, str] = field(default_factory=dict)
    branches: dict[str, list[Commit]] = field(default_factory=dict)

    def find(self, revision: str) -> Commit | None:
        if revision in self.branches:
            return self.branches[revision][-1]
        return next((c for commits in self.branches.values() for c in commits if c.sha == revision), None)

    def commit(self, branch: str, title: str, files: dict[str, bytes]) -> Commit:
        commits = self.branches.setdefault(branch, [])
        text = "\n".join([self.id, branch, str(len(commits)), title, *(f"{p} {git_hash(d)}" for p, d in sorted(files.items()))])
        commits.append(Commit(hashlib.sha1(text.encode()).hexdigest(), title, files))
        return commits[-1]


def git_hash(data: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def content_hash(path: str, data: bytes) -> str:
    """What the Hub names a file's content by: sha256 in large file storage, else git's name."""
    return hashlib.sha256(data).hexdigest() if path.endswith(LARGE_SUFFIXES) else git_hash(data)


class Refusal(Exception):
    """An error answer: status, message, and the code that clients tell errors apart by."""

    def __init__(self, status: int, message: str, code: str | None = None, body: dict | None = None):
        self.status, self.message, self.code = status, message, code
        self.body = body or {"error": message}
