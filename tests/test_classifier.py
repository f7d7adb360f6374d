"""The classifier's parts against answers worked out by hand, its training by cross-validation, and its measurement."""

import json

import numpy as np
import pytest
import torch

from genre_gan import GenreClassifier
from genre_gan.classify import pool_slices
from genre_gan.data.cache import Segments
from genre_gan.features import FeatureConfig
from genre_gan.models.lstm import GenreLSTM, LSTMConfig
from genre_gan.models.summary import SummaryKernel, summarise, summary_sizes
from tests.conftest import synthesize, write_music_folder
from training import evaluate_classifier, train_lstm
from training.not_music import KINDS, make_not_music
from training.scores import balanced, expected_calibration_error, fit_temperature, reliability, track_scores

LOG_MEL = FeatureConfig("log-mel", 16_000, 512, 256, 32, segment_s=1.0)
TINY = LSTMConfig(
    LOG_MEL, ("blues", "metal"), hidden_size=8, window_channels=8, pooling="attention", relative_level=True, not_music=True, n_centres=3
)


def test_loudness_does_not_change_what_is_heard():
    classifier = GenreClassifier(GenreLSTM(TINY))
    samples = synthesize(220, 2, 3.0, seed=1)
    loud, quiet = (classifier.classify((gain * samples, 22_050)) for gain in (1.0, 0.1))
    assert list(quiet.probabilities.values()) == pytest.approx(list(loud.probabilities.values()), abs=1e-4)


def test_probabilities_mix_both_judges_at_the_temperature():
    model = GenreLSTM(LSTMConfig(**vars(TINY) | {"kernel_share": 0.3, "kernel_gain": 5.0, "temperature": 2.0})).eval()
    model.kernel.coefficients.normal_()
    features = 10.0 * torch.randn(2, 60, 32)
    with torch.inference_mode():
        by_hand = (0.3 * 5.0 * model.kernel(model.level(features)) + 0.7 * model(features)) / 2.0
        assert torch.allclose(model.probabilities(features), by_hand.softmax(1), atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"n_centres": 2, "features": FeatureConfig("log-mel", n_mels=40)}, "multiple of 16"), ({"temperature": 0.0}, "temperature"),
     ({"relative_level": True}, "log-mel"), ({"sure_above": 1.5}, "sure_above")],
)  # fmt: skip
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        LSTMConfig(**setting)


def test_statistics_of_a_slice_by_hand():
    levels = torch.randn(2, 50, 32)
    groups = summarise(levels).split(summary_sizes(32), dim=1)
    assert torch.allclose(groups[0], levels.mean(1), atol=1e-6)
    assert torch.allclose(groups[1], levels.std(1, correction=0), atol=1e-5)
    coarse = levels[0].unflatten(1, (16, 2)).mean(2).numpy()
    assert torch.allclose(groups[4], levels.sort(1).values[:, 44])  # nine tenths of 49
    assert groups[8][0].numpy() == pytest.approx(np.corrcoef(coarse.T)[np.triu_indices(16, 1)], abs=1e-3)


def test_the_kernel_machine_gives_its_own_examples_back():
    levels = 5.0 * torch.randn(6, 40, 32)
    kernel = SummaryKernel(32, 6, 2)
    targets = torch.eye(2)[[0, 1, 0, 1, 0, 1]]
    kernel.fit(summarise(levels), targets, torch.ones(6), ridge=1e-4)
    assert torch.allclose(kernel(levels), targets, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_sound_that_is_no_music_is_finite_and_as_long_as_asked(kind):
    sound = make_not_music(kind, 1.5, 16_000, np.random.default_rng(0))
    assert sound.shape == (24_000,) and sound.dtype == np.float32
    assert np.isfinite(sound).all() and np.abs(sound).max() == pytest.approx(0.5, abs=1e-3)


def test_scores_by_hand():
    segments = Segments(np.array([0, 0, 1, 2]), np.zeros(4, int), np.array([10, 30, 10, 10]))
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]])
    scores, by_track, genre_ids = track_scores(probabilities, segments, np.array([0, 1, 1]))
    odds = np.exp((np.log(9.0) - 3.0 * np.log(4.0)) / 4.0)  # the longer slice counts three times
    assert by_track[0, 0] / by_track[0, 1] == pytest.approx(odds)
    surer = pool_slices(probabilities[:2], np.array([10, 30]), np.zeros(2, int), agreement=1.0)[0]
    assert surer[0] / surer[1] == pytest.approx(odds**2)
    assert scores["segment_accuracy"] == 0.75
    assert scores["track_accuracy"] == pytest.approx(2 / 3) and scores["balanced_track_accuracy"] == 0.5
    assert balanced(np.array([True, False, True]), np.array([0, 0, 1])) == 0.75
    assert reliability(np.array([[0.95, 0.05], [0.05, 0.95]]), np.array([0, 0])) == [(0.95, 0.5, 1.0)]
    assert expected_calibration_error(np.array([[0.95, 0.05], [0.05, 0.95]]), np.array([0, 0])) == pytest.approx(0.45)


def test_the_temperature_makes_chances_of_logits_that_boast():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    said = np.where(rng.random(400) < 0.8, truth, 1 - truth)  # right four times of five
    logits = 8.0 * np.eye(2, dtype=np.float32)[said]
    segments = Segments(np.arange(400), np.zeros(400, int), np.ones(400, int))
    temperature = fit_temperature(logits, 2, segments, truth)
    assert np.exp(8.0 / temperature) / (1 + np.exp(8.0 / temperature)) == pytest.approx(0.95, abs=0.03)  # the hottest allowed is 3


@pytest.fixture(scope="module")
def cross_validated(tmp_path_factory):
    root = tmp_path_factory.mktemp("classifier")
    data = write_music_folder(root / "music", tracks_per_genre=6, duration_s=3.2)
    tiny = ["--hidden-size", "8", "--window-channels", "8", "--segment-s", "1", "--min-segment-s", "1", "--n-mels", "32"]
    arguments = ["--data", data, "--preset", "shipped", *tiny, "--max-steps", 2, "--batch-size", 8, "--cross-validate"]
    arguments += ["--tracker", "none", "--cache-dir", root / "cache", "--output-dir", root / "run"]
    train_lstm.main([str(argument) for argument in arguments])
    return data, root / "run"


def test_cross_validation_calibrates_and_judges_unheard_tracks(cross_validated, tmp_path):
    data, folder = cross_validated
    record = json.loads((folder / "result.json").read_text())
    assert record["cross_validation"]["n_tracks"] == 12
    assert record["cross_validation"]["balanced_track_accuracy"] > 0.8  # the kernel machine alone tells them apart
    model = GenreClassifier.from_pretrained(folder / "model").model
    assert model.config.n_centres == 12 * (train_lstm.CLEAN_SLICES + train_lstm.DISTURBED_SLICES) + len(train_lstm.not_music_features(model.config.features, 0))
    evaluate_classifier.main(
        ["--model", str(folder), "--data", str(data), "--robustness-tracks", "0", "--synthetic", "1", "--output-dir", str(tmp_path)]
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["all"]["balanced"]["value"] == record["cross_validation"]["balanced_track_accuracy"]


def test_contradictory_options_are_refused(capsys):
    for options, message in ((["--window-channels", "8"], "needs --features log-mel"), (["--not-music"], "needs --window-channels")):
        with pytest.raises(SystemExit):
            train_lstm.parse_args(["--output-dir", "x", *options])
        assert message in capsys.readouterr().err
