"""Trainings that are killed, stopped or starved: real processes, real signals, full disks."""

import json
import random
import signal
import time
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

import training.trainer
from genre_gan import GenreClassifier, GenreGenerator
from genre_gan.features import FeatureConfig
from genre_gan.pretrained import read_config
from tests.conftest import write_music_folder
from tests.training_runs import TINY, TrainingProcess, assert_same, newest_state, tiny_arguments, train, write_tiny_data
from training import train_cgan
from training.arguments import TrainingError
from training.batches import load_features
from training.run_folder import check_run
from training.train_cgan import parse_args
from training.trainer import Trainer

N_STEPS = 4
PIPELINES = {"train_lstm.py": GenreClassifier, "train_cgan.py": GenreGenerator, "tune_cgan.py": GenreGenerator}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("data"))


def arguments_for(kind: str, data: Path, output_dir: Path, *more: object) -> list[object]:
    return tiny_arguments(kind, data, output_dir, N_STEPS, *more)


@pytest.fixture(scope="module")
def whole_run(data, tmp_path_factory):
    """`whole_run(kind)` gives the folder of a run that nothing stopped, its log, and how many seconds it took."""
    runs = {}

    def get(kind: str) -> tuple[Path, str, float]:
        if kind not in runs:
            folder = tmp_path_factory.mktemp(kind)
            began = time.monotonic()
            log = train(arguments_for(kind, data, folder / "run"), folder / "log")
            runs[kind] = folder / "run", log, time.monotonic() - began
        return runs[kind]

    return get


def is_writing(folder: Path) -> bool:
    return any((folder / "checkpoints").glob(".writing-*"))


def kill_and_resume(kind: str, data: Path, folder: Path, whole: Path, moments: list[float | None]) -> None:
    """Kill a run at each moment, in seconds from its start, or None for while it writes a checkpoint; then let it end."""
    for number, moment in enumerate(moments):
        process = TrainingProcess(arguments_for(kind, data, folder / "run", "--resume"), folder / f"log-{number}")
        if moment is None:
            process.wait_until(lambda: is_writing(folder / "run"))
        else:
            process.wait_for(moment)
        process.signal(signal.SIGKILL)
        assert process.wait() in (0, -signal.SIGKILL), process.log
    log = train(arguments_for(kind, data, folder / "run", "--resume"), folder / "log")
    assert_same(newest_state(whole), newest_state(folder / "run"))
    steps = [row["step"] for row in json.loads((folder / "run" / "history.json").read_text())]
    assert steps == [row["step"] for row in json.loads((whole / "history.json").read_text())], log


@pytest.mark.parametrize("kind", TINY)
def test_a_killed_run_ends_like_one_that_was_not_to_the_bit(kind, data, whole_run, tmp_path):
    whole, log, _ = whole_run(kind)
    assert "training on 1 process (cpu), mixed precision: no" in log
    kill_and_resume(kind, data, tmp_path, whole, [None])
    if pipeline := PIPELINES.get(TINY[kind][0]):
        assert read_config(tmp_path / "run" / "model")["training"]["steps"] == N_STEPS
        assert pipeline.from_pretrained(tmp_path / "run" / "model").genres == ("blues", "metal")


@pytest.mark.slow
@pytest.mark.parametrize("kind", TINY)
def test_a_run_survives_many_kills(kind, data, whole_run, tmp_path):
    whole, _, duration_s = whole_run(kind)
    rng = random.Random(f"many {kind}")
    kill_and_resume(kind, data, tmp_path, whole, [rng.choice([None, rng.uniform(0.0, duration_s)]) for _ in range(20)])


def test_a_folder_with_a_run_is_refused_unless_resumed_or_overwritten(data, whole_run, tmp_path):
    arguments = arguments_for("fcn", data, tmp_path / "run")
    process = TrainingProcess(arguments, tmp_path / "log")
    assert process.wait_until((tmp_path / "run" / "args.json").exists)
    process.signal(signal.SIGSTOP)
    for option, reason in (("--resume", "another process is training"), ("--overwrite", "another process is training")):
        second = TrainingProcess([*arguments, option], tmp_path / f"log{option}")
        assert second.wait() == 1 and reason in second.log
    process.signal(signal.SIGKILL)
    process.wait()
    refused = TrainingProcess(arguments, tmp_path / "refused")
    assert refused.wait() == 1
    assert "--resume" in refused.log and "--overwrite" in refused.log and "Traceback" not in refused.log
    changed = TrainingProcess([*arguments, "--resume", "--width", 16], tmp_path / "changed")
    assert changed.wait() == 1 and "width was 8, now 16" in changed.log
    (tmp_path / "run" / "mine.txt").write_text("not the run's")
    train([*arguments, "--overwrite"], tmp_path / "overwritten")
    assert_same(newest_state(whole_run("fcn")[0]), newest_state(tmp_path / "run"))
    assert (tmp_path / "run" / "mine.txt").exists()


