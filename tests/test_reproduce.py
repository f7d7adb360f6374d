"""The report's experiments on tiny synthetic music, in this process."""

import json

import numpy as np
import pytest

from genre_gan.genres import GENRES
from tests.conftest import write_music_folder
from training import reproduce
from training.report_page import write_page
from training.trials import NO_TRACK, Items, score


@pytest.fixture
def arguments(tmp_path):
    write_music_folder(tmp_path / "music", ("blues", "metal"), 5, 5.0)
    common = ["--data", tmp_path / "music", "--output-dir", tmp_path / "results", "--work-dir", tmp_path / "work"]
    return [str(word) for word in (*common, "--scale", "0.02", "--gan-scale", "0.002", "--protocols", "segment")]


def results(tmp_path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (tmp_path / "results" / "report").glob("*.json")}
