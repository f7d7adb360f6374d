"""The scripts' command lines, and the one that trains everything."""

import importlib
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from training import train_all
from training.arguments import run_script, run_to_its_end

SCRIPTS = sorted(path.stem for path in Path(train_all.__file__).parent.glob("*.py") if "ArgumentParser(" in path.read_text())


def test_every_command_is_one_that_its_script_takes(tmp_path, capsys):
    strange = ["--extra-data", "more", "--not-music", "rooms", "--not-music", "speech"]
    args = train_all.parse_args(["--data", "music", *strange, "--output-dir", str(tmp_path)])
    made = train_all.commands(args)
    assert list(made) == ["gan", "fcn", "cnn", "mel", "classifier"]
    for name, (script, *arguments) in made.items():
        parsed = importlib.import_module(f"training.{script.removesuffix('.py')}").parse_args(arguments)
        assert parsed.output_dir == tmp_path / name and parsed.resume and parsed.data == ["music"]
    assert importlib.import_module("training.train_cgan").parse_args(made["gan"][1:]).max_steps == train_all.STEPS["gan"]
    assert importlib.import_module("training.tune_cgan").parse_args(made["mel"][1:]).start_from == tmp_path / "gan" / "model"
    classifier = importlib.import_module("training.train_lstm").parse_args(made["classifier"][1:])
    assert classifier.extra_data == ["more"] and list(map(str, classifier.not_music)) == ["rooms", "speech"]
    train_all.main(["--show", "--output-dir", str(tmp_path)])
    assert len(capsys.readouterr().out.splitlines()) == len(made) and not any(tmp_path.iterdir())


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_begins_with_commands_and_says_every_default(script, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(f"training.{script}").parse_args(["--help"])
    shown = capsys.readouterr().out
    assert f"python training/{script}.py" in shown and "default: None" not in shown


@pytest.mark.parametrize(("script", "words", "message"), [
    ("train_lstm", ["--seed", "-1"], "--seed: must be at least 0, got -1"),
    ("train_lstm", ["--learning-rate", "0"], "--learning-rate: must be above 0, got 0"),  # was taken for the default
    ("train_lstm", ["--generated-amount", "-1"], "--generated-amount: must be above 0, got -1"),
    ("train_lstm", ["--generated-clip-s", "nan"], "--generated-clip-s: must be above 0, got nan"),
    ("tune_cgan", ["--start-from", "runs/gan/model", "--learning-rate", "-1"], "--learning-rate: must be above 0, got -1"),
    ("tune_cgan", ["--start-from", "runs/gan/model", "--keep", "1"], "--keep: must be at least 0 and below 1, got 1"),
    ("tune_cgan", [], "the following arguments are required: --start-from"),
    ("train_cgan", ["--num-workers", "-1"], "--num-workers: must be at least 0, got -1"),
    ("evaluate_classifier", ["--model", "fcn", "--seed", "-1"], "--seed: must be at least 0, got -1"),
    ("evaluate_generator", ["--structure-clips", "-1"], "--structure-clips: must be at least 0, got -1"),
    ("evaluate_generator", ["--embedding", "MTT_vgg", "--structure-s", "7"], "--structure-s must be at least 8"),
])  # fmt: skip
def test_numbers_that_no_script_can_use_are_refused_before_any_work(script, words, message, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module(f"training.{script}").parse_args(["--data", "music", "--output-dir", "run", *words])
    assert message in capsys.readouterr().err


def test_what_ctrl_c_reaches_has_the_time_to_save_its_checkpoint(tmp_path):
    lines = ["import os, signal, sys, time", "os.kill(os.getppid(), signal.SIGINT)", "time.sleep(1.0)"]
    lines += [f"open({str(tmp_path / 'checkpoint')!r}, 'w').close()", "sys.exit(130)"]
    assert run_to_its_end([sys.executable, "-c", "\n".join(lines)]) == 130 and (tmp_path / "checkpoint").exists()


def test_only_a_script_that_can_go_on_says_how():
    def stop(args: Namespace) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit, match=r"^stopped at once; --resume goes on"):
        run_script(stop, Namespace(resume=False))
    with pytest.raises(SystemExit, match=r"^stopped at once$"):
        run_script(stop, Namespace())
