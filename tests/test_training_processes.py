"""Several processes, on one host and on two, that train like one; and what becomes of them when one is lost."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from tests.test_stream import write_shards
from tests.training_runs import (
    ROOT,
    TIMEOUT_S,
    TINY,
    TrainingProcess,
    assert_same,
    newest_state,
    start_ranks,
    tiny_arguments,
    train,
    write_tiny_data,
)

TOLERANCE = 1e-5
N_STEPS = 3
# A hinge loss whose terms are all active gives biases a gradient of zero, but for rounding, which Adam would blow up to full
# steps; so its epsilon is larger here, in both runs. Sound blows rounding up too, a hundredfold (steps are still some 1e-4).
DAMPED = {"mel": {"ADAM_EPSILON": "1e-3"}, "tuned": {"ADAM_EPSILON": "1", "STILL_PHASES": "1"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("data"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in newest_state(folder).items() if name.startswith("model")}


def train_on_two(arguments: list[object], folder: Path, environment: dict[str, str] | None = None) -> str:
    """Train on two ranks to the end; what the first printed comes back."""
    ranks = start_ranks(arguments, folder, environment)
    assert [rank.wait() for rank in ranks] == [0, 0], "\n".join(rank.log for rank in ranks)
    return ranks[0].log


@pytest.mark.parametrize("kind", TINY)
def test_two_processes_train_like_one(kind, data, tmp_path):
    environment, n_steps = DAMPED.get(kind, {}), 1 if kind == "tuned" else N_STEPS
    train(tiny_arguments(kind, data, tmp_path / "one", n_steps), tmp_path / "log", environment)
    log = train_on_two(tiny_arguments(kind, data, tmp_path / "two", n_steps), tmp_path, environment)
    assert "training on 2 processes (cpu)" in log
    assert_same(weights(tmp_path / "one"), weights(tmp_path / "two"), TOLERANCE)


def test_two_processes_learn_from_a_stream_and_each_keeps_its_place(tmp_path):
    options = ["--streaming", "--data", write_shards(tmp_path / "shards"), "--max-steps", N_STEPS, "--batch-size", 4]
    options += ["--output-dir", tmp_path / "run", "--tracker", "none", "--preview-every", 1000, "--num-workers", 0]
    train_on_two([*TINY["fcn"], *options], tmp_path)
    record = json.loads((tmp_path / "run" / "checkpoints" / f"step-{N_STEPS:08d}" / "record.json").read_text())
    assert [list(positions) for positions in record["positions"]] == [["0"], ["0"]]


def test_a_run_of_one_or_two_processes_goes_on_with_two_or_one(data, tmp_path):
    train(tiny_arguments("toy", data, tmp_path / "one", N_STEPS - 1), tmp_path / "log")
    shutil.copytree(tmp_path / "one", tmp_path / "then-two")
    train(tiny_arguments("toy", data, tmp_path / "one", N_STEPS, "--resume"), tmp_path / "log")
    log = train_on_two(tiny_arguments("toy", data, tmp_path / "then-two", N_STEPS, "--resume"), tmp_path)
    assert f"resumed from step {N_STEPS - 1}" in log
    shutil.rmtree(tmp_path / "then-two" / "checkpoints" / f"step-{N_STEPS:08d}")
    shutil.copytree(tmp_path / "then-two", tmp_path / "then-one")
    train_on_two(tiny_arguments("toy", data, tmp_path / "then-two", N_STEPS, "--resume"), tmp_path)
    train(tiny_arguments("toy", data, tmp_path / "then-one", N_STEPS, "--resume"), tmp_path / "log")
    for name in ("then-two", "then-one"):
        assert_same(weights(tmp_path / "one"), weights(tmp_path / name), TOLERANCE)


def test_a_batch_that_cannot_be_divided_is_refused(data, tmp_path):
    ranks = start_ranks(tiny_arguments("fcn", data, tmp_path / "run", N_STEPS, "--batch-size", 3), tmp_path)
    assert [rank.wait() for rank in ranks] == [1, 1]
    assert "--batch-size must be a multiple of the number of processes, 2, got 3" in ranks[0].log


def start_long_run(data: Path, folder: Path) -> list[TrainingProcess]:
    """Two ranks with far more steps than anybody waits for, the first of them done."""
    arguments = tiny_arguments("fcn", data, folder / "run", 1_000_000, "--epochs", 1_000_000)
    ranks = start_ranks([word if word != "--checkpoint-every" else "--log-every" for word in arguments], folder)
    assert ranks[0].wait_until(lambda: re.search(r" [1-9]\d*/1000000", ranks[0].log)), ranks[0].log
    return ranks


def test_a_lost_process_ends_the_other_with_a_message(data, tmp_path):
    ranks = start_long_run(data, tmp_path)
    ranks[1].signal(signal.SIGKILL)
    lost_at = time.monotonic()
    assert ranks[0].wait() == 1, ranks[0].log
    assert time.monotonic() - lost_at < 60
    assert "process 0 lost contact with another process" in ranks[0].log and "--resume" in ranks[0].log
    assert "Traceback" not in ranks[0].log


def test_a_signal_to_one_process_stops_all_after_the_same_step(data, tmp_path):
    ranks = start_long_run(data, tmp_path)
    ranks[1].signal(signal.SIGTERM)
    assert [rank.wait() for rank in ranks] == [143, 143], ranks[0].log
    assert "stopped by SIGTERM after step" in ranks[0].log
    assert "python -m torch.distributed.run --standalone --nproc_per_node 2 training/train_cgan.py" in ranks[0].log
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1


@pytest.fixture
def launch(tmp_path):
    """`launch(words)` starts a command as a user would; none outlives the test. `output_of` waits for it."""
    started = []

    def start(words: list[object]) -> subprocess.Popen:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        with open(tmp_path / f"launched-{len(started)}.log", "w") as log:
            command = [str(word) for word in words]
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        started.append(process)
        started[-1].log_path = tmp_path / f"launched-{len(started) - 1}.log"
        return started[-1]

    yield start
    for process in started:
        for member in [*psutil.Process(process.pid).children(recursive=True), process] if process.poll() is None else []:
            member.kill()


def output_of(process: subprocess.Popen) -> str:
    process.wait(timeout=TIMEOUT_S)
    return process.log_path.read_text()


def test_an_elastic_restart_goes_on_from_the_checkpoint(data, tmp_path):
    train(tiny_arguments("toy", data, tmp_path / "one", 40), tmp_path / "log")
    process = TrainingProcess(tiny_arguments("toy", data, tmp_path / "two", 40), tmp_path / "elastic", {"MAX_RESTARTS": "1"})
    assert process.wait_until((tmp_path / "two" / "checkpoints" / "step-00000002").exists), process.log
    victim = sorted(psutil.Process(process.pid).children(), key=lambda child: child.pid)[1]  # the second rank
    victim.kill()
    assert process.wait() == 0, process.log
    assert "resumed from step" in process.log
    assert_same(weights(tmp_path / "one"), weights(tmp_path / "two"), TOLERANCE)


def test_accelerate_launch_tells_precision_and_that_it_runs_fewer_processes_than_asked(launch, data, tmp_path):
    arguments = tiny_arguments("fcn", data, tmp_path / "run", 1)
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--mixed_precision", "bf16"]
    process = launch([*launcher, ROOT / "training" / arguments[0], *arguments[1:]])
    output = output_of(process)
    assert process.returncode == 0, output
    assert "training on 1 process (cpu), mixed precision: bf16" in output
    assert "`accelerate launch` starts one process on a CPU; this starts several:" in output
    assert "--nproc_per_node 2 training/train_cgan.py" in output


@pytest.fixture
def two_hosts():
    """Two network namespaces joined by a cable: as good as two hosts, for all that a program can tell."""
    names = [f"genre-gan-{os.getpid()}-{number}" for number in range(2)]
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need `ip` (iproute2) and root")
    made = subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
    try:
        commands = [f"ip netns add {names[1]}", f"ip -n {names[0]} link add cable type veth peer name cable netns {names[1]}"]
        for number, name in enumerate(names):
            commands += [f"ip -n {name} addr add 10.99.0.{number + 1}/24 dev cable"]
            commands += [f"ip -n {name} link set {device} up" for device in ("lo", "cable")]
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no virtual cable here: {command}: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.mark.slow
def test_two_hosts_without_a_shared_disk_train_like_one(two_hosts, launch, data, tmp_path):
    train(tiny_arguments("fcn", data, tmp_path / "one", N_STEPS), tmp_path / "log")
    hosts = []
    for rank, name in enumerate(two_hosts):
        arguments = tiny_arguments("fcn", data, tmp_path / f"host-{rank}", N_STEPS)
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", 2, "--node_rank", rank, "--nproc_per_node", 1]
        torchrun += ["--master_addr", "10.99.0.1", "--master_port", 29500]
        enter = ["ip", "netns", "exec", name, "env", "GLOO_SOCKET_IFNAME=cable"]
        hosts.append(launch([*enter, *torchrun, ROOT / "training" / arguments[0], *arguments[1:]]))
    outputs = [output_of(host) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], "\n".join(outputs)
    assert "training on 2 processes" in outputs[0]
    assert_same(weights(tmp_path / "one"), weights(tmp_path / "host-0"), TOLERANCE)
    assert not (tmp_path / "host-1" / "checkpoints").exists()
