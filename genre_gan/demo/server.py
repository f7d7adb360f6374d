"""Serving the page to strangers: limits of size, number and time."""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlparse

import gradio as gr
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

MAX_UPLOAD_MB = 50
MAX_BODY_BYTES = 1_000_000  # of a request that is no upload
MAX_CACHE_BYTES = 4_000_000_000
CSS = Path(__file__).with_name("style.css")


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


def serve(demo: gr.Blocks, **settings) -> None:
    """Launch the page, in threads of its own, with the limits that strangers need; `settings` go to gradio's `launch`."""
    demo.launch(
        prevent_thread_lock=True, theme=gr.themes.Soft(font=["system-ui", "sans-serif"]), css_paths=CSS,
        footer_links=["api", "settings", "gradio"], app_kwargs={"middleware": [Middleware(BodyLimit)]},
        max_file_size=f"{MAX_UPLOAD_MB}mb", state_session_capacity=1_000, enable_monitoring=False, run_history=False,
        mcp_server=importlib.util.find_spec("mcp") is not None, **settings,
    )
