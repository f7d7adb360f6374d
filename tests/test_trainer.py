"""The trainer at work on tasks so small that what they should give can be said."""

import copy
import hashlib
import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn
from torch.nn import functional as F

from genre_gan.features import FeatureConfig
from genre_gan.generate import GenreGenerator
from genre_gan.models.codec import Codec, CodecConfig
from genre_gan.models.generator import SpectralGANConfig, SpectralGenerator
from genre_gan.pretrained import read_config
from tests import toy_training
from tests.conftest import write_music_folder
from tests.test_stream import write_shards
from training import train_cgan
from training.arguments import TrainingError
from training.batches import Batch, Slices, load_features
from training.checkpoints import checkpoints
from training.gan import energy_distance, frozen, gradient_penalty
from training.spectral_task import SpectralGANTask, floored
from training.trainer import Trainer
from training.waveform_task import WaveformGANTask


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_music_folder(folder / "music", tracks_per_genre=3, duration_s=7.0)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return write_shards(tmp_path_factory.mktemp("stream") / "shards")


@pytest.fixture(autouse=True)
def _fresh_accelerator(monkeypatch):
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr("training.run_folder.save_figure", lambda figure, path: None)  # drawing takes longer than these trainings


@pytest.fixture
def words(data, tmp_path) -> list[str]:
    options = ["--data", data / "music", "--cache-dir", data / "cache", "--output-dir", tmp_path / "run", "--num-workers", 0]
    options += ["--tracker", "none", "--preview-every", 2, "--checkpoint-every", 1, "--max-steps", 3]
    return [str(option) for option in options]


def start(words: list[str], task_class: type = toy_training.ToyTask, parse_args=toy_training.parse_args):
    """A trainer and its task, ready to fit."""
    args = parse_args(words)
    store = load_features(args, FeatureConfig("waveform", segment_s=1.0))
    trainer = Trainer(args, "test", store)
    return trainer, task_class(trainer, store)


class Regression(toy_training.ToyTask):
    """The discriminator learns which genre a slice is of: one loss, a mean over rows."""

    def train_step(self, batch: Batch, step: int):
        level = batch.features[..., 0].unflatten(1, (10, -1)).abs().mean(2)
        loss = nn.functional.binary_cross_entropy_with_logits(self.discriminator(level)[:, 0], batch.genre_ids.float())
        self.trainer.accelerator.backward(loss)
        self.optimizer_d.step()
        self.optimizer_d.zero_grad()
        return {"loss": loss}


def test_gradients_of_two_batches_make_the_step_of_one_twice_as_large(words):
    learned = []
    for options in (["--batch-size", "8"], ["--batch-size", "4", "--gradient-accumulation-steps", "2", "--overwrite"]):
        trainer, task = start([*words, *options], Regression)
        trainer.fit(task)
        learned.append((copy.deepcopy(task.discriminator.state_dict()), [row["loss"] for row in trainer.folder.rows]))
        AcceleratorState._reset_state(reset_partial_state=True)
    for name, value in learned[0][0].items():
        assert torch.allclose(value, learned[1][0][name], atol=1e-6), name
    assert learned[0][1] == pytest.approx(learned[1][1], abs=1e-5)


def test_the_launcher_may_set_precision_and_accumulation_and_arguments_overrule_it(words, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "3")
    trainer = Trainer(toy_training.parse_args(words), "test")
    assert trainer.accelerator.mixed_precision == "bf16" and trainer.rows_per_step == 12
    AcceleratorState._reset_state(reset_partial_state=True)
    options = ["--overwrite", "--mixed-precision", "no", "--gradient-accumulation-steps", "2"]
    trainer = Trainer(toy_training.parse_args([*words, *options]), "test")
    assert trainer.accelerator.mixed_precision == "no" and trainer.rows_per_step == 8


def test_the_checkpoint_comes_before_the_preview_and_a_preview_that_fails_only_warns(words, capsys):
    trainer, task = start(words)
    seen = []

    def preview(folder: Path):
        seen.append([path.name for path in checkpoints(trainer.checkpoints)][-1])
        raise RuntimeError("Expected all tensors to be on the same device")

    task.preview = preview
    trainer.fit(task)
    assert seen == ["step-00000002", "step-00000003"]
    message = "the preview of step 2 failed (RuntimeError: Expected all tensors to be on the same device); the training goes on"
    assert message in capsys.readouterr().out


