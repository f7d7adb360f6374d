"""How the small Hub speaks HTTP, and whom it lets do what."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.repos import Commit, Refusal, Repo, User

if TYPE_CHECKING:
    from tests.hub.server import HubServer


class Handler(BaseHTTPRequestHandler):
    """Reads requests, finds what answers them among `routes`, and knows who asks."""

    hub: HubServer
    routes: tuple[tuple[str, str, Callable], ...]
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
            for method, pattern, action in self.routes:
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
