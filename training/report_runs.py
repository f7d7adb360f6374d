"""What the runs of the report's experiments gave, in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from genre_gan.files import write_bytes

NAME = "runs.jsonl"


class Runs:
    """Results of runs, a line of JSON each, in the order in which they were made.

    Attributes:
        results: of classifiers, which have a `row`, and of GANs, which have a `generator`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.results: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def find(self, name: str, protocol: str, seed: int, settings: dict[str, Any]) -> dict[str, Any] | None:
        """The result of a row or a generator, if its run is done; `ValueError` where that had other settings than these."""
        for result in self.results:
            if (result.get("row", result.get("generator")), result["protocol"], result["seed"]) == (name, protocol, seed):
                if result["settings"] != settings:
                    raise ValueError(
                        f"{name}, {protocol}, seed {seed} in {self.path} was made with {result['settings']}, now {settings}: "
                        "use another --output-dir, or delete that line"
                    )
                return result
        return None

    def add(self, result: dict[str, Any]) -> None:
        """Append a result, its numbers to four places; the file is written aside and renamed."""
        self.results.append(_rounded(result))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path, "".join(json.dumps(line) + "\n" for line in self.results).encode())


def _rounded(value: Any) -> Any:
    """The same with numbers to four places."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(float(value), 4) if isinstance(value, (float, np.floating)) else value
