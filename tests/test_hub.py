"""Push, pull, data sets and the Space, with the Hub's real clients over HTTP against a small Hub on loopback.

The clients read their settings when they are imported, so all calls run in one worker process with an environment of its own.
"""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from genre_gan import GenreClassifier, GenreGenerator, download
from genre_gan.data.sources import DataError, load_tracks
from genre_gan.data.splits import split_tracks
from genre_gan.hub import HubError, push_model_folder, resolve_model_folder
from genre_gan.model_card import model_card
from genre_gan.models.waveform import WaveformGenerator
from genre_gan.pretrained import ModelError
from tests.hub_server import HubServer, User
from tests.test_models import tiny_gan, tiny_spectral_model
from training import deploy_space, prepare_data, push_to_hub

ROOT = Path(__file__).resolve().parents[1]
ANNA, READER, BEN = "hf_anna_secret", "hf_anna_read_secret", "hf_ben_secret"
TOKENS = {ANNA: User("anna"), READER: User("anna", can_write=False), BEN: User("ben")}


@pytest.fixture(scope="module")
def _server() -> Iterator[HubServer]:
    with HubServer(TOKENS) as server:
        yield server


@pytest.fixture
def hub(_server) -> HubServer:
    _server.repos.clear()
    _server.requests.clear()
    _server.refuse_uploads = _server.hold_uploads = False
    _server.cut_downloads, _server.trouble, _server.silent_downloads = 0, "", False
    _server.claimed_sizes.clear()
    _server.upload_began.clear()
    _server.release.clear()
    return _server


@pytest.fixture(scope="module")
def environment(_server, tmp_path_factory) -> dict[str, str]:
    """The variables of a machine that knows this Hub alone."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy") and name != "HF_HUB_OFFLINE"}
    home = tmp_path_factory.mktemp("home")
    flags = dict.fromkeys(("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"), "1")
    return kept | flags | {
        "HF_ENDPOINT": _server.url, "HF_HOME": str(home), "HF_TOKEN": ANNA, "GENRE_GAN_CACHE": str(home / "features"),
        "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT),
    }


@pytest.fixture(scope="module")
def client(environment) -> Iterator[Callable]:
    """`client(function, *arguments, token=ANNA)` calls a function where the environment is that of `environment`."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    started = pool.submit(os.getpid)
    os.environ.clear()
    os.environ.update(before)
    started.result()
    with pool:
        yield lambda function, *arguments, token=ANNA: pool.submit(_with_token, token, function, arguments).result()


def _with_token(token: str | None, function: Callable, arguments: tuple) -> Any:
    os.environ.pop("HF_TOKEN", None)
    if token is not None:
        os.environ["HF_TOKEN"] = token
    return function(*arguments)


def printed(main: Callable, *argv: object) -> str:
    """What a script prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        main([str(argument) for argument in argv])
    return output.getvalue()


def samples_of(source: str, revision: str | None = None) -> np.ndarray:
    """A clip, made on one thread: several add up in another order, which phases that accumulate blow up."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return GenreGenerator.from_pretrained(source, revision).generate("blues", 1.0, seed=3).samples
    finally:
        torch.set_num_threads(n_threads)


def sound_alike(first: np.ndarray, second: np.ndarray) -> bool:
    return np.allclose(first, second, atol=1e-4)


def probabilities_of(source: str) -> dict[str, float]:
    tone = np.sin(np.arange(22_050) * 0.1).astype(np.float32)
    return GenreClassifier.from_pretrained(source).classify((tone, 22_050)).probabilities


def loaded_rows(repo_id: str) -> tuple[dict[str, bytes], list[str], tuple[str, ...]]:
    tracks = load_tracks([repo_id])
    return {track.id: track.audio for track in tracks}, tracks.splits, tracks.genres


def raw_features(repo_id: str) -> tuple[list[str], str, list[str]]:
    """What someone sees who knows nothing of this project."""
    from datasets import load_dataset

    dataset = load_dataset(repo_id, split="train")
    return dataset.column_names, type(dataset.features["audio"]).__name__, dataset.features["genre"].names


def timed_failure(function: Callable, *arguments: object) -> tuple[str, float]:
    start = time.perf_counter()
    try:
        function(*arguments)
    except ValueError as error:
        return str(error), time.perf_counter() - start
    raise AssertionError("no error")