@pytest.mark.parametrize(("number", "n_workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 2)])
def test_a_signal_saves_and_names_the_command_that_goes_on(number, n_workers, data, tmp_path):
    """A terminal's Ctrl-C reaches the processes that read ahead too."""
    arguments = tiny_arguments("fcn", data, tmp_path / "run", 100_000, "--epochs", 100_000, "--num-workers", n_workers)
    arguments[arguments.index("--checkpoint-every") + 1] = 100_000
    process = TrainingProcess(arguments, tmp_path / "log")
    assert process.wait_until(lambda: "loss D" in process.log)
    process.signal(number, with_children=n_workers > 0)
    assert process.wait() == 128 + number, process.log
    assert f"stopped by {number.name} after step" in process.log
    command = next(line for line in process.log.splitlines() if line.startswith("  python training/train_cgan.py --model fcn"))
    assert command.endswith(" --resume")
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    done = int(checkpoint.name.removeprefix("step-"))
    log = train([*arguments, "--max-steps", done + 1, "--resume"], tmp_path / "resumed")
    assert f"resumed from step {done}" in log


def test_damaged_checkpoints_are_noticed_and_the_one_before_them_used(data, whole_run, tmp_path):
    arguments = arguments_for("fcn", data, tmp_path / "run", "--keep-checkpoints", 3)
    train(arguments, tmp_path / "log")
    folder = tmp_path / "run" / "checkpoints"
    assert [path.name for path in sorted(folder.iterdir())] == ["step-00000002", "step-00000003", "step-00000004"]
    state = folder / "step-00000004" / "optimizer_1.bin"
    state.write_bytes(state.read_bytes()[:-100])
    (folder / "step-00000003" / "record.json").write_text("{")
    log = train([*arguments, "--resume"], tmp_path / "resumed")
    assert "step-00000004 is damaged (the checksum of optimizer_1.bin does not match)" in log
    assert "step-00000003 is damaged" in log and "resumed from step 2" in log
    assert_same(newest_state(whole_run("fcn")[0]), newest_state(tmp_path / "run"))


def test_other_data_is_not_resumed_into(data, tmp_path):
    train(arguments_for("fcn", data, tmp_path / "run"), tmp_path / "log")
    write_music_folder(tmp_path / "other", tracks_per_genre=2, duration_s=3.0)
    words = [*arguments_for("fcn", data, tmp_path / "run", "--resume"), "--data", tmp_path / "other"]
    other = TrainingProcess(words, tmp_path / "other.log")
    assert other.wait() == 1 and "the data is not what the run" in other.log


def test_a_full_disk_is_a_clear_error_and_the_last_checkpoint_stands(data, whole_run, tmp_path):
    arguments = arguments_for("fcn", data, tmp_path / "run", "--max-steps", 2)
    train(arguments, tmp_path / "log")
    limit = (tmp_path / "run" / "checkpoints" / "step-00000002" / "model.safetensors").stat().st_size // 2
    words = arguments_for("fcn", data, tmp_path / "run", "--resume")
    starved = TrainingProcess(words, tmp_path / "starved", {"FILE_SIZE_LIMIT": str(limit)})
    assert starved.wait() == 1
    assert "error: the checkpoint of step 3 cannot be written" in starved.log and "Traceback" not in starved.log
    assert [path.name for path in sorted((tmp_path / "run" / "checkpoints").iterdir())] == ["step-00000001", "step-00000002"]
    assert "resumed from step 2" in train(arguments_for("fcn", data, tmp_path / "run", "--resume"), tmp_path / "resumed")
    assert_same(newest_state(whole_run("fcn")[0]), newest_state(tmp_path / "run"))


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(data, tmp_path):
    arguments = arguments_for("fcn", data, tmp_path / "run", "--log-every", 1)
    train([*arguments, "--max-steps", 2], tmp_path / "log")
    process = TrainingProcess([*arguments, "--resume", "--learning-rate", "1e30"], tmp_path / "diverged")
    assert process.wait() == 1
    assert "training diverged" in process.log and " step " in process.log and "Traceback" not in process.log
    assert "resumed from step 2" in train([*arguments, "--resume"], tmp_path / "mended")


def test_a_run_that_cannot_begin_leaves_the_folder_as_it_was(tmp_path):
    for genre, duration_s in (("blues", 3.0), ("metal", 1.5)):
        write_music_folder(tmp_path / "music", genres=(genre,), tracks_per_genre=3, duration_s=duration_s)
    arguments = arguments_for("lstm", tmp_path, tmp_path / "run")
    too_long = TrainingProcess([*arguments, "--segment-s", 2], tmp_path / "too-long")
    assert too_long.wait() == 1 and "no training slice is long enough for: metal" in too_long.log
    train(arguments, tmp_path / "log")


def test_a_finished_run_leaves_its_history_curve_and_previews_and_wrong_data_is_one_line(data, tmp_path):
    arguments = arguments_for("fcn", data, tmp_path / "run", "--preview-every", 2, "--log-every", 1, "--tracker", "tensorboard")
    train(arguments, tmp_path / "log", {"DRAW": "1"})
    rows = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert {"loss D", "loss G", "logit real", "logit fake"} <= rows[0].keys()
    assert {"learning rate", "samples per second", "waiting for data"} <= rows[0].keys()
    assert matplotlib.image.imread(tmp_path / "run" / "learning_curve.png").shape[1] == 4 * 352
    names = {path.name for path in (tmp_path / "run" / "previews" / "step-00000002").iterdir()}
    assert names == {"blues.wav", "metal.wav", "spectrograms.png"}
    assert json.loads((tmp_path / "run" / "args.json").read_text())["model"] == "fcn"
    assert logged_tags(tmp_path / "run" / "logs") == ({"blues", "metal"}, {"spectrograms"}, set(rows[0]) - {"step"})
    wrong = TrainingProcess([*arguments, "--data", tmp_path / "nowhere", "--output-dir", tmp_path / "other"], tmp_path / "wrong")
    assert wrong.wait() == 1
    assert "error: " in wrong.log and "Traceback" not in wrong.log


def test_fp16s_scaler_goes_on_where_only_the_discriminators_learn(data, tmp_path, monkeypatch):
    """As on a GPU, but in float32: gradients are scaled, and a step must find what clipping has unscaled."""
    begin = training.trainer.start_accelerator

    def with_scaler(args):
        accelerator = begin(args)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        accelerator.native_amp, accelerator.state._mixed_precision = True, "fp16"
        return accelerator

    monkeypatch.setattr("training.trainer.start_accelerator", with_scaler)
    plain = torch.autocast("cpu", enabled=False)
    monkeypatch.setattr("accelerate.accelerator.get_mixed_precision_context_manager", lambda *settings: plain)
    monkeypatch.setattr("training.spectral_task.D_ALONE_STEPS", 2)
    train_cgan.main([str(word) for word in arguments_for("mel", data, tmp_path / "run")[1:]])
    AcceleratorState._reset_state(reset_partial_state=True)  # other tests of this process know no fp16
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_clusters_are_found_once_and_a_run_goes_on_with_its_own_alone(data, tmp_path, monkeypatch):
    words = [str(word) for word in tiny_arguments("mel", data, tmp_path / "run", 1, "--resume")[1:]]
    train_cgan.main(words)
    monkeypatch.setattr("training.spectral_fit.find_clusters", None)
    *_, latents, _, clusters = train_cgan.prepare_spectral(parse_args(words))
    path = next(path for path in latents.folder.parent.glob("clusters-*.npy") if np.array_equal(np.load(path), clusters))
    np.save(path, 1 - clusters)
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(SystemExit, match=r"the data is not what the run in .* began with .*clusters"):
        train_cgan.main(words)
    np.save(path, clusters)
    AcceleratorState._reset_state(reset_partial_state=True)


def logged_tags(folder: Path) -> tuple[set[str], set[str], set[str]]:
    """Names of the sounds, the pictures and the numbers in tensorboard's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "cgan"))
    events.Reload()
    tags = events.Tags()
    return set(tags["audio"]), set(tags["images"]), set(tags["scalars"])


def test_no_tracker_means_that_none_is_imported(data, whole_run):
    assert whole_run("fcn")[1].splitlines()[-1] == "trackers imported: []"


def test_a_tracker_that_is_not_installed_and_a_precision_that_the_device_lacks_are_named(data, tmp_path, monkeypatch):
    args = parse_args([str(word) for word in arguments_for("fcn", data, tmp_path / "run")[1:]])
    args.mixed_precision = "fp16"
    with pytest.raises(TrainingError, match="fp16 is for GPUs; on a CPU use --mixed-precision bf16"):
        load_features(args, FeatureConfig("waveform", segment_s=1.0))
    args.mixed_precision = None
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(TrainingError, match="fp16 is for GPUs"):
        Trainer(args, "cgan")
    args.tracker = "wandb"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="pip install wandb"):
        check_run(args, resume=False)
    assert not (tmp_path / "run").exists()
