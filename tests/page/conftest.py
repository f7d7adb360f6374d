import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import pytest
from gradio_client import Client

from genre_gan import Clip
from genre_gan.demo.models import Models
from genre_gan.demo.page import build_demo
from genre_gan.demo.server import serve
from genre_gan.models.waveform import WaveformGANConfig, WaveformGenerator
from tests.conftest import SAMPLE_RATE_HZ, TWO_GENRES, synthesize


@pytest.fixture(scope="session")
def models() -> Models:
    return Models()


@pytest.fixture(scope="session")
def demo(models):
    demo = build_demo(models)
    serve(demo, server_name="127.0.0.1", quiet=True)
    yield demo
    demo.close()


@pytest.fixture(scope="session")
def client(demo, tmp_path_factory):
    client = Client(demo.local_url, download_files=tmp_path_factory.mktemp("downloads"), verbose=False)
    yield client
    client.close()


@pytest.fixture
def music(tmp_path) -> Path:
    return Clip(synthesize(220.0, 2.0, 7.0, seed=0), SAMPLE_RATE_HZ).save(tmp_path / "song.wav")


@pytest.fixture
def two_genre_model(tmp_path) -> Path:
    config = WaveformGANConfig(n_samples=2_205, sample_rate_hz=2_205, genres=TWO_GENRES, width=8)
    return WaveformGenerator(config).save_pretrained(tmp_path / "mine")
