"""The benchmark's figures are of the right things; how large they are depends on the machine."""

import json
import math

import pytest

from genre_gan.hub import packaged_weights
from genre_gan.pretrained import CONFIG_NAME, read_config
from training import benchmark
from training.benchmark_training import _measure_steps
from training.stopwatch import Row, write_music


def test_the_table_and_the_json_hold_the_same_rows(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "CLIP_S", 5.0)
    monkeypatch.setattr(benchmark, "N_FILES", 2)
    words = ["--only", "features", "classification"]
    words += ["--json", str(tmp_path / "rows.json"), "--markdown", str(tmp_path / "table.md")]
    benchmark.main(words)
    record = json.loads((tmp_path / "rows.json").read_text())
    names = ["log-mel against librosa", "mfcc against librosa", "classify wav", "classify mp3", "classify many wav"]
    assert [row["what"] for row in record["rows"]] == names
    for row in record["rows"]:
        assert math.isfinite(row["value"]) and row["value"] > 0
        assert f"| {row['what']} | {row['value']:.3g} | {row['unit']} |" in (tmp_path / "table.md").read_text()
    assert "--only features classification --threads 1" in capsys.readouterr().out
    for row in record["rows"][:2]:  # the same values, in dB
        assert float(row["note"].rsplit(" ", 1)[1]) < 0.01


def test_every_packaged_generator_is_measured():
    families = {path.parent.name: read_config(path.parent)["family"] for path in packaged_weights("").glob(f"*/{CONFIG_NAME}")}
    assert sorted(benchmark.GENERATORS) == sorted(name for name, family in families.items() if family.endswith("-gan"))


def test_steps_of_a_script_are_measured_without_training_it(tmp_path):
    music = write_music(tmp_path / "music", 4, 3.0)
    result = _measure_steps("fcn", "train_cgan", "--model fcn --segment-s 1 --width 8 --batch-size 4", "no", music)
    assert result["step_s"] > 0 and result["flops"] > 1e6 and 0 <= result["waited"] <= 1
    assert not (tmp_path / "fcn-no" / "model").exists()


@pytest.mark.parametrize(
    ("value", "target", "verdict"), [(6, ">=5", "yes"), (4, ">=5", "no"), (4, "<5", "yes"), (6, "<5", "no"), (1, "", "")]
)
def test_a_row_says_whether_its_target_is_met(value, target, verdict):
    assert Row("group", "what", value, "unit", target).verdict == verdict
