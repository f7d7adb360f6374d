"""The report's experiments on small synthetic music."""

import argparse
import csv
import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import DataError, load_tracks
from genre_gan.data.splits import split_tracks
from genre_gan.features import FeatureConfig
from genre_gan.generate import GenreGenerator
from genre_gan.models.waveform import WaveformGANConfig, WaveformGenerator
from genre_gan.waveform import WaveformModel
from tests.conftest import write_music_folder
from training import reproduce, train_cgan, train_lstm
from training.batches import split_store
from training.generated import add_generated, add_generated_arguments
from training.report.page import comparison, longest, write_page
from training.report.rows import Row
from training.report.runs import Runs, steps_in_all

GENRES = ("blues", "metal")
SEGMENTS = FeatureConfig("mfcc-segment", hop_length=1024, segment_s=2.0)


def write_music(root: Path, duration_s: float = 5.0) -> Path:
    """Five tracks of each genre, each by an artist of its own."""
    write_music_folder(root, GENRES, 5, duration_s)
    with open(root / "tracks.csv", "w", newline="") as file:
        rows = [(f"{g}/{g}-{i:02d}.wav", g, f"{g} {i}") for g in GENRES for i in range(5)]
        csv.writer(file).writerows([("file_name", "genre", "artist"), *rows])
    return root


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Arguments for runs in seconds, whose scripts work in this process."""

    def run(words: list[str]) -> int:
        name = Path(words[1]).stem
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", words[1:])
            importlib.import_module(f"training.{name}").main(words[2:])
        return 0

    monkeypatch.setattr(reproduce, "run_to_its_end", run)
    monkeypatch.setattr("training.run_folder.save_figure", lambda figure, path: None)  # which takes longer than the trainings
    for name, gan in reproduce.GANS.items():
        monkeypatch.setitem(reproduce.GANS, name, replace(gan, options=f"{gan.options} --width 8"))
    words = ["--data", write_music(tmp_path / "music"), "--output-dir", tmp_path / "results", "--work-dir", tmp_path / "work"]
    return [*map(str, words), "--seeds", "1", "--scale", "0.02", "--gan-scale", "0.002"]


def results(tmp_path: Path) -> dict[tuple[str, str], dict]:
    lines = (tmp_path / "results" / "runs.jsonl").read_text().splitlines()
    return {(line.get("row") or line["generator"], line["protocol"]): line for line in map(json.loads, lines)}


def test_rows_run_once_and_the_page_shows_them_beside_the_report(command, tmp_path, capsys):
    only = ["--only", "LSTM_ADAM_50_no_segment", "LSTM2_FCN_4S_GAN_segment"]
    after = ["--", "--num-workers", "0"]
    reproduce.main([*command, *only, *after])
    found = results(tmp_path)
    assert set(found) == {(name, protocol) for name in (*only[1:], "fcn-4s") for protocol in ("segment", "artist")}

    run, gan = found["LSTM2_FCN_4S_GAN_segment", "artist"], found["fcn-4s", "artist"]
    assert run["tracks_per_genre"] == {"blues": 4, "metal": 4} and run["n_generated_slices"] == 16  # of 2 s, as many as real ones
    assert (run["epochs"], run["gan_epochs"]) == (2, 1) and run["curve"][-1]["epoch"] == 2.0
    assert np.sum(run["confusion"]) == run["valid"]["n_tracks"] == 2 and run["train"]["n_segments"] == 32
    assert np.isfinite([run["train"]["loss"], run["valid"]["loss"]]).all() and "valid loss" in run["curve"][-1]
    assert gan["tracks_per_genre"] == {"blues": 4, "metal": 4} and set(gan["sound"]) == set(GENRES)
    assert found["fcn-4s", "segment"]["tracks_per_genre"] == {"blues": 5, "metal": 5}
    assert str(tmp_path) not in json.dumps(list(found.values()))  # commands for everybody
    assert run["command"].startswith("python training/train_lstm.py --data path/to/music --features mfcc-segment --segment-s 2 ")
    assert run["command"].endswith(" --num-workers 0 --output-dir runs/lstm2-fcn-4s-gan-segment--artist--0--2--1")

    page = (tmp_path / "results" / "report.md").read_text()
    assert "| LSTM2_FCN_4S_GAN_segment | 1+1 | **2 of 100**, GAN **1 of 500** | 1.2787 | 0.55 | 0.454 |" in page
    assert "Data: music. Splits of the last row, seed 0: segment split: 16 to train, 4 to validate" in page
    pictures = {path.name for path in (tmp_path / "results").glob("*.png")}
    assert pictures == {"report-figure5.png", "report-figure8.png", "report-gans.png", "report-confusion.png"}
    assert all(f"({name})" in page for name in pictures)

    before = (tmp_path / "results" / "runs.jsonl").read_bytes()
    reproduce.main([*command, *only, *after])
    assert "4 runs, 4 of them done before" in capsys.readouterr().out
    assert (tmp_path / "results" / "runs.jsonl").read_bytes() == before
    with pytest.raises(SystemExit, match=r"was made with the data \['music'\], now \['other'\]: use another --output-dir"):
        reproduce.main([*command, *only, "--data", "other"][2:])


def test_a_generator_for_each_label_learns_that_label_of_the_training_side(command, tmp_path):
    reproduce.main([*command, "--only", "future", "--protocols", "artist", "--", "--num-workers", "0"])
    found = results(tmp_path)
    each = found["one generator for each label, matched amounts", "artist"]
    assert each["n_generated_slices"] == 16 and each["command"].count("--generated runs/gan--fcn-4s-each--artist--0/") == 2
    assert found["fcn-4s-each", "artist"]["tracks_per_genre"] == {"blues": 4, "metal": 4}
    models = [GenreGenerator.from_pretrained(path) for path in sorted((tmp_path / "work").glob("gan--fcn-4s-each*/*/model"))]
    assert [model.genres for model in models] == [("blues",), ("metal",)]


def test_a_waveform_gan_learns_from_the_training_side_alone_where_a_split_is_named(tmp_path):
    store = FeatureStore(load_tracks([str(write_music(tmp_path / "music"))]), FeatureConfig("waveform", segment_s=4.0))
    words = ["--model", "fcn", "--output-dir", str(tmp_path / "run")]
    every, no_split = train_cgan.training_side(store, train_cgan.parse_args(words))
    assert no_split is None and every.tracks.ids == store.tracks.ids
    side, split = train_cgan.training_side(store, train_cgan.parse_args([*words, "--split", "artist", "--seed", "3"]))
    assert side.tracks.ids == [store.tracks.ids[i] for i in split.train] and split.protocol == "artist"
    record = {"split": split.summary(), "seed": 3, "tracks_per_genre": side.tracks.tracks_per_genre}
    assert split.doubt(record, store.tracks, 3) == ""
    asked = train_cgan.parse_args([*words, "--split", "artist", "--seed", "3", "--learn-genres", "METAL"])
    metal, same = train_cgan.training_side(store, asked)
    assert metal.tracks.ids == [i for i in side.tracks.ids if i.startswith("metal")] and same.summary() == split.summary()
    with pytest.raises(DataError, match="--learn-genres jazz: the training side has no track as long as a slice"):
        train_cgan.training_side(store, train_cgan.parse_args([*words, "--learn-genres", "Metal", "jazz"]))


@pytest.mark.parametrize(("words", "message"), [
    (["--model", "fcn", "--split", "segment"], "GANs beside it learn from all tracks"),
    (["--learn-genres", "blues"], "--learn-genres is for --model fcn and cnn"),
    (["--model", "fcn", "--streaming", "--split", "artist"], "learns all that comes"),
])  # fmt: skip
def test_splits_that_a_gan_cannot_have_are_refused(words, message, capsys):
    with pytest.raises(SystemExit):
        train_cgan.parse_args([*words, "--output-dir", "run"])
    assert message in capsys.readouterr().err


def generated_arguments(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_generated_arguments(parser)
    parser.add_argument("--cache-dir")
    return parser.parse_args([str(word) for word in words])


def write_generator(folder: Path, genres: tuple[str, ...] = GENRES, record: dict | None = None) -> Path:
    generator = WaveformGenerator(WaveformGANConfig(n_samples=22_050, genres=genres, latent_dim=4, width=8))
    generator.training_record = record or {}
    return WaveformModel(generator).save_pretrained(folder)


def test_generated_slices_join_the_training_side_in_the_number_asked_for(tmp_path):
    store = FeatureStore(load_tracks([str(write_music(tmp_path / "music"))]), SEGMENTS)
    split, train, _ = split_store(store, "segment", seed=0)
    both, metal = write_generator(tmp_path / "both"), write_generator(tmp_path / "metal", ("metal",))

    def add(*words: object) -> tuple[FeatureStore, np.ndarray]:
        joined, segments = add_generated(generated_arguments(*words), store, split, train, 0)
        assert np.array_equal(segments.track[: len(train)], train.track) and joined.tracks.ids[:10] == store.tracks.ids
        made = segments.track[len(train) :]
        assert (made >= 10).all() and (segments.n_frames == segments.n_frames[0]).all()
        return joined, np.array(joined.tracks.genre_names)[made]

    joined, names = add("--generated", both, "--generated-amount", 0.75)
    assert sorted(names) == ["blues"] * 6 + ["metal"] * 6 and len(joined.tracks) == 10 + 2 + 2  # of 8 s, four slices each
    assert not np.array_equal(joined.read(10), joined.read(11))
    _, names = add("--generated", both, "--generated-spread", "matched", "--generated-clip-s", 4)
    of_real = np.array(store.tracks.genre_names)[train.track]
    assert sorted(names) == sorted(of_real)
    assert list(add("--generated", metal)[1]) == ["metal"] * 16
    with pytest.raises(DataError, match=r"--generated-clip-s must be at least the length of a slice, 2 s, got 1"):
        add("--generated", both, "--generated-clip-s", 1)
    with pytest.raises(DataError, match="know none of the genres blues, metal"):
        add("--generated", write_generator(tmp_path / "jazz", ("jazz",)))


def test_a_generator_that_may_have_heard_validation_tracks_is_refused(tmp_path):
    store = FeatureStore(load_tracks([str(write_music(tmp_path / "music"))]), SEGMENTS)
    split, train, _ = split_store(store, "artist", seed=0)
    words = ["--generated", write_generator(tmp_path / "leaky")]
    with pytest.raises(DataError, match="leaky' may have heard validation tracks: it was trained by None"):
        add_generated(generated_arguments(*words), store, split, train, 0)
    record = {"split": split_tracks(store.tracks, "fold").summary(), "seed": 0, "tracks_per_genre": {"blues": 4, "metal": 3}}
    words = ["--generated", write_generator(tmp_path / "clean", record=record)]
    assert len(add_generated(generated_arguments(*words), store, split, train, 0)[1]) == 2 * len(train)
    with pytest.raises(DataError, match=r"seed 0, on .* seed 1"):
        add_generated(generated_arguments(*words), store, split, train, 1)
    record["tracks_per_genre"]["metal"] = 5
    with pytest.raises(DataError, match="may have heard"):
        words = ["--generated", write_generator(tmp_path / "more", record=record)]
        add_generated(generated_arguments(*words), store, split, train, 0)


def test_every_third_slice_is_each_tracks_first_and_on():
    assert list(train_lstm.every_nth(np.array([5, 5, 5, 5, 2, 9, 9]), 3)) == [0, 3, 4, 5]


def line(epochs: int, gan_epochs: int | None = None, seed: int = 0, accuracy: float = 0.5) -> dict:
    scores = {"loss": 1.0, "segment_accuracy": accuracy, "track_accuracy": accuracy, "balanced_track_accuracy": accuracy}
    return {
        "row": "LSTM_FCN_GAN_segment", "protocol": "artist", "seed": seed, "data": ["music"], "epochs": epochs,
        "gan_epochs": gan_epochs, "split": "artist split", "tracks_per_genre": {"blues": 4, "metal": 4}, "train": scores,
        "valid": scores, "confusion": [[1, 0], [1, 0]],
        "curve": [{"epoch": 1.0, "train accuracy": 0.4}, {"epoch": 2.0, "train accuracy": 0.5, "valid accuracy by slice": 0.5}],
    }  # fmt: skip


def test_a_longer_run_takes_the_place_of_a_shorter_one_and_means_are_of_equal_ones(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    runs.add(line(50, 5))
    assert runs.find(line(50, 5)) and runs.find(line(20, 5))
    assert runs.find(line(50, 500)) is None and runs.find(line(50, 5, seed=1)) is None
    runs.add(line(100, 5, accuracy=0.6))
    runs.add(line(100, 500, seed=1, accuracy=1 / 3))
    again = Runs(tmp_path / "runs.jsonl")
    assert [(run["epochs"], run["gan_epochs"]) for run in again.results] == [(100, 5), (100, 500)]
    assert longest(again.results, "row") == {("LSTM_FCN_GAN_segment", "artist"): [again.results[1]]}
    page = write_page(tmp_path, again.results).read_text()
    assert "| LSTM_FCN_GAN_segment | 1 | 100, GAN 500 | 0.8621 | 0.837 | 0.48 | 1.000 | 0.333 | 0.333 | 0.333 | 0.333 |" in page


def test_a_row_is_run_again_with_a_generator_of_more_steps_and_the_page_tells_them(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    runs.add(line(100) | {"row": "a quarter generated", "generator_steps": 2000})
    assert runs.find(runs.results[0]) and runs.find(runs.results[0] | {"generator_steps": 3000}) is None
    assert steps_in_all({"steps": 500, "begun as": {"steps": 1500}}) == 2000
    page = write_page(tmp_path, runs.results).read_text()
    assert "Data: music. Splits of the last row, seed 0: artist split. The generator had 2000 steps of training." in page


def test_generated_data_helps_only_where_the_interval_over_seeds_says_so():
    row = next(row for row in reproduce.ROWS if row.name == "a quarter generated")

    def told(*pairs: tuple[float, float]) -> str:
        runs = [[line(100, seed=seed, accuracy=pair[i]) for seed, pair in enumerate(pairs)] for i in range(2)]
        return comparison(row, {(row.name, "artist"): runs[0], (row.beside, "artist"): runs[1]})

    # differences of 0.1 and 0.2: mean 0.15, standard error 0.05, Student's t for one degree of freedom 12.706
    two_pairs = told((0.6, 0.5), (0.7, 0.5))
    assert "changes by +0.150 (95 % interval -0.485 to +0.785, 2 pairs of one fold): **no effect is shown**" in two_pairs
    assert told((0.6, 0.5), (0.6, 0.5), (0.61, 0.5)).endswith("**it helps**.")
    assert told((0.4, 0.5), (0.4, 0.5), (0.41, 0.5)).endswith("**it harms**.")
    assert told((0.6, 0.5)).endswith("in a single pair of runs, which says nothing.")


def test_rows_name_what_the_scripts_take():
    for row in reproduce.ROWS:
        assert isinstance(row, Row) and train_lstm.parse_args([*row.options.split(), "--output-dir", "run"])
        assert row.generated in (None, "mel", *reproduce.GANS)
    for gan in reproduce.GANS.values():
        assert train_cgan.parse_args([*gan.options.split(), "--output-dir", "run"])


def test_unusable_data_and_arguments_are_one_clear_line(command, tmp_path, capsys, monkeypatch):
    single = write_music_folder(tmp_path / "single", GENRES, 1, 3.0)
    words = ["--output-dir", str(tmp_path / "results"), "--work-dir", str(tmp_path / "work"), "--scale", "0.02"]
    with pytest.raises(SystemExit, match=r"^error: there are fewer than 2 tracks of blues, metal"):
        reproduce.main([*words, "--data", str(single), "--only", "LSTM_ADAM_50_segment"])
    monkeypatch.setattr(reproduce, "run_to_its_end", lambda words: 143)
    with pytest.raises(SystemExit, match=r"error: lstm-adam-50-segment--segment--0--1 ended early; the same command goes on"):
        reproduce.main([*command, "--only", "LSTM_ADAM_50_segment"])
    for wrong, message in ((["--only", "LSTM_9"], "LSTM_ADAM_50_segment"), (["--scale", "2"], "at most 1, got 2")):
        with pytest.raises(SystemExit):
            reproduce.parse_args(wrong)
        assert message in capsys.readouterr().err
