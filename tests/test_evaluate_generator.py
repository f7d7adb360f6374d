"""The evaluation of generators, on the smallest models and synthesised music."""

import json

import pytest

from genre_gan.features import FeatureConfig
from genre_gan.models.lstm import GenreLSTM, LSTMConfig
from tests.conftest import write_music_folder
from tests.test_models import tiny_spectral_model
from training import evaluate_generator


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    music = write_music_folder(tmp_path / "music", tracks_per_genre=12, duration_s=2.5)
    judge = GenreLSTM(LSTMConfig(FeatureConfig("mfcc-segment", segment_s=1.0), ("blues", "metal"), hidden_size=8))
    judge.feature_std.fill_(100.0)
    model = tiny_spectral_model()
    return [
        "--data", str(music), "--judge", str(judge.save_pretrained(tmp_path / "judge")), "--cache-dir", str(tmp_path / "cache"),
        "--generators", str(model.save_pretrained(tmp_path / "model")), "--clips-per-genre", "3", "--duration-s", "1.2",
        "--output-dir", str(tmp_path / "out"),
    ]


def test_the_table_has_floor_and_ceiling_beside_the_generator(arguments, tmp_path, capsys):
    evaluate_generator.main(arguments)
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "generator.json").read_text())}
    assert list(rows)[:2] == ["real, seen in training", "real, unseen"]
    assert {"vocoder's copy", "autoencoder's and vocoder's copy", "untrained vocoder's copy", "Griffin-Lim's copy", "white noise"} < set(rows)
    assert rows["real, seen in training"]["frechet"] == pytest.approx(0.0, abs=1e-4)
    assert rows["real, seen in training"]["copied"] == 1.0
    assert rows["white noise"]["frechet"] > rows["real, unseen"]["frechet"]
    assert rows["real, unseen"]["diversity"] == pytest.approx(1.0)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"generator.json", "generator.md", "generator_spectrograms.png", "generator_spectra.png"}
    assert "| white noise | " in capsys.readouterr().out


def test_a_wrong_judge_is_one_line(arguments, tmp_path):
    arguments[3] = str(tmp_path / "nowhere")
    with pytest.raises(SystemExit, match="error: .*nowhere"):
        evaluate_generator.main(arguments)
