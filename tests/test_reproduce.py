"""The report's experiments on small synthetic music."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from genre_gan.data.sources import load_tracks
from genre_gan.data.splits import split_tracks
from genre_gan.features import FeatureConfig
from genre_gan.generate import GenreGenerator, WaveformModel
from genre_gan.models.classifier import LSTMConfig
from genre_gan.models.waveform import WaveformGANConfig, WaveformGenerator
from tests.conftest import write_music_folder
from training import reproduce
from training.trials import NO_TRACK, Items, Phase, generate_items, predict, score, train_classifier

GENRES = ("blues", "metal")
FEATURES = FeatureConfig("mfcc-segment", hop_length=1024, segment_s=1.0)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Arguments for a run in seconds, on music whose artists are named."""
    root = write_music_folder(tmp_path / "music", GENRES, 5, 5.0)
    with open(root / "tracks.csv", "w", newline="") as file:
        rows = [(f"{g}/{g}-{i:02d}.wav", g, f"{g} {i}") for g in GENRES for i in range(5)]
        csv.writer(file).writerows([("file_name", "genre", "artist"), *rows])
    for name, spec in reproduce.GANS.items():
        monkeypatch.setitem(reproduce.GANS, name, replace(spec, width=8))
    words = ["--data", root, "--output-dir", tmp_path / "results", "--work-dir", tmp_path / "work", "--seeds", "1"]
    return [*map(str, words), "--scale", "0.02", "--gan-scale", "0.002"]


def results(tmp_path) -> dict[str, dict]:
    found = {}
    for line in (tmp_path / "results" / "runs.jsonl").read_text().splitlines():
        result = json.loads(line)
        name = [result["row"]] if "row" in result else ["gan", result["generator"]]
        found[reproduce.file_name(*name, result["protocol"], result["seed"])] = result
    return found


def items(genre_ids, tracks, n_frames=4, offset=0.0) -> Items:
    """Noise around the genre's number, so that genres are easily told apart."""
    genre_ids = np.array(genre_ids)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((len(genre_ids), n_frames, 13)).astype(np.float32) + 3.0 * genre_ids[:, None, None]
    return Items(features.astype(np.float32) + np.float32(offset), np.full(len(genre_ids), n_frames), genre_ids, np.array(tracks))


def test_rows_run_once_and_the_page_shows_them_beside_the_report(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["training/reproduce.py", *command])
    only = ["--only", "LSTM_ADAM_50_no_segment", "LSTM2_FCN_4S_GAN_segment", "future"]
    reproduce.main([*command, *only])
    found = results(tmp_path)
    rows = ("lstm-adam-50-no-segment", "lstm2-fcn-4s-gan-segment", "one-generator-for-each-label-matched-amounts",
            "one-generator-for-all-labels-matched-amounts", "gan--fcn-4s", "gan--fcn-4s-each")
    assert set(found) == {f"{row}--{protocol}--0" for row in rows for protocol in ("segment", "artist")}

    run = found["one-generator-for-each-label-matched-amounts--artist--0"]
    assert run["generated_slices"] == run["train_slices"] == {"blues": 8, "metal": 8}
    assert run["settings"] == {"scale": 0.02, "gan_scale": 0.002, "tracks": 10}
    assert run["epochs"] == len(run["curve"]) == 2
    assert np.sum(run["scores"]["confusion"]) == 2  # one track of each genre validates
    gan = found["gan--fcn-4s-each--artist--0"]
    assert gan["slices"] == 8 and set(gan["sound"]) == set(GENRES)

    page = (tmp_path / "results" / "report.md").read_text()
    assert "| LSTM2_FCN_4S_GAN_segment | 1+1 | 2 | 1.2787 | 0.55 | 0.454 |" in page
    assert "--scale 0.02 --gan-scale 0.002" in page and "On 10 tracks" in page
    pictures = {path.name for path in (tmp_path / "results").glob("*.png")}
    assert pictures == {"report-figure5.png", "report-figure8.png", "report-gans.png", "report-confusion.png"}
    assert all(f"({name})" in page for name in pictures)

    lines = (tmp_path / "results" / "runs.jsonl").read_text().splitlines(keepends=True)
    others = [line for line in lines if '"row": "LSTM_ADAM_50_no_segment", "protocol": "artist"' not in line]
    assert len(others) == len(lines) - 1
    (tmp_path / "results" / "runs.jsonl").write_text("".join(others))
    reproduce.main([*command, *only])
    assert "8 runs, 7 of them done before" in capsys.readouterr().out
    again = results(tmp_path)
    for result in (*found.values(), *again.values()):
        del result["cpu_s"]
    assert again == found  # a repeated run gives the same to the last digit

    with pytest.raises(SystemExit, match=r"was made with .*'scale': 0.02.*use another --output-dir"):
        reproduce.main([*command, *only, "--scale", "0.04"])


