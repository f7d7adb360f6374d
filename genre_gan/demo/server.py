"""Serving the page to strangers: limits of size, number and time."""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlparse

import gradio as gr
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from genre_gan.demo.limits import MAX_BODY_BYTES, MAX_SESSIONS, MAX_UPLOAD_MB
from genre_gan.demo.look import theme

# gradio shows its tab for MCP even where there is none; it is the last one
NO_MCP_CSS = ".api-docs .snippets > li.snippet:last-child { display: none }"
WEB = Path(__file__).parent / "web"


async def own_file(url: str, cache_dir: str) -> str:
    """The file behind an address of this page, in place of gradio's download, which would hold a file of any size in memory."""
    path = Path(unquote(urlparse(url).path).partition("/gradio_api/file=")[2]).resolve()
    if not (path.is_relative_to(Path(cache_dir).resolve()) and path.is_file()):
        raise gr.Error("Send the file itself: addresses of other sites are not fetched here.", print_exception=False)
    return str(path)


class BodyLimit:
    """Middleware that ends requests larger than an upload, or than any other request, may be."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        is_upload = scope.get("path", "").endswith("/upload")
        left = MAX_UPLOAD_MB * 2**20 + MAX_BODY_BYTES if is_upload else MAX_BODY_BYTES

        async def receive_some():
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, "This is too large to send.")
            return message

        await self.app(scope, receive_some if scope["type"] == "http" else receive, send)


def trim_cache(folder: Path, max_bytes: int) -> None:
    """Delete the oldest files of `folder` until at most `max_bytes` are left."""
    files = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # gradio deletes here too
            if path.is_file():
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    excess = sum(size for _, size, _ in files) - max_bytes
    for _, size, path in sorted(files):
        if excess <= 0:
            return
        excess -= size
        path.unlink(missing_ok=True)


def trim_memory() -> None:
    """Give freed memory back to the system. Glibc keeps it, the more of it the more threads have held some."""
    with suppress(OSError, AttributeError):  # where there is another library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def serve(demo: gr.Blocks, **settings) -> None:
    """Launch the page, in threads of its own, with the limits that strangers need; `settings` go to gradio's `launch`.

    Raises:
        ValueError: the port is in use, or the host is none of this machine's addresses.
    """
    scripts = "".join(f"<script>{path.read_text(encoding='utf-8')}</script>" for path in (WEB / "clips.js",))
    css = (WEB / "style.css").read_text(encoding="utf-8") + ("" if has_mcp() else NO_MCP_CSS)
    check_address(settings.get("server_name") or "127.0.0.1", settings.get("server_port") or 0)
    demo.launch(
        prevent_thread_lock=True, theme=theme(), css=css, head=scripts, footer_links=["api", "settings", "gradio"],
        app_kwargs={"middleware": [Middleware(BodyLimit)]}, max_file_size=f"{MAX_UPLOAD_MB}mb",
        state_session_capacity=MAX_SESSIONS, enable_monitoring=False, run_history=False, mcp_server=has_mcp(), **settings,
    )  # fmt: skip


def check_address(host: str, port: int) -> None:
    """Raise `ValueError` where nothing can be served: gradio would say of all of it that there is no empty port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ValueError(f"port {port} is in use: choose another, or leave out --port for the first free one") from error
            raise ValueError(f"port {port or 'any'} of host {host!r} cannot be listened on: {error.strerror}") from error


def has_mcp() -> bool:
    """Whether `gradio[mcp]` is installed."""
    return importlib.util.find_spec("mcp") is not None
