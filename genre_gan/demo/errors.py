"""What visitors read when something goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

logger = logging.getLogger(__name__)


@contextmanager
def user_errors(path: str | None = None) -> Iterator[None]:
    """Show the user a `ValueError`'s own words (with `path` cut to its name); log anything else and apologise."""
    try:
        yield
    except gr.Error:
        raise
    except ValueError as error:
        message = str(error)
        if path is not None:
            message = message.replace(path, Path(path).name)
        raise gr.Error(message, print_exception=False) from error
    except FileNotFoundError as error:
        raise gr.Error("This sound is no longer kept here: please make it or send it again.", print_exception=False) from error
    except Exception as error:
        logger.exception("a request failed")
        raise gr.Error("Something went wrong here. Please try again.", print_exception=False) from error