def test_numbers_of_a_preview_are_logged_and_survive_a_resumption(words, tmp_path):
    trainer, task = start(words)
    task.preview = lambda folder: {"accuracy": 0.5}
    trainer.fit(task)
    AcceleratorState._reset_state(reset_partial_state=True)
    trainer, task = start([*words, "--resume", "--max-steps", "5", "--log-every", "1"])
    trainer.fit(task)
    rows = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [(row["step"], row.get("accuracy")) for row in rows] == [(2, 0.5), (3, 0.5), (4, None), (5, None)]


def test_every_setting_is_kept_and_each_resumption_adds_what_it_changes(words, tmp_path):
    for options in ([], ["--resume", "--max-steps", "4"], ["--resume", "--max-steps", "4", "--log-every", "2"]):
        trainer, task = start([*words, *options])
        trainer.fit(task)
        AcceleratorState._reset_state(reset_partial_state=True)
    kept = json.loads((tmp_path / "run" / "args.json").read_text())
    assert (kept["max_steps"], kept["output_dir"], kept["seed"]) == (3, str(tmp_path / "run"), 0)
    assert kept["resumed"] == [{"step": 3, "max_steps": 4}, {"step": 4, "log_every": 2}]


def test_an_average_follows_the_weights_and_comes_back_with_a_checkpoint(words):
    trainer, task = start(words)
    seen, step = [], task.train_step
    task.train_step = lambda batch, number: (step(batch, number), seen.append(copy.deepcopy(task.generator.state_dict())))[0]
    trainer.fit(task)
    decays = [min(0.9, (1 + n) / (10 + n)) for n in range(3)]
    for name, value in task.average.module.state_dict().items():
        expected = seen[0][name]  # the first copies
        for state, decay in zip(seen[1:], decays[1:], strict=True):
            expected = decay * expected + (1.0 - decay) * state[name]
        assert torch.allclose(value, expected, atol=1e-7)
    AcceleratorState._reset_state(reset_partial_state=True)
    resumed, again = start([*words, "--resume"])
    resumed.fit(again)
    before, after = task.average.state_dict(), again.average.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