@pytest.fixture
def generator(tmp_path) -> Path:
    """The folder of a model with its parts below it, in the folder of the run that trained it."""
    run = tmp_path / "run"
    model = tiny_spectral_model()
    model.generator.training_record = {
        "command": "python training/train_cgan.py --data genres --output-dir runs/mel", "data": ["gtzan"], "tracks": 10,
        "tracks_per_genre": {"blues": 5, "metal": 5}, "split": "artist", "steps": 2, "seed": 0,
        "valid": {"frechet": 23.5, "n_clips": 40},
    }
    folder = model.save_pretrained(run / "model")
    (run / "args.json").write_text("{}")
    (run / "learning_curve.png").write_bytes(b"\x89PNG picture")
    (folder / "notes.txt").write_text("not a part of the model")
    for step, word in ((1, b"old"), (2, b"new")):
        previews = run / "previews" / f"step-{step:08d}"
        previews.mkdir(parents=True)
        for name in ("blues.wav", "metal.wav", "recording-of-others.wav"):
            (previews / name).write_bytes(word + name.encode())
    return folder


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


def test_a_pull_that_cannot_be_is_explained(hub, client, generator):
    client(push_model_folder, generator, "anna/private", True)
    for repo_id, token in (("anna/nothing", ANNA), ("anna/private", BEN), ("anna/private", None)):
        with pytest.raises(ModelError, match=r"no Hub model '.*', or no right to read it"):
            client(samples_of, repo_id, token=token)
    with pytest.raises(ModelError, match="family 'spectral-gan', wanted one of lstm, linear-probe"):
        client(probabilities_of, "anna/private")
    with hub.down(), pytest.raises(ModelError, match="the Hub cannot be reached, and its cache has no such model"):
        client(samples_of, "anna/other")
    with pytest.raises(ModelError, match="does not know this token"):
        client(samples_of, "anna/other", token="hf_nobody")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.safetensors", lambda data: data[: len(data) // 2], "damaged, cut off or altered"),
        ("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "damaged, cut off or altered"),
        ("config.json", lambda data: json.dumps(json.loads(data) | {"version": 7}).encode(), "has config version 7"),
    ],
    ids=["truncated", "tampered", "other-version"],
)
def test_damage_on_the_hub_is_noticed(hub, client, generator, name, change, message, request):
    repo_id = f"anna/{request.node.callspec.id}"
    client(push_model_folder, generator, repo_id)
    files = hub.files(repo_id)
    hub.repos["model", repo_id].commit("main", "damage", files | {name: change(files[name])})
    with pytest.raises(ModelError, match=message):
        client(samples_of, repo_id)


def test_without_a_network_the_cache_answers_at_once(hub, client, generator):
    client(push_model_folder, generator, "anna/cached")
    pulled = client(samples_of, "anna/cached")
    with hub.down():
        start = time.perf_counter()
        assert sound_alike(client(samples_of, "anna/cached"), pulled)
        assert time.perf_counter() - start < 6.0  # the client alone tries for 23 s
        message, seconds = client(timed_failure, samples_of, "anna/uncached")
    assert "cannot be reached" in message and seconds < 6.0


def with_short_limits(function: Callable, *arguments: object) -> Any:
    """Call a function with time limits that a test can wait for."""
    before = download.FIRST_ANSWER_S, download.STALL_S
    assert before[0] <= 10.0
    download.FIRST_ANSWER_S, download.STALL_S = 1.5, 2.0
    try:
        return function(*arguments)
    finally:
        download.FIRST_ANSWER_S, download.STALL_S = before


@pytest.mark.parametrize("trouble", ["silence", "drip", "portal", "200", "429", "503"])
def test_in_trouble_the_cache_answers_within_the_time_limit(hub, client, generator, trouble):
    client(push_model_folder, generator, "anna/trouble")
    pulled = client(samples_of, "anna/trouble")
    hub.trouble = trouble
    assert sound_alike(client(with_short_limits, samples_of, "anna/trouble"), pulled)
    message, seconds = client(with_short_limits, timed_failure, samples_of, "anna/other")
    assert seconds < 6.0
    reasons = {"portal": "login page of a network", "200": "something else answers", "429": "answers 429", "503": "answers 503"}
    reason = reasons.get(trouble, "no answer within 1.5 s")
    assert "cannot be reached, and its cache has no such model" in message and reason in message
    with pytest.raises(HubError, match="nothing was pushed"):
        client(with_short_limits, push_model_folder, generator, "anna/trouble")
    hub.release.set()


def test_a_download_that_stalls_is_given_up_and_the_older_copy_used(hub, client, generator, tmp_path):
    client(push_model_folder, generator, "anna/stall")
    pulled = client(samples_of, "anna/stall")
    client(push_model_folder, WaveformGenerator(tiny_gan(width=8)).save_pretrained(tmp_path / "new"), "anna/stall")
    hub.silent_downloads = True
    assert sound_alike(client(with_short_limits, samples_of, "anna/stall"), pulled)
    hub.release.set()


