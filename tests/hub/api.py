"""The calls of the Hub's HTTP interface that the real clients make, answered as the real one does."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from urllib.parse import parse_qs

import yaml

from tests.hub.handler import Handler
from tests.hub.repos import LARGE_SUFFIXES, Commit, Refusal, Repo, content_hash, git_hash

COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


class Api(Handler):
    """One method for each call; `routes` says which."""

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
Api.routes = (
    ("GET", "/api/whoami-v2", Api.who),
    ("POST", "/api/repos/create", Api.create),
    ("POST", "/api/validate-yaml", Api.validate_yaml),
    ("GET", rf"/api/spaces/{_ID}/runtime", Api.runtime),
    ("POST", rf"/api/spaces/{_ID}/hardware", Api.runtime),
    ("GET POST", rf"/api/spaces/{_ID}/variables", Api.variables),
    ("GET", _API, Api.info),
    ("GET", rf"{_API}/revision/(?P<revision>.+)", Api.info),
    ("GET", rf"{_API}/refs", Api.refs),
    ("POST", rf"{_API}/branch/(?P<branch>.+)", Api.branch),
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", Api.tree),
    ("POST", rf"{_API}/paths-info/(?P<revision>.+)", Api.paths_info),
    ("POST", rf"{_API}/preupload/(?P<revision>.+)", Api.preupload),
    ("POST", rf"{_API}/commit/(?P<revision>.+)", Api.commit),
    ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", Api.lfs_batch),
    ("PUT", r"/storage/(?P<oid>\w+)", Api.upload),
    ("POST", r"/storage/(?P<oid>\w+)", Api.verify),
    ("GET HEAD", rf"{_PAGE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Api.resolve),
)
