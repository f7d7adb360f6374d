"""Scripts on the older loop: they end alike however they are stopped, and two processes train like one."""

import signal
import time
from pathlib import Path

import pytest

from tests.training_runs import (
    TINY_OLD,
    TrainingProcess,
    assert_same,
    newest_state,
    start_ranks,
    tiny_arguments,
    train,
    write_tiny_data,
)

N_STEPS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("data"))


def weights(folder: Path) -> dict:
    return {name: tensor for name, tensor in newest_state(folder).items() if ".module." in name}


@pytest.mark.parametrize("kind", TINY_OLD)
def test_a_killed_run_ends_like_one_that_was_not_to_the_bit(kind, data, tmp_path):
    train(tiny_arguments(kind, data, tmp_path / "whole", N_STEPS), tmp_path / "log")
    process = TrainingProcess(tiny_arguments(kind, data, tmp_path / "run", N_STEPS), tmp_path / "killed")
    process.wait_until(lambda: any((tmp_path / "run" / "checkpoints").glob("step-*")))
    process.signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    train(tiny_arguments(kind, data, tmp_path / "run", N_STEPS, "--resume"), tmp_path / "log")
    assert_same(newest_state(tmp_path / "whole"), newest_state(tmp_path / "run"))


@pytest.mark.parametrize("kind", TINY_OLD)
def test_two_processes_train_like_one(kind, data, tmp_path):
    # A hinge loss whose terms are all active gives biases a gradient of zero, but for rounding, which Adam would blow up to
    # full steps; so its epsilon is larger here, in both runs. The LSTM draws dropout for each rank, so it goes without.
    environment = {"ADAM_EPSILON": "1e-3"}
    train(tiny_arguments(kind, data, tmp_path / "one", N_STEPS), tmp_path / "log", environment)
    ranks = start_ranks(tiny_arguments(kind, data, tmp_path / "two", N_STEPS), tmp_path, environment)
    assert [rank.wait() for rank in ranks] == [0, 0], "\n".join(rank.log for rank in ranks)
    assert_same(weights(tmp_path / "one"), weights(tmp_path / "two"), 1e-5)
