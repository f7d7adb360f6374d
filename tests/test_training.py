"""The training scripts as users run them: real processes, two steps, stopped and resumed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from genre_gan import GenreClassifier, GenreGenerator

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = {
    "train_lstm.py": ["--segment-s", "1", "--hidden-size", "8", "--split", "track"],
    "train_cgan.py": ["--model", "fcn", "--segment-s", "1", "--width", "8"],
}


def launch(script: str, *arguments: object, processes: int = 1) -> subprocess.CompletedProcess:
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [*start, str(ROOT / "training" / script), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)


def arguments_for(script: str, data: Path, folder: Path, steps: int) -> list[object]:
    common = ["--data", data, "--output-dir", folder, "--max-steps", steps, "--batch-size", 4, "--tracker", "none"]
    return [*common, "--checkpoint-every", 1, *SCRIPTS[script]]


def final_state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((folder / "checkpoints").glob("step-*"))[-1] / "state.safetensors")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_resumed_run_ends_with_the_same_weights_to_the_bit(script, music_folder, tmp_path):
    whole = launch(script, *arguments_for(script, music_folder, tmp_path / "whole", 2))
    assert whole.returncode == 0, whole.stderr
    assert "training on 1 process (cpu)" in whole.stdout + whole.stderr
    launch(script, *arguments_for(script, music_folder, tmp_path / "parts", 1))
    refused = launch(script, *arguments_for(script, music_folder, tmp_path / "parts", 2))
    assert refused.returncode != 0 and "--resume" in refused.stderr
    newest = sorted((tmp_path / "parts" / "checkpoints").glob("step-*"))[-1]
    resumed = launch(script, *arguments_for(script, music_folder, tmp_path / "parts", 2), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from step 1" in resumed.stdout + resumed.stderr
    assert newest.name == "step-00000001"
    first, second = final_state(tmp_path / "whole"), final_state(tmp_path / "parts")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    pipeline = GenreClassifier if script == "train_lstm.py" else GenreGenerator
    loaded = pipeline.from_pretrained(tmp_path / "parts" / "model")
    assert loaded.genres == ("blues", "metal")
    assert loaded.model.training_record["steps"] == 2


def test_two_processes_train_like_one(music_folder, tmp_path):
    script = "train_cgan.py"
    assert launch(script, *arguments_for(script, music_folder, tmp_path / "one", 2)).returncode == 0
    two = launch(script, *arguments_for(script, music_folder, tmp_path / "two", 2), processes=2)
    assert two.returncode == 0, two.stderr
    assert "training on 2 processes" in two.stdout + two.stderr
    first, second = final_state(tmp_path / "one"), final_state(tmp_path / "two")
    for name in first:
        if name.startswith("module."):
            assert torch.allclose(first[name], second[name], atol=1e-5), name


def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_used(music_folder, tmp_path):
    folder = tmp_path / "run"
    assert launch("train_cgan.py", *arguments_for("train_cgan.py", music_folder, folder, 2)).returncode == 0
    state = folder / "checkpoints" / "step-00000002" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    resumed = launch("train_cgan.py", *arguments_for("train_cgan.py", music_folder, folder, 3), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    output = resumed.stdout + resumed.stderr
    assert "step-00000002 is damaged" in output and "resumed from step 1" in output


def test_previews_are_written_and_wrong_data_is_one_line(music_folder, tmp_path):
    folder = tmp_path / "run"
    assert launch("train_cgan.py", *arguments_for("train_cgan.py", music_folder, folder, 1)).returncode == 0
    names = {path.name for path in (folder / "previews" / "step-00000001").iterdir()}
    assert names == {"blues.wav", "metal.wav", "spectrograms.png"}
    assert json.loads((folder / "args.json").read_text())["model"] == "fcn"
    wrong = launch("train_cgan.py", *arguments_for("train_cgan.py", tmp_path / "nowhere", tmp_path / "other", 1))
    assert wrong.returncode != 0
    assert "error: " in wrong.stderr and "Traceback" not in wrong.stderr


def test_accelerate_launch_that_runs_fewer_processes_than_asked_is_told(music_folder, tmp_path):
    start = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command = [*start, ROOT / "training" / "train_cgan.py", *arguments_for("train_cgan.py", music_folder, tmp_path / "run", 1)]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    output = run.stdout + run.stderr
    assert "2 processes were asked for but 1 runs" in output
    assert "--nproc_per_node 2 training/train_cgan.py" in output
