import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import base64
import importlib.util
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
from genre_gan import GENRES, Clip, Guess
from genre_gan.classify import TimelinePoint
from genre_gan.demo import about_tab, classify_tab, forms, generate_tab, page, server
from genre_gan.demo.about_tab import ABOUT, SNIPPETS
from genre_gan.demo.errors import user_errors
from genre_gan.demo.models import PACKAGED, Models
from genre_gan.demo.page import build_demo
from genre_gan.demo.pictures import describe
from genre_gan.hub import packaged_weights
from genre_gan.models.waveform import WaveformGANConfig, WaveformGenerator
from genre_gan.pretrained import ModelError
from tests.conftest import SAMPLE_RATE_HZ, TWO_GENRES, synthesize

ROOT = Path(app.__file__).parent


@pytest.fixture(scope="module")
def demo():
    demo = build_demo(Models())
    server.serve(demo, server_name="127.0.0.1", quiet=True)
    yield demo
    demo.close()


@pytest.fixture(scope="module")
def client(demo, tmp_path_factory):
    client = Client(demo.local_url, download_files=tmp_path_factory.mktemp("downloads"), verbose=False)
    yield client
    client.close()


@pytest.fixture
def music(tmp_path) -> Path:
    return Clip(synthesize(220.0, 2.0, 7.0, seed=0), SAMPLE_RATE_HZ).save(tmp_path / "song.wav")


def assert_no_path(message: str) -> None:
    assert "/" not in message and "Traceback" not in message


def post(address: str, body: bytes, kind: str = "application/json") -> bytes:
    request = urllib.request.Request(address, body, {"Content-Type": kind})
    return urllib.request.urlopen(request, timeout=60).read()


def call_over_http(demo, endpoint: str, *values) -> str:
    """The answer of an endpoint as text, as plain HTTP gives it."""
    address = f"{demo.local_url}gradio_api/call/{endpoint}"
    event = json.loads(post(address, json.dumps({"data": values}).encode()))["event_id"]
    return urllib.request.urlopen(f"{address}/{event}", timeout=60).read().decode()


def test_page_answers_with_its_title(demo):
    with urllib.request.urlopen(demo.local_url, timeout=30) as response:
        assert response.status == 200
        assert page.TITLE in response.read().decode()


def test_endpoints_are_generate_and_classify_only(client):
    endpoints = client.view_api(return_format="dict")
    assert set(endpoints["named_endpoints"]) == {"/generate", "/classify"}
    assert not endpoints["unnamed_endpoints"]
    parameters = endpoints["named_endpoints"]["/generate"]["parameters"]
    names = ["genre", "duration_s", "seed", "second_genre", "second_share", "variation", "model"]
    assert [parameter["parameter_name"] for parameter in parameters] == names
    assert all(parameter["parameter_has_default"] for parameter in parameters)


def test_generate_repeats_a_seed_and_has_the_asked_length(client):
    first, seed = client.predict("jazz", 2.5, 7, api_name="/generate")
    again, _ = client.predict("jazz", 2.5, 7, api_name="/generate")
    other, _ = client.predict("jazz", 2.5, 8, api_name="/generate")
    samples, rate_hz = soundfile.read(first)
    assert seed == 7
    assert Path(first).name == "jazz-seed-7.wav"
    assert len(samples) == round(2.5 * rate_hz)
    assert np.abs(samples).max() > 0.1
    assert Path(first).read_bytes() == Path(again).read_bytes() != Path(other).read_bytes()


def test_classify_says_that_a_file_ended_early(client, music, tmp_path):
    cut = tmp_path / "cut.wav"
    cut.write_bytes(music.read_bytes()[:200_000])
    sentence = client.predict(handle_file(cut), api_name="/classify")[1]
    assert "Note: 'cut.wav' ended early: 4.5 of 7.0 s are there." in sentence


def test_genres_go_by_any_of_their_names_as_in_python(client):
    settings = {"duration_s": 2, "seed": 7, "model": "fcn", "api_name": "/generate"}
    expected = Path(client.predict("hiphop", second_genre="blues", **settings)[0]).read_bytes()
    assert Path(client.predict("Hip Hop/Rap", second_genre="R&B", **settings)[0]).read_bytes() == expected


def test_generate_shows_the_seed_it_drew(client):
    audio, drawn = client.predict("rock", 2, -1, api_name="/generate")
    again, _ = client.predict("rock", 2, drawn, api_name="/generate")
    assert drawn >= 0
    assert Path(audio).read_bytes() == Path(again).read_bytes()