def test_gans_of_the_artist_protocol_hear_the_training_side_alone(command):
    lab = reproduce.Laboratory(reproduce.parse_args(command))
    row = next(row for row in reproduce.ROWS if row.name == "LSTM_FCN_GAN_segment")
    sides = lab.sides(row, "artist", 0)
    assert set(sides.gan_tracks) == set(sides.train.tracks)
    assert not set(sides.gan_tracks) & set(sides.valid.tracks)
    leaking = lab.sides(row, "segment", 0)
    assert set(leaking.gan_tracks) == set(range(10))
    plain = lab.sides(replace(row, enlarged=False), "artist", 0)
    assert len(plain.train) == 8 and len(sides.train) == 16
    assert np.array_equal(plain.valid.features, sides.valid.features)


def test_one_in_three_keeps_each_tracks_first_item():
    assert list(reproduce.one_in_three(np.array([5, 5, 5, 5, 2, 9, 9]))) == [0, 3, 4, 5]


def test_scores_are_those_counted_by_hand():
    truth = items([0, 0, 0, 1], [7, 7, 8, 9])
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    scores = score(probabilities, truth)
    assert scores["slice accuracy"] == 0.5
    assert scores["balanced slice accuracy"] == pytest.approx((1 / 3 + 1) / 2)
    assert scores["track accuracy"] == pytest.approx(2 / 3)
    assert scores["balanced track accuracy"] == 0.75
    assert scores["confusion"] == [[1, 1], [0, 1]]
    assert scores["loss"] == pytest.approx(-np.log([0.9, 0.4, 0.3, 0.8]).mean())


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_classifier_learns_what_is_easy_and_a_missing_genre_does_no_harm(optimizer):
    config = LSTMConfig(FEATURES, ("blues", "jazz", "metal"), hidden_size=16)
    train = items([0] * 40 + [2] * 20, range(60))
    model, curve = train_classifier(config, [Phase(train, 12)], train, optimizer, seed=0, batch_size=8)
    assert curve[-1]["valid accuracy"] == 1.0 and curve[-1]["loss"] < 0.3 * curve[0]["loss"]
    assert set(predict(model, train).argmax(1)) == {0, 2}
    same, _ = train_classifier(config, [Phase(train, 12)], train, optimizer, seed=0, batch_size=8)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), same.state_dict().values(), strict=True))


def test_generated_slices_come_in_the_number_asked_for():
    config = WaveformGANConfig(n_samples=22_050, genres=("metal",), latent_dim=4, width=8)
    generator = GenreGenerator(WaveformModel(WaveformGenerator(config)))
    made = generate_items(generator, {"metal": 5}, FEATURES, GENRES, clip_s=2.0, seed=3)
    assert made.features.shape == (5, FEATURES.segment_frames, 13) and np.isfinite(made.features).all()
    assert set(made.genre_ids) == {1} and set(made.tracks) == {NO_TRACK}
    assert not np.array_equal(made.features[0], made.features[2])
    with pytest.raises(ValueError, match=r"clip_s must be at least the length of a slice, 1\.0 s, got 0\.5"):
        generate_items(generator, {"metal": 5}, FEATURES, GENRES, clip_s=0.5, seed=3)


