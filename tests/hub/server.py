"""A small Hub on loopback: the calls that the real clients make to push and pull models, data sets and Spaces.

It checks what the real one checks: tokens and rights, names of branches, the YAML header of a README, sizes and checksums of
uploads. A commit appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

from tests.hub.api import Api
from tests.hub.repos import Repo, User


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
        handler = type("Handler", (Api,), {"hub": self})
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
