import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import app
from genre_gan import GENRES, GenreClassifier, GenreGenerator
from tests.conftest import SAMPLE_RATE_HZ, synthesize


@pytest.fixture(scope="module")
def demo():
    demo = app.build_demo(GenreGenerator.from_pretrained(), GenreClassifier.from_pretrained())
    demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **app.LAUNCH_SETTINGS)
    yield demo
    demo.close()


@pytest.fixture(scope="module")
def client(demo, tmp_path_factory):
    client = Client(demo.local_url, download_files=tmp_path_factory.mktemp("downloads"), verbose=False)
    yield client
    client.close()


def assert_no_path(message: str) -> None:
    assert "/" not in message and "Traceback" not in message


def test_page_answers_with_its_title(demo):
    with urllib.request.urlopen(demo.local_url, timeout=30) as response:
        assert response.status == 200
        assert app.TITLE in response.read().decode()


def test_endpoints_are_generate_and_classify_only(client):
    endpoints = client.view_api(return_format="dict")
    assert set(endpoints["named_endpoints"]) == {"/generate", "/classify"}
    assert not endpoints["unnamed_endpoints"]
    parameters = endpoints["named_endpoints"]["/generate"]["parameters"]
    assert [parameter["parameter_name"] for parameter in parameters] == ["genre", "duration_s", "seed"]


def test_generate_repeats_a_seed_and_has_the_asked_length(client):
    first, plot, seed_used = client.predict("jazz", 2.5, 7, api_name="/generate")
    again, _, _ = client.predict("jazz", 2.5, 7, api_name="/generate")
    other, _, _ = client.predict("jazz", 2.5, 8, api_name="/generate")
    samples, rate_hz = soundfile.read(first)
    assert seed_used == 7
    assert plot["type"] == "matplotlib" and plot["plot"].startswith("data:image/")
    assert len(samples) == round(2.5 * rate_hz)
    assert np.abs(samples).max() > 0.1
    assert Path(first).read_bytes() == Path(again).read_bytes()
    assert Path(first).read_bytes() != Path(other).read_bytes()


@pytest.mark.parametrize("seed", [-1, None])
def test_generate_shows_the_seed_it_drew(client, seed):
    audio, _, drawn = client.predict("rock", 2, seed, api_name="/generate")
    again, _, _ = client.predict("rock", 2, drawn, api_name="/generate")
    assert drawn >= 0
    assert Path(audio).read_bytes() == Path(again).read_bytes()


@pytest.mark.parametrize(
    ("genre", "duration_s", "seed", "problem"),
    [("polka", 4, 1, "polka"), ("jazz", 61, 1, "61"), ("jazz", 1, 1, "2"), ("jazz", 4, -2, "-2")],
)
def test_generate_names_what_is_wrong(client, genre, duration_s, seed, problem):
    with pytest.raises(AppError, match=problem) as caught:
        client.predict(genre, duration_s, seed, api_name="/generate")
    assert_no_path(str(caught.value))


def test_classify_gives_ten_probabilities_a_plot_and_a_sentence(client, tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, synthesize(220.0, 2.0, 7.0, seed=0), SAMPLE_RATE_HZ)
    label, plot, text = client.predict(handle_file(path), api_name="/classify")
    probabilities = {entry["label"]: entry["confidence"] for entry in label["confidences"]}
    assert set(probabilities) == set(GENRES)
    assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-4)
    assert label["label"] == max(probabilities, key=probabilities.get)
    assert plot["type"] == "matplotlib"
    assert text.startswith(f"Most likely {label['label']}")


def test_classify_refuses_text_named_wav(client, tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("these are words and no sound\n" * 50)
    with pytest.raises(AppError, match="notes.wav.*cannot be read as audio") as caught:
        client.predict(handle_file(path), api_name="/classify")
    assert_no_path(str(caught.value))


def test_classify_refuses_a_missing_file_and_a_blink(client, tmp_path):
    with pytest.raises(AppError, match="upload a file or record"):
        client.predict(None, api_name="/classify")
    path = tmp_path / "blink.wav"
    soundfile.write(path, synthesize(220.0, 2.0, 0.1, seed=0), SAMPLE_RATE_HZ)
    with pytest.raises(AppError, match="too short"):
        client.predict(handle_file(path), api_name="/classify")


def test_unexpected_errors_are_logged_and_not_shown(caplog):
    with pytest.raises(app.gr.Error, match="Something went wrong") as caught, app.user_errors():
        raise RuntimeError("secret detail in /srv/models")
    assert "secret" not in str(caught.value)
    assert "secret detail" in caplog.text


def test_user_errors_cut_paths_to_names():
    with pytest.raises(app.gr.Error) as caught, app.user_errors("/srv/cache/song.wav"):
        raise ValueError("/srv/cache/song.wav is not a file")
    assert caught.value.message == "song.wav is not a file"


@pytest.mark.parametrize("auth", ["anna", "anna:", ":secret", ":", ""])
def test_malformed_auth_is_refused_without_repeating_it(auth, capsys):
    with pytest.raises(SystemExit):
        app.parse_args(["--auth", auth])
    message = capsys.readouterr().err
    assert "user:password" in message and "secret" not in message


def test_auth_keeps_colons_of_the_password():
    assert app.parse_args(["--auth", "anna:a:b"]).auth == ("anna", "a:b")


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_impossible_ports_are_refused(port, capsys):
    with pytest.raises(SystemExit):
        app.parse_args(["--port", port])
    assert "1 to 65535" in capsys.readouterr().err


def test_listens_to_the_outside_only_on_a_space(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert app.parse_args([]).host == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "user/demo")
    assert app.parse_args([]).host == "0.0.0.0"


def test_a_wrong_model_folder_ends_with_a_message(tmp_path):
    with pytest.raises(SystemExit, match="config.json"):
        app.main(["--model", str(tmp_path)])