def test_the_best_generators_data_is_added_only_if_it_never_heard_the_validation_tracks(command, tmp_path):
    generator = WaveformGenerator(WaveformGANConfig(n_samples=22_050, genres=GENRES, latent_dim=4, width=8))
    names = ["a quarter generated", "a quarter generated, filtered", "a quarter generated first, then real"]
    names.append("real slices alone, 125 epochs")
    words = [*command, "--only", *names, "--best-generator", str(generator.save_pretrained(tmp_path / "leaky"))]
    with pytest.raises(SystemExit, match="may have heard validation tracks: it was trained by None"):
        reproduce.main(words)
    summary = split_tracks(load_tracks([str(tmp_path / "music")]), "fold").summary()
    generator.training_record = {"split": summary, "seed": 0, "tracks_per_genre": {"blues": 4, "metal": 4}, "steps": 7}
    reproduce.main([*words[:-1], str(generator.save_pretrained(tmp_path / "clean"))])
    found = results(tmp_path)
    assert set(found) == {f"{reproduce.file_name(name, 'fold', 0)}" for name in names}
    plain = found["a-quarter-generated--fold--0"]
    assert plain["train_slices"] == {"blues": 4, "metal": 4} and plain["generated_slices"] == {"blues": 1, "metal": 1}
    filtered = found["a-quarter-generated-filtered--fold--0"]["generated_slices"]
    assert all(filtered.get(genre, 0) <= 1 for genre in GENRES)
    assert "Beyond the report" in (tmp_path / "results" / "report.md").read_text()


def test_pretraining_ends_on_real_slices():
    real, generated = items([0, 1], [0, 1]), items([1], [NO_TRACK])
    row = reproduce.Row("any", "extra", generated="best", schedule="pretrain")
    first, second = reproduce.plan_phases(row, real, generated, 5)
    assert (first.items, first.epochs, second.items, second.epochs) == (generated, 2, real, 3)
    (mixed,) = reproduce.plan_phases(replace(row, schedule="mixed"), real, generated, 5)
    assert len(mixed.items) == 3 and mixed.epochs == 5
    (alone,) = reproduce.plan_phases(row, real, real.pick(np.zeros(0, int)), 5)
    assert alone == Phase(real, 5)


def test_unusable_data_and_arguments_are_one_clear_line(tmp_path, capsys):
    single, double, short = (write_music_folder(tmp_path / str(n), GENRES, n, 3.0) for n in (1, 2, 5))
    rows = [(f"{g}/{g}-{i:02d}.wav", g, g) for g in GENRES for i in range(2)]  # of one artist each
    with open(double / "tracks.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file_name", "genre", "artist"), *rows])
    words = ["--output-dir", str(tmp_path / "results"), "--work-dir", str(tmp_path / "work"), "--scale", "0.02"]
    only = ["--only", "LSTM_ADAM_50_segment", "--protocols", "artist"]
    with pytest.raises(SystemExit, match=r"^error: there are fewer than 2 tracks of blues, metal"):
        reproduce.main([*words, "--data", str(single), *only])
    with pytest.raises(SystemExit, match=r"^error: genre 'blues' cannot stand on both sides of .* it has 2 tracks by 1 artist"):
        reproduce.main([*words, "--data", str(double), *only])
    with pytest.raises(SystemExit, match="'fcn-4s' needs training clips of at least 4 s"):
        reproduce.main([*words, "--data", str(short), "--only", "LSTM2_FCN_4S_GAN_segment", "--protocols", "segment"])
    for wrong, message in ((["--only", "LSTM_9"], "LSTM_ADAM_50_segment"), (["--scale", "2"], "at most 1, got 2")):
        with pytest.raises(SystemExit):
            reproduce.parse_args(wrong)
        assert message in capsys.readouterr().err