def globals_of_others() -> tuple:
    import datasets.config
    from huggingface_hub import constants

    return {k: v for k, v in vars(constants).items() if k.isupper()}, datasets.config.HF_HUB_OFFLINE


def test_nothing_of_other_libraries_is_changed(hub, client, generator):
    before = client(globals_of_others)
    client(push_model_folder, generator, "anna/globals")
    client(samples_of, "anna/globals")
    with hub.down():
        client(samples_of, "anna/globals")
    assert client(globals_of_others) == before


def test_a_gated_repository_odd_tokens_and_revisions_are_named(hub, client, generator):
    client(push_model_folder, generator, "anna/gated")
    hub.repos["model", "anna/gated"].gated = True
    with pytest.raises(ModelError, match="'anna/gated' is gated: ask on its page"):
        client(samples_of, "anna/gated")
    for token in ("hf_two words", "hf_\u00fcml\u00e4ut", "hf_a\tb"):
        with pytest.raises(ModelError, match="characters that no token has"):
            client(resolve_model_folder, "anna/gated", token=token)
    for revision in ("", "  "):
        with pytest.raises(ModelError, match="revision must be a branch, a tag or a commit"):
            client(resolve_model_folder, "anna/gated", revision)
    for revision in ("../../main", "a b", "main?x=1#y", "\u00fc"):
        with pytest.raises(ModelError, match=r"has no revision|could not be fetched"):
            client(resolve_model_folder, "anna/gated", revision)
    with pytest.raises(ModelError, match="if it is private, log in"):
        client(samples_of, "anna/nothing", token=None)
    with pytest.raises(ModelError, match="this token's owner must be allowed"):
        client(samples_of, "anna/nothing")


def with_proxy(proxy: str, function: Callable, *arguments: object) -> Any:
    from huggingface_hub.utils import close_session

    os.environ["HTTP_PROXY"] = proxy
    close_session()
    try:
        return function(*arguments)
    finally:
        del os.environ["HTTP_PROXY"]
        close_session()


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "no proxy at all", "ftp://127.0.0.1:9"])
def test_a_proxy_that_does_not_work_is_no_network(hub, client, generator, proxy):
    client(push_model_folder, generator, "anna/proxy")
    pulled = client(samples_of, "anna/proxy")
    assert sound_alike(client(with_proxy, proxy, samples_of, "anna/proxy"), pulled)
    with pytest.raises(ModelError, match="cannot be reached, and its cache has no such model"):
        client(with_proxy, proxy, samples_of, "anna/elsewhere")


def test_a_repository_of_absurd_size_is_not_fetched(hub, client, generator):
    client(push_model_folder, generator, "anna/huge")
    hub.claimed_sizes["model.safetensors"] = 2**40
    with pytest.raises(ModelError, match=r"'anna/huge' has 1024\.0 GiB of files; at most 4 GiB are fetched"):
        client(samples_of, "anna/huge")


def test_a_pull_that_breaks_off_goes_on_where_it_was(hub, client, generator):
    client(push_model_folder, generator, "anna/cut")
    hub.cut_downloads = 1
    assert sound_alike(client(samples_of, "anna/cut"), samples_of(generator))


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


def test_a_data_set_goes_to_the_hub_and_back(hub, client, music_folder, tmp_path):
    (music_folder / "blues" / "broken.wav").write_bytes(b"not audio")
    arguments = ("--data", music_folder, "--output-dir", tmp_path / "set", "--push-to-hub", "anna/set")
    output = client(printed, prepare_data.main, *arguments)
    assert "wrote 10 of 11 tracks" in output and "skipped broken: " in output
    assert f"pushed to {hub.url}/datasets/anna/set" in output
    assert set(hub.files("anna/set", "dataset")) == {"README.md", "data/train-00000-of-00001.parquet"}
    assert b"`broken`: " in hub.files("anna/set", "dataset")["README.md"]
    audio, splits, genres = client(loaded_rows, "anna/set")
    assert audio == {path.stem: path.read_bytes() for path in music_folder.rglob("*.wav") if path.stem != "broken"}
    assert set(splits) == {""} and genres == ("blues", "metal")
    assert client(raw_features, "anna/set") == (["id", "audio", "genre", "artist", "split"], "Audio", ["blues", "metal"])
    with pytest.raises(SystemExit, match="holds a data set already"):
        client(printed, prepare_data.main, *arguments)
    client(printed, prepare_data.main, *arguments, "--overwrite")
    assert len(hub.repos["dataset", "anna/set"].branches["main"]) == 2
    with hub.down():
        assert client(loaded_rows, "anna/set")[0] == audio
        with pytest.raises(DataError, match=r"cannot be loaded .*--data path/to/genres"):
            client(load_tracks, ["anna/unknown"])