def test_a_blend_and_a_variation_change_the_clip(client):
    alone, *others = (
        client.predict("jazz", 2, 7, api_name="/generate", **settings)[0]
        for settings in ({}, {"second_genre": "metal", "second_share": 60}, {"variation": 0.5}, {"second_genre": "jazz"})
    )
    blended, tame, same = (Path(path).read_bytes() for path in others)
    assert Path(others[0]).name == "jazz-with-60-metal-seed-7.wav"
    assert Path(alone).read_bytes() not in (blended, tame)
    assert Path(alone).read_bytes() == same


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"genre": "polka"}, "polka"),
        ({"duration_s": 61}, "61"),
        ({"duration_s": 1}, "2"),
        ({"seed": -2}, "-2"),
        ({"second_genre": "polka"}, "polka"),
        ({"variation": 9}, "9"),
        ({"model": "gpt"}, "gpt"),
    ],
)
def test_generate_names_what_is_wrong(client, settings, problem):
    with pytest.raises(AppError, match=problem) as caught:
        client.predict(**{"genre": "jazz", "duration_s": 2, "seed": 1} | settings, api_name="/generate")
    assert_no_path(str(caught.value))


def test_classify_gives_all_genres_a_sentence_and_a_timeline(client, music):
    label, sentence, timeline, picture = client.predict(handle_file(music), api_name="/classify")
    assert (timeline[0]["start_s"], timeline[0]["end_s"]) == (0.0, 3.0)
    assert all(set(slice_["probabilities"]) == set(GENRES) for slice_ in timeline)
    assert picture.count("data:image/webp") == 2
    if label["confidences"] is not None:
        probabilities = {entry["label"]: entry["confidence"] for entry in label["confidences"]}
        assert set(probabilities) == set(GENRES)
        assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-4)
        assert sentence.startswith(f"Most likely {label['label']}")


def test_silence_gets_no_genre(client, tmp_path):
    path = Clip(np.zeros(4 * SAMPLE_RATE_HZ, np.float32), SAMPLE_RATE_HZ).save(tmp_path / "silence.flac")
    label, sentence, _, _ = client.predict(handle_file(path), api_name="/classify")
    assert label["label"] == "not sure" and label["confidences"] is None
    assert sentence.startswith("Not sure")


def test_describe_says_how_many_slices_agree():
    slices = [TimelinePoint(3.0 * i, 3.0 * i + 3, genre, {}) for i, genre in enumerate(("jazz", "rock", "jazz"))]
    guess = Guess("jazz", {"jazz": 0.6, "rock": 0.4}, tuple(slices), True)
    assert describe(guess) == "Most likely jazz (60%). Heard 9.0 s in 3 slices; jazz came first in 2."
    assert describe(guess._replace(is_sure=False)) == "Not sure: no genre stands out. Heard 9.0 s in 3 slices."


def test_classify_refuses_text_named_wav_nothing_and_a_blink(client, tmp_path):
    (tmp_path / "notes.wav").write_text("these are words and no sound\n" * 50)
    with pytest.raises(AppError, match=r"notes\.wav.*cannot be read as audio") as caught:
        client.predict(handle_file(tmp_path / "notes.wav"), api_name="/classify")
    assert_no_path(str(caught.value))
    with pytest.raises(AppError, match="upload a file or record"):
        client.predict(None, api_name="/classify")
    soundfile.write(tmp_path / "blink.wav", synthesize(220.0, 2.0, 0.1, seed=0), SAMPLE_RATE_HZ)
    with pytest.raises(AppError, match="too short"):
        client.predict(handle_file(tmp_path / "blink.wav"), api_name="/classify")


