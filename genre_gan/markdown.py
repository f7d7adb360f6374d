"""Tables and estimates in Markdown, for model cards and pages of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a line for each of `rows`."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def interval(estimate: Mapping[str, float], digits: int = 2) -> str:
    """An estimate's `value` with its `low` and `high`, such as "0.63 (0.55 to 0.72)"."""
    value, low, high = (f"{estimate[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