def test_artists_and_splits_survive_and_parquet_is_a_source_too(music_folder, tmp_path):
    names = sorted(str(path.relative_to(music_folder)) for path in music_folder.rglob("*.wav"))
    lines = [f"{name},{Path(name).parent},artist {i},{'valid' if i % 5 == 0 else 'train'}" for i, name in enumerate(names)]
    lines = ["file_name,genre,artist,split", *lines, "blues/missing.wav,blues,x,train"]
    (music_folder / "tracks.csv").write_text("\n".join(lines))
    first, second = tmp_path / "first", tmp_path / "second"
    assert "skipped missing: " in printed(prepare_data.main, "--data", music_folder, "--output-dir", first)
    printed(prepare_data.main, "--data", first, "--output-dir", second)
    tracks, again = load_tracks([str(first)]), load_tracks([str(second)])
    assert sorted(tracks, key=lambda track: track.id) == sorted(again, key=lambda track: track.id)
    expected = [(Path(name).stem, f"artist {i}") for i, name in enumerate(names)]
    assert sorted(zip(tracks.ids, tracks.artists, strict=True)) == expected
    assert len(set(tracks.genre_names[:5])) == 2  # whoever reads a stream of them meets all genres at once
    assert len(split_tracks(again, "artist").valid) == 2


def test_the_space_has_what_it_needs_runs_and_is_updated(hub, client, environment, tmp_path):
    assert f"deployed to {hub.url}/spaces/anna/demo" in client(printed, deploy_space.main, "anna/demo")
    space, files = hub.repos["space", "anna/demo"], hub.files("anna/demo", "space")
    assert (space.sdk, space.hardware) == ("gradio", "cpu-basic")
    assert space.variables == {"GENRE_GAN_MODEL": "anna/genre-gan-mel", "GENRE_GAN_CLASSIFIER": "anna/genre-gan-classifier"}
    linked = set(re.findall(r"\]\(((?:tests|training)/[\w./-]+)\)", files["README.md"].decode()))
    assert linked and linked <= set(files)
    outside = {path for path in files if not path.startswith(("genre_gan/", "training/results/", "tests/screenshots/"))}
    assert outside == {"app.py", "requirements.txt", "LICENSE", "README.md"}
    assert not any("__pycache__" in path or path.endswith((".wav", ".mp3")) for path in files)
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port)]
    offline = environment | {"HF_HUB_OFFLINE": "1"}
    del offline["PYTHONPATH"]
    with subprocess.Popen(command, cwd=tmp_path, env=offline, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as app:
        try:
            assert answers(port, app), app.stdout.read().decode()
        finally:
            app.kill()
    commits = space.branches["main"]
    client(printed, deploy_space.main, "anna/demo")
    assert len(commits) == 2
    space.commit("main", "by hand", commits[-1].files | {"tests/left.py": b""})
    client(printed, deploy_space.main, "anna/demo")
    assert hub.files("anna/demo", "space") == files


def answers(port: int, app: subprocess.Popen, seconds: float = 120.0) -> bool:
    """Whether the app takes connections before it ends or time is up."""
    until = time.monotonic() + seconds
    while app.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
        time.sleep(0.2)
    return False


def test_the_space_agrees_with_this_project():
    import gradio
    from packaging.requirements import Requirement
    from packaging.version import Version

    settings = deploy_space.read_spacefile("anna")
    lines = [line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines() if line.strip()]
    requirements = {requirement.name: requirement for requirement in map(Requirement, lines)}  # no `-e .`, no option, no address
    assert all(requirement.url is None for requirement in requirements.values())
    on_space, tested = Version(settings["sdk_version"]), Version(gradio.__version__)
    assert on_space in requirements["gradio"].specifier
    assert on_space.major == tested.major and on_space <= tested, f"set sdk_version in Spacefile to {tested}"
    header = yaml.safe_load(deploy_space.space_readme(settings, "---\nold: header\n---\n# Title\n").split("---")[1])
    assert header["sdk_version"] == settings["sdk_version"]
    assert header["models"] == ["anna/genre-gan-mel", "anna/genre-gan-classifier"]
    assert header["suggested_hardware"] == settings["hardware"] and "old" not in header and "variables" not in header


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("title: genre-gan\n", ""), "missing or unknown: title"),
        (('"6.31.0"', "6.31"), "sdk_version must be a str"),
        (("[", "[["), "not valid"),
    ],
)
def test_a_wrong_spacefile_is_explained(tmp_path, change, message):
    (tmp_path / "Spacefile").write_text((ROOT / "Spacefile").read_text().replace(*change))
    with pytest.raises(ValueError, match=message):
        deploy_space.read_spacefile("anna", tmp_path / "Spacefile")