def test_classify_refuses_sound_that_is_too_long(client, music, monkeypatch):
    monkeypatch.setattr(classify_tab, "MAX_UPLOAD_S", 5)
    with pytest.raises(AppError, match="longer than"):
        client.predict(handle_file(music), api_name="/classify")


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "app.py"), "app.py", "../app.py", str(ROOT / "genre_gan")])
def test_no_file_outside_the_upload_folder_is_served_or_read(demo, path):
    for address in (f"gradio_api/file={path}", f"gradio_api/file/{path}", f"file={path}"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(demo.local_url + address, timeout=30)
        assert caught.value.code in (400, 403, 404)
    for field in ("path", "url"):
        file = {"path": "nothing.wav", field: path, "meta": {"_type": "gradio.FileData"}}
        answer = call_over_http(demo, "classify", file)
        assert "event: error" in answer
        assert "root:" not in answer and "Traceback" not in answer and "import" not in answer


def test_addresses_are_not_fetched_but_the_pages_own_files_are_read(demo, client, tmp_path):
    def by_address(url: str) -> str:
        return call_over_http(demo, "classify", {"path": url, "meta": {"_type": "gradio.FileData"}})

    assert "addresses of other sites are not fetched" in by_address("https://example.org/song.wav")
    assert "addresses of other sites are not fetched" in by_address(f"{demo.local_url}gradio_api/file=/etc/passwd")
    answer = call_over_http(demo, "generate", "jazz", 2, 1, "none", 30, 1.0, Models().default)
    clip, _ = json.loads(answer.split("data: ")[-1])
    assert "event: complete" in by_address(clip["url"])


def test_large_requests_are_refused(demo):
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(f"{demo.local_url}gradio_api/call/generate", b'{"data": ["' + b"x" * (server.MAX_BODY_BYTES + 1) + b'"]}')
    assert caught.value.code == 413
    start = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    body = start + bytes(server.MAX_UPLOAD_MB * 2**20 + 1) + b"\r\n--edge--\r\n"
    with pytest.raises((urllib.error.HTTPError, urllib.error.URLError)) as caught:
        post(f"{demo.local_url}gradio_api/upload", body, "multipart/form-data; boundary=edge")
    assert getattr(caught.value, "code", 413) == 413


def test_thirty_clients_at_once_get_answers(demo):
    model = Models().default

    def visit(seed: int) -> bytes:
        answer = call_over_http(demo, "generate", "jazz", 2, seed, "none", 30, 1.0, model)
        clip, _ = json.loads(answer.split("data: ")[-1])
        return urllib.request.urlopen(clip["url"], timeout=60).read()

    with ThreadPoolExecutor(30) as pool:
        assert len(set(pool.map(visit, range(30)))) == 30


def test_a_full_queue_says_that_it_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "IN_QUEUE", 1)
    demo = build_demo(Models())
    server.serve(demo, server_name="127.0.0.1", quiet=True)

    def ask(seed: int) -> str:
        try:
            return call_over_http(demo, "generate", "jazz", 20, seed, "none", 30, 1.0, Models().default)
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode()}"

    try:
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, range(12)))
        assert "event: complete" in ask(99)
    finally:
        demo.close()
    assert all("event: complete" in answer or answer.startswith("503") for answer in answers)
    assert any("Queue is full" in answer for answer in answers)


def test_snippets_of_the_about_tab_run(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for snippet in (SNIPPETS["client"], SNIPPETS["http"]):
        exec(snippet.replace("http://127.0.0.1:7860", demo.local_url.rstrip("/")), {})
    assert soundfile.info("jazz.wav").duration == pytest.approx(8.0, abs=0.01)
    assert capsys.readouterr().out.strip()
    about = ABOUT.format(weights="", **SNIPPETS)
    assert SNIPPETS["client"] in about and SNIPPETS["http"] in about


@pytest.mark.skipif(not packaged_weights("mel").is_dir(), reason="the default weights are not in the package")
def test_python_snippet_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(SNIPPETS["python"], {})


@pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="gradio[mcp] is not installed")
def test_mcp_offers_both_endpoints(demo):
    tools = json.load(urllib.request.urlopen(f"{demo.local_url}gradio_api/mcp/schema", timeout=30))
    assert {tool["name"] for tool in tools} == {"generate", "classify"}


def test_pieces_and_header_are_the_clips_wav_file():
    clip = Clip(synthesize(220.0, 2.0, 2.5, seed=0), SAMPLE_RATE_HZ)
    pieces = (Clip(clip.samples[start : start + 20_000], SAMPLE_RATE_HZ) for start in range(0, len(clip.samples), 20_000))
    *early, (music, whole) = generate_tab.music_in_pieces(pieces)
    assert all(clip is None and "header" not in music for music, clip in early)
    assert b"".join(map(base64.b64decode, [music["header"], *music["pieces"]])) == clip.encode("wav")
    assert np.array_equal(whole.samples, clip.samples)


def test_a_form_names_its_clip_and_draws_its_seed():
    form = forms.Form("jazz", "rock", 30, 8.0, 1.0, False, 7, "fcn")
    assert form.with_seed() == form
    assert form.wanted == pytest.approx({"jazz": 0.7, "rock": 0.3})
    assert form.title == "jazz with 30 % rock, seed 7"
    assert form._replace(second="jazz").title == form._replace(second=forms.ALONE).title == "jazz, seed 7"
    seeds = {form._replace(**change).with_seed().seed for change in ({"is_random": True}, {"seed": -1}, {"seed": None})}
    assert len(seeds) == 3 and min(seeds) >= 0


@pytest.fixture
def two_genre_model(tmp_path) -> Path:
    config = WaveformGANConfig(n_samples=2_205, sample_rate_hz=2_205, genres=TWO_GENRES, width=8)
    return WaveformGenerator(config).save_pretrained(tmp_path / "mine")