class _Attack:
    """Where it is unpickled, a file appears."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["optimizer.bin", "random_states_0.pkl"])
def test_nothing_in_a_checkpoint_is_unpickled(name, words, tmp_path):
    trainer, task = start(words)
    trainer.fit(task)
    newest = checkpoints(trainer.checkpoints)[-1]
    models = ["model.safetensors", "model_1.safetensors", "model_2.safetensors"]  # the average is the third
    states = ["optimizer.bin", "optimizer_1.bin", "random_states_0.pkl", "record.json"]
    assert sorted(path.name for path in newest.iterdir()) == models + states
    torch.save(_Attack(tmp_path / "attacked"), newest / name)
    record = json.loads((newest / "record.json").read_text())
    record["sha256"][name] = hashlib.sha256((newest / name).read_bytes()).hexdigest()
    (newest / "record.json").write_text(json.dumps(record))
    AcceleratorState._reset_state(reset_partial_state=True)
    resumed, again = start([*words, "--resume"])
    with pytest.raises(TrainingError, match="cannot be loaded") if name == "optimizer.bin" else nullcontext():
        resumed.fit(again)
    assert not (tmp_path / "attacked").exists()


def test_a_checkpoint_of_another_version_is_refused_in_words(words):
    trainer, task = start(words)
    trainer.fit(task)
    path = checkpoints(trainer.checkpoints)[-1] / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    AcceleratorState._reset_state(reset_partial_state=True)
    resumed, again = start([*words, "--resume"])
    with pytest.raises(TrainingError, match=r"another version of these scripts: .* --overwrite"):
        resumed.fit(again)


def test_the_rate_is_that_of_the_arguments_times_the_tasks_share_of_it_also_where_a_run_goes_on(words):
    trainer, task = start(words)
    task.optimizer_d.param_groups[0]["lr"] = 0.5  # an earlier run's
    trainer.fit(task)
    n_steps = trainer.n_steps(task.loader)
    AcceleratorState._reset_state(reset_partial_state=True)
    trainer, task = start([*words, "--resume"])
    trainer.args.max_steps = 2 * n_steps
    task.rate = lambda progress: 1.0 - progress
    trainer.fit(task)
    assert task.optimizer_d.param_groups[0]["lr"] == pytest.approx(toy_training.LEARNING_RATE / (2 * n_steps))


def test_the_rates_of_the_spectral_gan_fall_at_the_end():
    shares = [SpectralGANTask.rate(None, progress) for progress in (0.0, 0.6, 0.8, 0.99)]
    assert shares == pytest.approx([1.0, 1.0, 0.5, 0.025])


def waveform_task(trainer: Trainer, store) -> WaveformGANTask:
    slices = Slices(store, store.segments(), trainer.rows_per_step, trainer.args.seed)
    return WaveformGANTask(trainer, store.tracks.genres, trainer.loader(slices))


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_stream_is_learned_from_and_gone_on_with(n_workers, words, shards, tmp_path):
    options = [*words[2:], "--data", str(shards), "--streaming", "--model", "fcn", "--segment-s", "1", "--width", "8"]
    options += ["--batch-size", "4", "--num-workers", str(n_workers), "--preview-every", "100"]
    train_cgan.main(options)
    record = json.loads((tmp_path / "run" / "checkpoints" / "step-00000003" / "record.json").read_text())
    assert sorted(record["positions"][0]) == ["0", "1"][: max(1, n_workers)]
    AcceleratorState._reset_state(reset_partial_state=True)
    train_cgan.main([*options, "--resume", "--max-steps", "5"])
    later = json.loads((tmp_path / "run" / "checkpoints" / "step-00000005" / "record.json").read_text())
    assert later["positions"] != record["positions"]
    assert read_config(tmp_path / "run" / "model")["training"]["steps"] == 5


def test_a_stream_needs_to_know_where_it_ends(words):
    with pytest.raises(SystemExit, match="--streaming needs --max-steps and one --data"):
        train_cgan.main([*words[:-2], "--streaming", "--model", "fcn"])


MEL = ["--widths", "8", "8", "8", "8", "--clusters", "2", "--crop-frames", "16", "8", "--batch-size", "4"]


def test_a_step_of_mel_touches_no_other_device_than_its_own(words):
    args = train_cgan.parse_args([*words, *MEL])
    store, _, latents, listener, clusters = train_cgan.prepare_spectral(args)
    task = SpectralGANTask(Trainer(args, "test", store), latents, listener, clusters)
    for expected, spread in (task.of_short, task.of_slow):  # of every label, however few are in a batch
        assert expected.isfinite().all() and (spread > 0).all()
    batch = next(task.loader.batches(0))
    for network in (task.generator, task.discriminator, task.projected, task.listener):
        network.to("meta")
    task.of_short, task.of_slow = ([tensor.to("meta") for tensor in pair] for pair in (task.of_short, task.of_slow))
    values = task.train_step(Batch(*[tensor.to("meta") for tensor in batch]), 0)  # with penalty, listener and augmentation
    assert values and all(value.device.type == "meta" for value in values.values())


def test_what_mel_cannot_do_is_refused_before_it_starts(words, capsys):
    with pytest.raises(SystemExit):
        train_cgan.parse_args([*words, "--streaming"])
    assert "--streaming is for --model fcn and cnn" in capsys.readouterr().err


def test_a_launcher_that_asks_for_compiled_models_is_told_that_there_are_none(words, capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    _, task = start(words)
    assert type(task.generator) is nn.Sequential and "nothing is compiled" in capsys.readouterr().out


def test_a_beginning_of_another_shape_is_refused_in_words_before_latents_are_made(words, tmp_path, monkeypatch):
    config = SpectralGANConfig(genres=("blues", "polka"), widths=(8, 8, 8, 16))
    SpectralGenerator(config).save_pretrained(tmp_path / "start")
    Codec(CodecConfig()).save_pretrained(tmp_path / "start" / "codec")
    monkeypatch.setattr(train_cgan, "listen", None)
    message = r"widths \(8, 8, 8, 16\) there, \(8, 8, 8, 8\) here.* --genres, --widths and --clusters"
    with pytest.raises(SystemExit, match=rf"--start-from .*, its genres \('blues', 'polka'\) there.*{message}"):
        train_cgan.main([*words, *MEL, "--start-from", str(tmp_path / "start")])


@pytest.mark.parametrize("options", [["--model", "fcn", "--segment-s", "1", "--width", "8", "--batch-size", "4"], MEL])
def test_one_genre_of_two_tracks_is_enough_for_a_generator(options, data, words, tmp_path):
    few = tmp_path / "few" / "polka"
    few.mkdir(parents=True)
    for path in sorted((data / "music" / "blues").iterdir())[:2]:
        shutil.copy(path, few / path.name)
    train_cgan.main([*words[2:], *options, "--data", str(few.parent), "--genres", "polka", "--max-steps", "1"])
    assert GenreGenerator.from_pretrained(tmp_path / "run" / "model").genres == ("polka",)


@pytest.mark.parametrize("model", ["fcn", "cnn"])
def test_a_step_touches_no_other_device_than_its_own(model, words):
    options = [*words, "--model", model, "--segment-s", "1", "--width", "8", "--batch-size", "4"]
    _, task = start(options, waveform_task, train_cgan.parse_args)
    batch = next(task.loader.batches(0))
    for network in (task.generator, task.discriminator):
        network.to("meta")
    values = task.train_step(Batch(*[tensor.to("meta") for tensor in batch]), 0)
    assert values and all(value.device.type == "meta" for value in values.values())


def test_frozen_models_get_no_gradients_and_learn_again_afterwards():
    model = nn.Linear(2, 1)
    with pytest.raises(ZeroDivisionError), frozen(model):
        assert not any(parameter.requires_grad for parameter in model.parameters())
        raise ZeroDivisionError
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_penalty_is_the_squared_gradient_and_scaling_does_not_change_it(words):
    accelerator = Trainer(toy_training.parse_args(words), "test").accelerator
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    inputs = torch.randn(5, 2, requires_grad=True)
    penalty = gradient_penalty(accelerator, inputs @ weight, inputs)
    assert penalty.item() == pytest.approx(25.0)
    penalty.backward()
    assert torch.allclose(weight.grad, torch.tensor([6.0, 8.0]))
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    assert gradient_penalty(accelerator, inputs @ weight, inputs).item() == pytest.approx(25.0)


def test_the_energy_distance_is_zero_on_average_for_equal_distributions_and_pushes_others_together():
    torch.manual_seed(0)
    alike = energy_distance(torch.randn(2000, 4, 3), torch.randn(2000, 4, 3))
    assert abs(float(alike)) < 0.01
    one_point = torch.zeros(2000, 4, 3)  # the right place, and nothing of its variety
    assert float(energy_distance(one_point, torch.randn(2000, 4, 3))) > 0.3
    narrow = (0.5 * torch.randn(2000, 4, 3)).requires_grad_()
    energy_distance(narrow, torch.randn(2000, 4, 3)).backward()
    assert float((narrow.grad * narrow.detach()).sum()) < 0  # going down the gradient, points part


def test_what_is_generated_ends_at_the_floor_as_music_does():
    codec, generator = Codec(CodecConfig()), torch.Generator().manual_seed(0)
    music = codec.encode(0.1 * torch.randn(1, 22_050, generator=generator))
    same, depth = floored(codec, music)
    torch.testing.assert_close(same, music, atol=1e-4, rtol=0)
    assert depth == 0.0
    below = (music - 40.0 * F.one_hot(torch.tensor(0), 32)[:, None, None]).requires_grad_()
    silence, depth = floored(codec, below)
    torch.testing.assert_close(silence, codec.encode(torch.zeros(1, 22_050)), atol=1e-3, rtol=0)
    depth.backward()
    assert depth > 1.0 and (below.grad[:, 0] < 0).all()  # what is silent is called back
