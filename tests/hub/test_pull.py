"""Models come from the Hub; where they cannot, the cache answers soon, and the error says why."""

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from genre_gan import download
from genre_gan.hub import HubError, push_model_folder, resolve_model_folder
from genre_gan.models.waveform import WaveformGenerator
from genre_gan.pretrained import ModelError
from tests.hub.calls import ANNA, BEN, probabilities_of, samples_of, sound_alike, timed_failure
from tests.test_models import tiny_gan


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
