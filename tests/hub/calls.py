"""What the client of the small Hub calls."""

import contextlib
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from genre_gan import GenreClassifier, GenreGenerator
from genre_gan.data.sources import load_tracks

ROOT = Path(__file__).resolve().parents[2]
ANNA, READER, BEN = "hf_anna_secret", "hf_anna_read_secret", "hf_ben_secret"


def printed(main: Callable, *argv: object) -> str:
    """What a script prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        main([str(argument) for argument in argv])
    return output.getvalue()


def samples_of(source: str, revision: str | None = None) -> np.ndarray:
    """A clip, made on one thread: several add up in another order, which phases that accumulate blow up."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return GenreGenerator.from_pretrained(source, revision).generate("blues", 1.0, seed=3).samples
    finally:
        torch.set_num_threads(n_threads)


def sound_alike(first: np.ndarray, second: np.ndarray) -> bool:
    return np.allclose(first, second, atol=1e-4)


def probabilities_of(source: str) -> dict[str, float]:
    tone = np.sin(np.arange(22_050) * 0.1).astype(np.float32)
    return GenreClassifier.from_pretrained(source).classify((tone, 22_050)).probabilities


def loaded_rows(repo_id: str) -> tuple[dict[str, bytes], list[str], tuple[str, ...]]:
    tracks = load_tracks([repo_id])
    return {track.id: track.audio for track in tracks}, tracks.splits, tracks.genres


def raw_features(repo_id: str) -> tuple[list[str], str, list[str]]:
    """What someone sees who knows nothing of this project."""
    from datasets import load_dataset

    dataset = load_dataset(repo_id, split="train")
    return dataset.column_names, type(dataset.features["audio"]).__name__, dataset.features["genre"].names


def timed_failure(function: Callable, *arguments: object) -> tuple[str, float]:
    start = time.perf_counter()
    try:
        function(*arguments)
    except ValueError as error:
        return str(error), time.perf_counter() - start
    raise AssertionError("no error")
