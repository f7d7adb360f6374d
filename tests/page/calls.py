"""Asking the page over plain HTTP."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def post(address: str, body: bytes, kind: str = "application/json") -> bytes:
    request = urllib.request.Request(address, body, {"Content-Type": kind})
    return urllib.request.urlopen(request, timeout=60).read()


def call(address: str, endpoint: str, *values: Any) -> str:
    """The answer of an endpoint of the page at that address, as text; one without a body where it is busy."""
    address = f"{address}gradio_api/call/{endpoint}"
    try:
        event = json.loads(post(address, json.dumps({"data": values}).encode()))["event_id"]
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    return urllib.request.urlopen(f"{address}/{event}", timeout=300).read().decode()


def generate_values(genre: str = "jazz", duration_s: float = 2, seed: Any = 1, model: str = "mel") -> list[Any]:
    """All that `/generate` takes, in its order."""
    return [genre, duration_s, seed, "none", 30, 1.0, model, None, None, False]


def data_of(answer: str) -> list[Any]:
    """What an answer brought."""
    return json.loads(answer.split("data: ")[-1])


def error_of(answer: str) -> str:
    """The words of an error that an answer brought."""
    assert "event: error" in answer, answer
    return data_of(answer)["error"]


def assert_no_path(message: str) -> None:
    assert "/" not in message and "Traceback" not in message
