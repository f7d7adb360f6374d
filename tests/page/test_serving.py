"""The page towards strangers: what it gives away, how much it takes, and how it starts."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import psutil
import pytest

import app
from genre_gan.demo import limits, server
from genre_gan.demo.errors import user_errors
from genre_gan.demo.page import build_demo
from tests.page.calls import ROOT, assert_no_path, call, data_of, generate_values, post

MAX_MEMORY_BYTES = 1.5e9


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "app.py"), "app.py", "../app.py", str(ROOT / "genre_gan")])
def test_no_file_outside_the_upload_folder_is_served_or_read(demo, path):
    for address in (f"gradio_api/file={path}", f"gradio_api/file/{path}", f"file={path}"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(demo.local_url + address, timeout=30)
        assert caught.value.code in (400, 403, 404)
    for field in ("path", "url"):
        file = {"path": "nothing.wav", field: path, "meta": {"_type": "gradio.FileData"}}
        answer = call(demo.local_url, "classify", file)
        assert "event: error" in answer
        assert "root:" not in answer and "Traceback" not in answer and "import" not in answer


def test_addresses_are_not_fetched_but_the_pages_own_files_are_read(demo):
    def by_address(url: str) -> str:
        return call(demo.local_url, "classify", {"path": url, "meta": {"_type": "gradio.FileData"}})

    assert "addresses of other sites are not fetched" in by_address("https://example.org/song.wav")
    assert "addresses of other sites are not fetched" in by_address(f"{demo.local_url}gradio_api/file=/etc/passwd")
    clip, _ = data_of(call(demo.local_url, "generate", *generate_values()))
    assert "event: complete" in by_address(clip["url"])


def test_large_requests_are_refused(demo):
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(f"{demo.local_url}gradio_api/call/generate", b'{"data": ["' + b"x" * (limits.MAX_BODY_BYTES + 1) + b'"]}')
    assert caught.value.code == 413
    start = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    body = start + bytes(limits.MAX_UPLOAD_MB * 2**20 + 1) + b"\r\n--edge--\r\n"
    with pytest.raises((urllib.error.HTTPError, urllib.error.URLError)) as caught:
        post(f"{demo.local_url}gradio_api/upload", body, "multipart/form-data; boundary=edge")
    assert getattr(caught.value, "code", 413) == 413


def test_thirty_clients_at_once_get_answers_or_hear_that_it_is_busy_in_bounded_memory(tmp_path, free_port):
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(free_port)]
    address = f"http://127.0.0.1:{free_port}/"
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        next(line for line in process.stdout if "Running on" in line)
        memory, peak_bytes = psutil.Process(process.pid), 0
        song, _ = data_of(call(address, "generate", *generate_values(duration_s=60)))
        with ThreadPoolExecutor(30) as pool:
            asked = [pool.submit(call, address, "generate", *generate_values(duration_s=10, seed=seed)) for seed in range(20)]
            asked += [pool.submit(call, address, "classify", {"path": song["path"], "meta": song["meta"]}) for _ in range(10)]
            while not all(answer.done() for answer in asked):
                peak_bytes = max(peak_bytes, memory.memory_info().rss)
                time.sleep(0.02)
        answers = [answer.result() for answer in asked]
        assert "event: complete" in call(address, "generate", *generate_values())  # it goes on
        process.terminate()
        process.communicate(timeout=60)
    assert all("event: complete" in answer or "Queue is full" in answer for answer in answers)
    made = [data_of(answer)[1] for answer in answers[:20] if "event: complete" in answer]
    assert len(made) == len(set(made)) >= limits.AT_ONCE
    assert any("event: complete" in answer for answer in answers[20:])
    assert peak_bytes < MAX_MEMORY_BYTES


@pytest.mark.parametrize("path", ["run/generate", "api/generate"])
def test_nobody_passes_by_the_queue(demo, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(f"{demo.local_url}gradio_api/{path}", json.dumps({"data": generate_values()}).encode())
    assert caught.value.code == 404 and b"Please join the queue" in caught.value.read()


def test_a_full_queue_says_that_it_is_busy(models, monkeypatch):
    monkeypatch.setattr(limits, "IN_QUEUE", 1)
    demo = build_demo(models)
    server.serve(demo, server_name="127.0.0.1", quiet=True)
    try:
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda seed: call(demo.local_url, "generate", *generate_values("jazz", 20, seed)), range(12)))
        assert "event: complete" in call(demo.local_url, "generate", *generate_values(seed=99))
    finally:
        demo.close()
    assert all("event: complete" in answer or answer.startswith("503") for answer in answers)
    assert any("Queue is full" in answer for answer in answers)


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


def test_started_from_the_command_line_it_asks_for_the_login_and_says_that_there_is_no_public_link(tmp_path, free_port):
    # a proxy that nobody answers on is a machine without a network
    environment = os.environ | dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")
    environment |= {"NO_PROXY": "127.0.0.1,localhost", "GRADIO_TEMP_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(free_port), "--share", "--auth", "anna:secret"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        printed = ""
        for line in process.stdout:
            printed += line
            if "the demo stays on" in line:
                break
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{free_port}/gradio_api/info", timeout=30)
        process.terminate()
        process.communicate(timeout=60)
    assert caught.value.code == 401
    assert not list(tmp_path.glob("genre_gan_*"))  # its cache is gone
    assert "No public link could be made" in printed and "secret" not in printed
    assert not list(tmp_path.glob("genre_gan_*"))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--model", "{folder}/gan"], "there is no folder"), (["--classifier", "{folder}/lstm"], "there is no folder"),
        (["--model", "ganz"], "there is no folder"), (["--port", "{port}"], "is in use: choose another"),
        (["--host", "203.0.113.7"], "port any of host '203.0.113.7' cannot be listened on"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_ends_with_one_line(tmp_path, free_port, monkeypatch, arguments, problem):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        filled = [argument.format(folder=tmp_path, port=free_port) for argument in arguments]
        with pytest.raises(SystemExit) as caught:
            app.main(filled)
    message = str(caught.value.code)
    assert message.startswith("app.py: ") and "\n" not in message
    assert problem in message