def test_a_given_model_comes_first_with_its_own_genres(two_genre_model):
    models = Models(str(two_genre_model))
    assert models.default == "mine (folder)" and "fcn" in models.labels
    config = json.dumps(build_demo(models).get_config_file(), default=str)
    assert '"choices": [["blues", "blues"], ["metal", "metal"]]' in config
    assert str(two_genre_model.parent) not in config


def test_packaged_weights_stand_in_for_a_hub_that_does_not_answer():
    models = Models("user/no-such-generator", "user/no-such-classifier")
    assert models.default in PACKAGED
    assert models.classifier.source == "packaged weights"
    assert ["user/no-such-generator" in models.notices[0], "user/no-such-classifier" in models.notices[1]] == [True, True]
    assert "could not be loaded" in json.dumps(build_demo(models).get_config_file(), default=str)


def test_a_wrong_model_folder_ends_with_a_message(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json"):
        Models(str(tmp_path))
    with pytest.raises(SystemExit, match=r"config\.json"):
        app.main(["--model", str(tmp_path)])


def test_generators_are_loaded_once(two_genre_model):
    models = Models()
    assert models.generator("fcn") is models.generator("fcn")
    with pytest.raises(ValueError, match=r"model must be one of .*'nothing'"):
        models.generator("nothing")


def test_about_shows_results_and_does_without_them(tmp_path, monkeypatch):
    monkeypatch.setattr(about_tab, "RESULTS", tmp_path / "missing")
    build_demo(Models())
    (tmp_path / "report.md").write_text("# The report's table\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![curve](curve.png)\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "learning_curve.png")
    monkeypatch.setattr(about_tab, "RESULTS", tmp_path)
    config = json.dumps(build_demo(Models()).get_config_file(), default=str)
    assert "| 1 | 2 |" in config and "The report's table" in config and "learning curve" in config
    assert "![curve]" not in config and "*curve: see the pictures below*" in config


def test_trimming_deletes_the_oldest_files(tmp_path):
    for age, name in enumerate(("new", "middle", "old")):
        path = tmp_path / name / "clip.wav"
        path.parent.mkdir()
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    server.trim_cache(tmp_path, 150)
    assert [path.parent.name for path in tmp_path.rglob("*.wav")] == ["new"]


def test_unexpected_errors_are_logged_and_not_shown(caplog):
    with pytest.raises(gr.Error, match="Something went wrong") as caught, user_errors():
        raise RuntimeError("secret detail in /srv/models")
    assert "secret" not in str(caught.value)
    assert "secret detail" in caplog.text


def test_user_errors_cut_paths_to_names():
    with pytest.raises(gr.Error) as caught, user_errors("/srv/cache/song.wav"):
        raise ValueError("/srv/cache/song.wav is not a file")
    assert caught.value.message == "song.wav is not a file"
    with pytest.raises(gr.Error, match="no longer kept") as caught, user_errors():
        raise FileNotFoundError("/srv/cache/song.wav")
    assert_no_path(caught.value.message)


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


def test_options_come_from_the_environment_of_a_space(monkeypatch):
    for variable in ("SPACE_ID", "GENRE_GAN_MODEL", "GENRE_GAN_CLASSIFIER"):
        monkeypatch.delenv(variable, raising=False)
    args = app.parse_args([])
    assert (args.host, args.model, args.classifier) == ("127.0.0.1", None, None)
    monkeypatch.setenv("SPACE_ID", "user/demo")
    monkeypatch.setenv("GENRE_GAN_MODEL", "user/mel")
    monkeypatch.setenv("GENRE_GAN_CLASSIFIER", "user/lstm")
    args = app.parse_args(["--classifier", "runs/lstm"])
    assert (args.host, args.model, args.classifier) == ("0.0.0.0", "user/mel", "runs/lstm")


def test_started_from_the_command_line_it_asks_for_the_login_and_says_that_there_is_no_public_link(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # a proxy that nobody answers on is a machine without a network
    environment = os.environ | dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")
    environment |= {"NO_PROXY": "127.0.0.1,localhost", "GRADIO_TEMP_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--share", "--auth", "anna:secret"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        printed = ""
        for line in process.stdout:
            printed += line
            if "the demo stays on" in line:
                break
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/gradio_api/info", timeout=30)
        process.terminate()
        process.communicate(timeout=60)
    assert caught.value.code == 401
    assert not list(tmp_path.glob("genre_gan_*"))  # its cache is gone
    assert "No public link could be made" in printed and "secret" not in printed
    assert not list(tmp_path.glob("genre_gan_*"))
