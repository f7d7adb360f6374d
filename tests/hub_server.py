"""A small Hub on loopback: the calls that the real clients make to push and pull models, data sets and Spaces.

It checks what the real one checks: tokens and rights, names of branches, the YAML header of a README, sizes and checksums of
uploads. A commit appears whole or not at all.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LARGE_SUFFIXES = (".safetensors", ".parquet", ".png", ".wav", ".flac", ".ogg", ".mp3")
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


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


class HubServer:
    """The server and what it holds. `with HubServer({"hf_token": User("anna")}) as hub: hub.url`.

    Attributes:
        repos: by kind and id, such as `("model", "anna/fcn")`.
        requests: method and path of everything asked, in order.
        refuse_uploads: answer uploads of large files with an error.
        hold_uploads: keep uploads of large files without an answer until `release` is set; `upload_began` tells of them.
        cut_downloads: how many of the next answers with a file break off in the middle.
        trouble: what stands in the Hub's place: `silence` takes connections and never answers, `drip` sends a byte a second,
            `portal` answers all with a web page, `429` and `503` are its own answers when there is too much to do; "" is none.
        silent_downloads: never answer with a file.
        claimed_sizes: of files by their path, in place of the true ones.
    """

    def __init__(self, tokens: dict[str, User]):
        self.tokens = tokens
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.refuse_uploads = self.hold_uploads = False
        self.upload_began, self.release = threading.Event(), threading.Event()
        self.cut_downloads = 0
        self.trouble, self.silent_downloads = "", False
        self.connections: set[socket.socket] = set()
        self.claimed_sizes: dict[str, int] = {}
        self.lock = threading.Lock()
        self.port = 0
        self._start()
        self.url = f"http://127.0.0.1:{self.port}"

    def _start(self) -> None:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):  # those that clients keep open
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def __enter__(self) -> HubServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.release.set()
        self._stop()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections for a while."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    def files(self, repo_id: str, kind: str = "model", revision: str = "main") -> dict[str, bytes]:
        """What a revision of a repository holds, without the file that every repository starts with."""
        found = self.repos[kind, repo_id].find(revision).files
        return {path: data for path, data in found.items() if path != ".gitattributes"}


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.hub.connections.add(self.connection)

    def finish(self) -> None:
        self.hub.connections.discard(self.connection)
        super().finish()

    def _dispatch(self) -> None:
        parts = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        self.body = self._chunks() if chunked else self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.requests.append(f"{self.command} {parts.path}")
        if self.hub.trouble:
            return self._be_in_trouble()
        try:
            for method, pattern, action in _ROUTES:
                match = re.fullmatch(pattern, parts.path)
                if match and self.command in method:
                    return action(self, **{name: unquote(text) if text else text for name, text in match.groupdict().items()})
            raise Refusal(404, f"no such page: {parts.path}")
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            self._answer(json.dumps(refusal.body).encode(), refusal.status, headers)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _dispatch

    def _be_in_trouble(self) -> None:
        trouble, self.close_connection = self.hub.trouble, True
        if trouble == "silence":
            self.hub.release.wait(60)
        elif trouble == "drip":
            with contextlib.suppress(OSError):
                while not self.hub.release.wait(0.5):
                    self.wfile.write(b"H")
        elif trouble == "portal":
            self._answer(b"<!DOCTYPE html><html>Please log in</html>", 200, {"Content-Type": "text/html"})
        else:
            self._answer(b"{}", int(trouble), {"Retry-After": "60"})

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *arguments: object) -> None:
        """Silent: `requests` remembers."""

    def _answer(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _answer_json(self, value: Any) -> None:
        self._answer(json.dumps(value).encode())

    @property
    def _json(self) -> Any:
        return json.loads(self.body or b"{}")

    def _user(self) -> User | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        user = self.hub.tokens.get(header.removeprefix("Bearer "))
        if user is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return user

    def _may_write(self, owner: str) -> None:
        user = self._user()
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if not user.can_write or user.name != owner:
            raise Refusal(403, "You don't have the rights to write to this repository")

    def _repo(self, kind: str, repo: str, write: bool = False) -> Repo:
        user, found = self._user(), self.hub.repos.get((kind, repo))
        owner = repo.partition("/")[0]
        if found is None or (found.private and (user is None or user.name != owner)):
            raise Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        if write:
            self._may_write(owner)
        return found

    def _commit_of(self, repo: Repo, revision: str) -> Commit:
        found = repo.find(revision)
        if found is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def who(self) -> None:
        user = self._user()
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        self._answer_json({"type": "user", "name": user.name, "orgs": []})

    def create(self) -> None:
        asked = self._json
        kind, user = asked.get("type") or "model", self._user()
        owner = asked.get("organization") or (user.name if user else "")
        self._may_write(owner)
        repo_id = f"{owner}/{asked['name']}"
        url = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{repo_id}"
        if (kind, repo_id) in self.hub.repos:
            raise Refusal(409, f"You already created this {kind} repo", body={"error": "exists", "url": url})
        repo = Repo(repo_id, kind, asked.get("visibility") == "private", asked.get("sdk"))
        repo.commit("main", "initial commit", {".gitattributes": b"*.safetensors filter=lfs\n"})
        self.hub.repos[kind, repo_id] = repo
        self._answer_json({"url": url, "name": repo_id})

    def validate_yaml(self) -> None:
        asked = self._json
        match = re.match(r"---\n(.*?)\n---\n", asked["content"], re.DOTALL)
        header = yaml.safe_load(match.group(1)) if match else None
        errors = [] if isinstance(header, dict) else ["empty or missing yaml metadata"]
        if not errors and asked["repoType"] == "space":
            errors += [f'"{key}" must be one of {COLOURS}' for key in ("colorFrom", "colorTo") if header.get(key) not in COLOURS]
            errors += [f'"{key}" is required' for key in ("title", "sdk", "emoji") if key not in header]
            errors += ['"short_description" is longer than 60 characters'] * (len(header.get("short_description", "")) > 60)
            errors += ['"python_version" must be text'] * (not isinstance(header.get("python_version", ""), str))
        for entry in (header or {}).get("model-index", ()):
            results = entry.get("results") or [{}]
            if "name" not in entry or not all({"task", "dataset", "metrics"} <= set(result) for result in results):
                errors.append('"model-index" needs a name and results with task, dataset and metrics')
        body = {"errors": [{"message": message} for message in errors], "warnings": []}
        if errors:
            raise Refusal(400, "Invalid metadata", body=body | {"error": "Invalid metadata"})
        self._answer_json(body)

    def info(self, kinds: str, repo: str, revision: str | None = None) -> None:
        found = self._repo(KINDS[kinds], repo)
        commit = self._commit_of(found, revision or "main")
        self._answer_json({
            "id": repo, "sha": commit.sha, "private": found.private, "sdk": found.sdk, "tags": [], "downloads": 0, "likes": 0,
            "siblings": [{"rfilename": path, "size": size} for path, size in self._sizes(commit)],
        })

    def _sizes(self, commit: Commit) -> list[tuple[str, int]]:
        return [(path, self.hub.claimed_sizes.get(path, len(data))) for path, data in sorted(commit.files.items())]

    def refs(self, kinds: str, repo: str) -> None:
        found = self._repo(KINDS[kinds], repo)
        branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c[-1].sha} for n, c in found.branches.items()]
        self._answer_json({"branches": branches, "converts": [], "tags": []})

    def branch(self, kinds: str, repo: str, branch: str) -> None:
        found = self._repo(KINDS[kinds], repo, write=True)
        if branch in found.branches:
            raise Refusal(409, "Reference already exists")
        if not re.fullmatch(r"[\w./-]+", branch):
            raise Refusal(400, f"Invalid reference name {branch}")
        found.branches[branch] = [self._commit_of(found, self._json.get("startingPoint", "main"))]
        self._answer_json({})

    def _entry(self, path: str, data: bytes) -> dict:
        entry = {"type": "file", "path": path, "size": len(data), "oid": git_hash(data)}
        if path.endswith(LARGE_SUFFIXES):
            entry["lfs"] = {"oid": content_hash(path, data), "size": len(data), "pointerSize": 130}
        return entry

    def _entries(self, commit: Commit) -> list[dict]:
        folders = {"/".join(parts[:n]) for parts in (path.split("/") for path in commit.files) for n in range(1, len(parts))}
        entries = [{"type": "directory", "path": f, "size": 0, "oid": git_hash(f.encode())} for f in sorted(folders)]
        return entries + [self._entry(path, data) for path, data in sorted(commit.files.items())]

    def tree(self, kinds: str, repo: str, revision: str, folder: str | None = None) -> None:
        entries = self._entries(self._commit_of(self._repo(KINDS[kinds], repo), revision))
        prefix = f"{folder}/" if folder else ""
        inside = [entry for entry in entries if entry["path"].startswith(prefix)]
        if prefix and not inside:
            raise Refusal(404, f"{folder} does not exist", "EntryNotFound")
        if self.query.get("recursive", "").lower() not in ("1", "true"):
            inside = [entry for entry in inside if "/" not in entry["path"][len(prefix) :]]
        self._answer_json(inside)

    def paths_info(self, kinds: str, repo: str, revision: str) -> None:
        entries = self._entries(self._commit_of(self._repo(KINDS[kinds], repo), revision))
        is_json = "json" in self.headers.get("Content-Type", "")
        wanted = self._json["paths"] if is_json else parse_qs(self.body.decode()).get("paths", [])
        self._answer_json([entry for entry in entries if entry["path"] in wanted])

    def preupload(self, kinds: str, repo: str, revision: str) -> None:
        found = self._repo(KINDS[kinds], repo, write=True)
        there = self._commit_of(found, revision).files
        answers = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE_SUFFIXES) else "regular",
                "shouldIgnore": False,
                "oid": content_hash(file["path"], there[file["path"]]) if file["path"] in there else None,
            }
            for file in self._json["files"]
        ]
        self._answer_json({"files": answers})

    def lfs_batch(self, kinds: str | None, repo: str) -> None:
        self._repo(KINDS[kinds or "models"], repo, write=True)
        answers = []
        for wanted in self._json["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.objects:
                actions = {name: {"href": f"{self.hub.url}/storage/{wanted['oid']}"} for name in ("upload", "verify")}
                answer["actions"] = actions
            answers.append(answer)
        self._answer_json({"transfer": "basic", "objects": answers})

    def upload(self, oid: str) -> None:
        if self.hub.refuse_uploads:
            raise Refusal(400, "The storage is full")
        if self.hub.hold_uploads:
            self.hub.upload_began.set()
            self.hub.release.wait()
            raise ConnectionError
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, "The checksum does not match")
        self.hub.objects[oid] = self.body
        self._answer_json({})

    def verify(self, oid: str) -> None:
        if len(self.hub.objects.get(oid, b"")) != self._json["size"]:
            raise Refusal(404, "No such object")
        self._answer_json({})

    def commit(self, kinds: str, repo: str, revision: str) -> None:
        found = self._repo(KINDS[kinds], repo, write=True)
        title, files = "", dict(self._commit_of(found, revision).files)
        for line in self.body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "header":
                title = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Refusal(400, f"{value['path']} was not uploaded")
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        with self.hub.lock:
            sha = found.commit(revision, title, files).sha
        self._answer_json({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})

    def resolve(self, kinds: str | None, repo: str, revision: str, path: str) -> None:
        found = self._repo(KINDS[kinds or "models"], repo)
        if found.gated:
            raise Refusal(403, "Access to this model is restricted", "GatedRepo")
        commit = self._commit_of(found, revision)
        headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if path not in commit.files:
            raise Refusal(404, f"{path} does not exist", "EntryNotFound")
        data = commit.files[path]
        if self.hub.silent_downloads and self.command == "GET":
            self.hub.release.wait(60)
            raise ConnectionError
        headers |= {"ETag": f'"{content_hash(path, data)}"', "Content-Length": str(len(data))}
        first = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-")).group(1))
        if self.command == "GET" and self.hub.cut_downloads > 0:
            self.hub.cut_downloads -= 1
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        if first:
            headers |= {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}", "Content-Length": str(len(data) - first)}
        self._answer(data[first:], 206 if first else 200, headers)

    def variables(self, repo: str) -> None:
        found = self._repo("space", repo, write=True)
        if self.command == "POST":
            found.variables[self._json["key"]] = self._json["value"]
        self._answer_json({key: {"value": value} for key, value in found.variables.items()})

    def runtime(self, repo: str) -> None:
        found = self._repo("space", repo)
        if self.command == "POST":
            self._may_write(repo.partition("/")[0])
            found.hardware = self._json["flavor"]
        self._answer_json({"stage": "BUILDING", "hardware": {"current": None, "requested": found.hardware}})


_ID = r"(?P<repo>[\w.-]+/[\w.-]+)"
_API = rf"/api/(?P<kinds>models|datasets|spaces)/{_ID}"
_PAGE = rf"/(?:(?P<kinds>datasets|spaces)/)?{_ID}"
_ROUTES = (
    ("GET", "/api/whoami-v2", _Handler.who),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate_yaml),
    ("GET", rf"/api/spaces/{_ID}/runtime", _Handler.runtime),
    ("POST", rf"/api/spaces/{_ID}/hardware", _Handler.runtime),
    ("GET POST", rf"/api/spaces/{_ID}/variables", _Handler.variables),
    ("GET", _API, _Handler.info),
    ("GET", rf"{_API}/revision/(?P<revision>.+)", _Handler.info),
    ("GET", rf"{_API}/refs", _Handler.refs),
    ("POST", rf"{_API}/branch/(?P<branch>.+)", _Handler.branch),
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", _Handler.tree),
    ("POST", rf"{_API}/paths-info/(?P<revision>.+)", _Handler.paths_info),
    ("POST", rf"{_API}/preupload/(?P<revision>.+)", _Handler.preupload),
    ("POST", rf"{_API}/commit/(?P<revision>.+)", _Handler.commit),
    ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", r"/storage/(?P<oid>\w+)", _Handler.upload),
    ("POST", r"/storage/(?P<oid>\w+)", _Handler.verify),
    ("GET HEAD", rf"{_PAGE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
)
