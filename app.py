"""The demo in the browser: generate music by genre, and name the genre of an upload.

    python app.py                                    # http://127.0.0.1:7860
    python app.py --port 8000 --auth anna:secret     # with a login
    python app.py --share                            # with a temporary public link
    python app.py --model user/genre-gan --classifier runs/lstm

The page is also an API, `/generate` and `/classify`, and an MCP server where `gradio[mcp]` is installed.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path


def _login(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    if not user or not password:
        # the text itself may be a password, so the message does not repeat it
        raise argparse.ArgumentTypeError("must be user:password, with neither part empty")
    return user, password


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 65535, got {text!r}")
    return int(text)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; on a Hugging Face Space the page is served to the outside by default."""
    parser = argparse.ArgumentParser(description="Serve the demo: generate music by genre, and classify uploads.")
    default_host = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"
    parser.add_argument("--host", default=default_host, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also make a temporary public link")
    parser.add_argument("--auth", type=_login, metavar="USER:PASSWORD", help="ask visitors to log in")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda", "mps"),
        help="where the models run (default: a GPU where there is one)",
    )
    for option, variable in (("model", "GENRE_GAN_MODEL"), ("classifier", "GENRE_GAN_CLASSIFIER")):
        parser.add_argument(
            f"--{option}", metavar="REPO_OR_FOLDER", default=os.environ.get(variable) or None,
            help=f"{option} to offer first (default: ${variable}, else the weights in the package)",
        )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Load the models and serve the page until interrupted."""
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops it, the cache goes too
    import torch

    from genre_gan.demo.limits import AT_ONCE, MAX_CACHE_BYTES
    from genre_gan.demo.models import Models
    from genre_gan.demo.page import build_demo
    from genre_gan.demo.server import serve, trim_cache, trim_memory

    torch.set_num_threads(max(1, torch.get_num_threads() // AT_ONCE))
    with tempfile.TemporaryDirectory(prefix="genre_gan_", dir=os.environ.get("GRADIO_TEMP_DIR")) as cache:
        os.environ["GRADIO_TEMP_DIR"] = cache
        try:
            models = Models(args.model, args.classifier, args.device)
            demo = build_demo(models)
            serve(demo, server_name=args.host, server_port=args.port, share=args.share, auth=args.auth)
        except (ValueError, OSError) as error:
            raise SystemExit(f"app.py: {error}") from error
        if args.share and demo.share_url is None:
            print(f"No public link could be made (is there a network?); the demo stays on {demo.local_url}", flush=True)
        models.warm_up()
        try:
            while True:
                trim_cache(Path(cache), MAX_CACHE_BYTES)
                trim_memory()
                time.sleep(60)
        except KeyboardInterrupt:
            demo.close()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # while it starts
        raise SystemExit(130) from None
