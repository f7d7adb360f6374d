"""A small Hub, and a client of it.

The Hub's real clients read their settings when they are imported, so all calls run in one worker process with its settings.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from tests.hub.calls import ANNA, BEN, READER, ROOT
from tests.hub.repos import User
from tests.hub.server import HubServer
from tests.test_models import tiny_spectral_model

TOKENS = {ANNA: User("anna"), READER: User("anna", can_write=False), BEN: User("ben")}


@pytest.fixture(scope="session")
def _server() -> Iterator[HubServer]:
    with HubServer(TOKENS) as server:
        yield server


@pytest.fixture
def hub(_server) -> HubServer:
    _server.repos.clear()
    _server.requests.clear()
    _server.refuse_uploads = _server.hold_uploads = False
    _server.cut_downloads, _server.trouble, _server.silent_downloads = 0, "", False
    _server.claimed_sizes.clear()
    _server.upload_began.clear()
    _server.release.clear()
    return _server


@pytest.fixture(scope="session")
def environment(_server, tmp_path_factory) -> dict[str, str]:
    """The variables of a machine that knows this Hub alone."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy") and name != "HF_HUB_OFFLINE"}
    home = tmp_path_factory.mktemp("home")
    flags = dict.fromkeys(("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"), "1")
    return kept | flags | {
        "HF_ENDPOINT": _server.url, "HF_HOME": str(home), "HF_TOKEN": ANNA, "GENRE_GAN_CACHE": str(home / "features"),
        "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT),
    }


@pytest.fixture(scope="session")
def client(environment) -> Iterator[Callable]:
    """`client(function, *arguments, token=ANNA)` calls a function where the environment is that of `environment`."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    started = pool.submit(os.getpid)
    os.environ.clear()
    os.environ.update(before)
    started.result()
    with pool:
        yield lambda function, *arguments, token=ANNA: pool.submit(_with_token, token, function, arguments).result()


def _with_token(token: str | None, function: Callable, arguments: tuple) -> Any:
    os.environ.pop("HF_TOKEN", None)
    if token is not None:
        os.environ["HF_TOKEN"] = token
    return function(*arguments)


@pytest.fixture
def generator(tmp_path) -> Path:
    """The folder of a model with its parts below it, in the folder of the run that trained it."""
    run = tmp_path / "run"
    model = tiny_spectral_model()
    model.generator.training_record = {
        "command": "python training/train_cgan.py --data genres --output-dir runs/mel", "data": ["gtzan"], "tracks": 10,
        "tracks_per_genre": {"blues": 5, "metal": 5}, "split": "artist", "steps": 2, "seed": 0,
        "valid": {"frechet": 23.5, "n_clips": 40},
    }
    folder = model.save_pretrained(run / "model")
    (run / "args.json").write_text("{}")
    (run / "learning_curve.png").write_bytes(b"\x89PNG picture")
    (folder / "notes.txt").write_text("not a part of the model")
    for step, word in ((1, b"old"), (2, b"new")):
        previews = run / "previews" / f"step-{step:08d}"
        previews.mkdir(parents=True)
        for name in ("blues.wav", "metal.wav", "recording-of-others.wav"):
            (previews / name).write_bytes(word + name.encode())
    return folder
