"""Models go to the Hub, whole or not at all, with a card that says what people need."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from genre_gan.hub import HubError, push_model_folder, resolve_model_folder
from genre_gan.model_card import model_card
from genre_gan.models.waveform import WaveformGenerator
from genre_gan.pretrained import ModelError
from tests.hub.calls import ANNA, READER, ROOT, printed, samples_of, sound_alike
from tests.test_models import tiny_gan
from training import push_to_hub


def test_a_push_brings_model_parts_samples_and_card_and_one_id_brings_them_back(hub, client, generator):
    assert client(push_model_folder, generator, "anna/mel") == f"{hub.url}/anna/mel"
    files = hub.files("anna/mel")
    parts = {f"{part}{name}" for part in ("", "codec/") for name in ("config.json", "model.safetensors")}
    assert set(files) == parts | {"README.md", "learning_curve.png", "samples/blues.wav", "samples/metal.wav"}
    assert files["samples/blues.wav"] == b"newblues.wav"
    assert len(hub.repos["model", "anna/mel"].branches["main"]) == 2
    assert not hub.repos["model", "anna/mel"].private
    assert sound_alike(client(samples_of, "anna/mel"), samples_of(generator))
    assert not (client(resolve_model_folder, "anna/mel") / "samples").exists()


def test_the_card_says_what_people_need(hub, client, generator):
    client(push_model_folder, generator, "anna/fcn")
    header, text = re.match(r"---\n(.*?)\n---\n(.*)", hub.files("anna/fcn")["README.md"].decode(), re.DOTALL).groups()
    header = yaml.safe_load(header)
    assert (header["library_name"], header["pipeline_tag"], header["license"]) == ("genre-gan", "text-to-audio", "other")
    result = header["model-index"][0]["results"][0]
    assert result["metrics"] == [{"type": "frechet", "value": 23.5, "name": "frechet"}]
    assert result["dataset"] == {"name": "gtzan (artist)", "type": "gtzan", "split": "valid"}
    for needed in (
        "python training/train_cgan.py --data genres", "blues 5, metal 5", "GTZAN states no licence", "## Limits",
        "| valid | number of clips | 40 |", 'GenreGenerator.from_pretrained("anna/fcn")', "hf download anna/fcn", "codec",
        f"{hub.url}/anna/fcn/resolve/main/samples/blues.wav", f"{hub.url}/anna/fcn/resolve/main/learning_curve.png",
    ):
        assert needed in text, needed


def test_a_card_is_honest_where_nothing_is_known():
    config = {"family": "lstm", "model": {"genres": ["blues"], "features": {"sample_rate_hz": 22_050}}, "training": {}}
    card = model_card(config, ["config.json"], "anna/lstm", "v2", "cc-by-4.0")
    assert "model-index" not in card and "None were recorded" in card and "not recorded" in card
    assert "license: cc-by-4.0" in card and "22050 Hz" in card and 'from_pretrained("anna/lstm", revision="v2")' in card


def test_a_card_tells_of_the_training_that_weights_began_with_and_takes_it_for_no_figures():
    record = {"command": "python tune.py", "steps": 7, "begun as": {"command": "python train.py", "steps": 30_000, "tracks": 483}}
    card = model_card({"family": "spectral-gan", "model": {}, "training": record}, ["config.json"], "anna/mel", None, None)
    assert "- steps: 7" in card and "python train.py" in card.partition("another training")[2] and "- steps: 30000" in card
    assert "None were recorded with these weights" in card


def test_only_changes_are_committed_and_each_revision_can_be_had(hub, client, generator):
    client(push_model_folder, generator, "anna/fcn")
    commits = hub.repos["model", "anna/fcn"].branches["main"]
    hub.repos["model", "anna/fcn"].commit("main", "by hand", commits[-1].files | {"NOTES.md": b"the owner's own"})
    client(push_model_folder, generator, "anna/fcn")
    assert len(commits) == 3  # made, pushed, by hand; the second push changed nothing
    old = samples_of(generator)
    shutil.rmtree(generator / "codec")
    WaveformGenerator(tiny_gan(width=8)).save_pretrained(generator)
    client(push_model_folder, generator, "anna/fcn")
    assert len(commits) == 4
    assert "NOTES.md" in hub.files("anna/fcn") and not any("codec/" in path for path in hub.files("anna/fcn"))
    assert sound_alike(client(samples_of, "anna/fcn"), samples_of(generator))
    assert sound_alike(client(samples_of, "anna/fcn", commits[1].sha), old)
    WaveformGenerator(tiny_gan(width=12)).save_pretrained(generator)
    assert client(push_model_folder, generator, "anna/fcn", False, "wide").endswith("/anna/fcn/tree/wide")
    assert len(commits) == 4 and sound_alike(client(samples_of, "anna/fcn", "wide"), samples_of(generator))
    with pytest.raises(ModelError, match="has no revision 'v9'"):
        client(samples_of, "anna/fcn", "v9")


def test_the_command_makes_samples_where_there_are_no_previews_and_hf_download_brings_all(hub, client, environment, tmp_path):
    folder = WaveformGenerator(tiny_gan()).save_pretrained(tmp_path / "model")
    for _ in range(2):
        assert f"pushed to {hub.url}/anna/tiny" in client(printed, push_to_hub.main, folder, "anna/tiny", "--private")
    assert len(hub.repos["model", "anna/tiny"].branches["main"]) == 2
    assert hub.repos["model", "anna/tiny"].private
    assert {path for path in hub.files("anna/tiny") if path.startswith("samples")} == {"samples/blues.mp3", "samples/metal.mp3"}
    command = [Path(sys.executable).with_name("hf"), "download", "anna/tiny", "--local-dir", tmp_path / "pulled"]
    subprocess.run(list(map(str, command)), env=environment, check=True, capture_output=True, timeout=120)
    assert sound_alike(samples_of(tmp_path / "pulled"), samples_of(folder))


def test_a_killed_push_leaves_the_old_revision_whole(hub, client, environment, generator, tmp_path):
    client(push_model_folder, generator, "anna/fcn")
    before = hub.files("anna/fcn")
    changed = WaveformGenerator(tiny_gan(width=8)).save_pretrained(tmp_path / "changed")
    hub.hold_uploads = True
    command = [sys.executable, str(ROOT / "training" / "push_to_hub.py"), str(changed), "anna/fcn"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as push:
        assert hub.upload_began.wait(120)
        push.send_signal(signal.SIGKILL)
        output = push.communicate()[0].decode()
    hub.hold_uploads = False
    hub.release.set()
    assert ANNA not in output
    assert hub.files("anna/fcn") == before
    assert sound_alike(client(samples_of, "anna/fcn"), samples_of(generator))
    client(push_model_folder, changed, "anna/fcn")
    assert sound_alike(client(samples_of, "anna/fcn"), samples_of(changed))


def test_a_push_that_cannot_be_is_explained_and_changes_nothing(hub, client, generator):
    with pytest.raises(HubError, match="needs a Hub token: log in with `hf auth login`"):
        client(push_model_folder, generator, "anna/fcn", token=None)
    with pytest.raises(HubError, match="does not know this token"):
        client(push_model_folder, generator, "anna/fcn", token="hf_nobody")
    with pytest.raises(HubError, match="no right to do that"):
        client(push_model_folder, generator, "anna/fcn", token=READER)
    with pytest.raises(HubError, match="no right to do that"):
        client(push_model_folder, generator, "ben/fcn")
    with pytest.raises(HubError, match="named like 'user/genre-gan', got 'fcn'"):
        client(push_model_folder, generator, "fcn")
    with hub.down(), pytest.raises(HubError, match="cannot be reached, so nothing was pushed"):
        client(push_model_folder, generator, "anna/fcn")
    assert not hub.repos
    client(push_model_folder, generator, "anna/fcn")
    before = hub.files("anna/fcn")
    with pytest.raises(HubError, match="is public already"):
        client(push_model_folder, generator, "anna/fcn", True)
    WaveformGenerator(tiny_gan(width=20)).save_pretrained(generator)
    hub.refuse_uploads = True
    with pytest.raises(HubError, match=r"left no half-made revision there: the Hub answered 400 \(The storage is full\)"):
        client(push_model_folder, generator, "anna/fcn")
    weights = generator / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ModelError, match="damaged, cut off or altered"):
        client(push_model_folder, generator, "anna/fcn")
    assert hub.files("anna/fcn") == before


def test_a_training_ends_on_the_hub_and_keeps_its_token_to_itself(hub, client, environment, music_folder, tmp_path):
    script, run = ROOT / "training" / "train_lstm.py", tmp_path / "run"
    options = ["--data", music_folder, "--output-dir", run, "--segment-s", 1, "--hidden-size", 8, "--max-steps", 2]
    command = [sys.executable, script, *options, "--push-to-hub", "anna/lstm", "--revision", "trial"]
    training = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=240)
    assert training.returncode == 0, training.stderr
    assert f"pushed to {hub.url}/anna/lstm/tree/trial" in training.stdout + training.stderr
    files = hub.files("anna/lstm", revision="trial")
    assert set(files) == {"config.json", "model.safetensors", "README.md", "learning_curve.png"}
    assert b"track accuracy" in files["README.md"] and b"--push-to-hub anna/lstm" in files["README.md"]
    assert client(resolve_model_folder, "anna/lstm", "trial").name == hub.repos["model", "anna/lstm"].find("trial").sha
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] + list(files.values())
    assert all(ANNA.encode() not in data for data in [*written, training.stdout.encode(), training.stderr.encode()])
    hopeless = subprocess.run(
        [*map(str, command), "--overwrite"], env=environment | {"HF_TOKEN": ""}, capture_output=True, text=True, timeout=240
    )
    assert hopeless.returncode != 0 and "error: pushing needs a Hub token" in hopeless.stderr
    assert "Traceback" not in hopeless.stderr and (run / "model").exists()
