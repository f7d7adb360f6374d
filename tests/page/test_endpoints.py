"""`/generate` and `/classify`: with gradio's client, over plain HTTP, and for MCP."""

import asyncio
import importlib.util
import json
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from genre_gan import GENRES, Clip
from genre_gan.demo import hearing, page
from genre_gan.demo.about_tab import ADDRESS, SNIPPETS
from genre_gan.recipe import Recipe
from tests.conftest import SAMPLE_RATE_HZ, synthesize
from tests.page.calls import assert_no_path, call, data_of, error_of, generate_values


def test_page_answers_with_its_title(demo):
    with urllib.request.urlopen(demo.local_url, timeout=30) as response:
        assert response.status == 200
        assert page.TITLE in response.read().decode()


def test_endpoints_are_generate_and_classify_only_with_plain_names(client):
    endpoints = client.view_api(return_format="dict")
    assert set(endpoints["named_endpoints"]) == {"/generate", "/classify"}
    assert not endpoints["unnamed_endpoints"]
    generate, classify = (endpoints["named_endpoints"][name] for name in ("/generate", "/classify"))
    names = ["genre", "duration_s", "seed", "second_genre", "second_share", "variation", "model", "tempo_bpm", "key", "loop"]
    assert [parameter["parameter_name"] for parameter in generate["parameters"]] == names
    assert [parameter["label"] for parameter in generate["parameters"]] == names
    assert all(parameter["parameter_has_default"] for parameter in generate["parameters"])
    assert [value["label"] for value in generate["returns"]] == ["clip", "seed"]
    assert [value["label"] for value in classify["returns"]] == ["genre", "sentence", "timeline", "picture"]


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
    assert Recipe.from_file(first).seed == 7


def test_generate_shows_the_seed_it_drew(client):
    audio, drawn = client.predict("rock", 2, -1, api_name="/generate")
    again, _ = client.predict("rock", 2, drawn, api_name="/generate")
    assert drawn >= 0
    assert Path(audio).read_bytes() == Path(again).read_bytes()


def test_genres_go_by_any_of_their_names_as_in_python(client):
    settings = {"duration_s": 2, "seed": 7, "model": "fcn", "api_name": "/generate"}
    expected = Path(client.predict("hiphop", second_genre="blues", **settings)[0]).read_bytes()
    assert Path(client.predict("Hip Hop/Rap", second_genre="R&B", **settings)[0]).read_bytes() == expected


def test_a_blend_and_a_variation_change_the_clip(client):
    alone, *others = (
        client.predict("jazz", 2, 7, api_name="/generate", **settings)[0]
        for settings in ({}, {"second_genre": "metal", "second_share": 60}, {"variation": 0.5}, {"second_genre": "jazz"})
    )
    blended, tame, same = (Path(path).read_bytes() for path in others)
    assert Path(others[0]).name == "metal-60-jazz-40-seed-7.wav"
    assert soundfile.read(alone)[0].tolist() not in (soundfile.read(others[0])[0].tolist(), soundfile.read(others[1])[0].tolist())
    assert Path(alone).read_bytes() == same and blended != tame


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"genre": "polka"}, "genre 'polka' is unknown"),
        ({"genre": 7}, "a genre must be a name, got 7"),
        ({"genre": ["jazz"]}, r"a genre must be a name, got \['jazz'\]"),
        ({"duration_s": 61}, "duration_s must be a number from 2 to 60 seconds, got 61"),
        ({"duration_s": 1}, "duration_s must be a number from 2 to 60 seconds, got 1"),
        ({"duration_s": "long"}, "duration_s must be a number from 2 to 60 seconds, got 'long'"),
        ({"seed": -5}, "seed must be a whole number from 0 to 9007199254740991, got -5"),
        ({"loop": "false"}, "loop must be true or false, got 'false'"),
        ({"seed": 1.5}, "seed must be a whole number from 0 to 9007199254740991, got 1.5"),
        ({"seed": True}, "seed must be a whole number from 0 to 9007199254740991, got True"),
        ({"second_genre": "polka"}, "genre 'polka' is unknown"),
        ({"second_genre": "rock", "second_share": 130}, "second_share must be a number from 0 to 100 percent, got 130"),
        ({"variation": 9}, "variation must be from 0 to 1.5, got 9"),
        ({"model": "gpt"}, "model must be one of .*'gpt'"),
        ({"model": ["fcn"]}, r"model must be one of .*, got \['fcn'\]"),
        ({"model": {"a": 1}}, "model must be one of .*, got {'a': 1}"),
        ({"seed": "0" * 5000}, "seed must be a whole number from 0 to 9007199254740991, got '000"),
        ({"tempo_bpm": 90, "model": "fcn"}, "tempo"),
        ({"key": "A minor", "model": "fcn"}, "key"),
    ],
)
def test_generate_names_what_is_wrong(client, settings, problem):
    with pytest.raises(AppError, match=problem) as caught:
        client.predict(**{"genre": "jazz", "duration_s": 2, "seed": 1} | settings, api_name="/generate")
    assert_no_path(str(caught.value))


def test_a_short_list_of_values_is_explained(demo):
    names = "genre, duration_s, seed, second_genre, second_share, variation, model, tempo_bpm, key, loop"
    assert error_of(call(demo.local_url, "generate", "jazz")) == f"generate takes 10 values ({names}), got 1"
    assert error_of(call(demo.local_url, "classify")) == "classify takes 1 values (audio), got 0"


@pytest.mark.parametrize("value", ["a string", 7, {"path": 7}, ["x"], {}])
def test_a_value_that_is_no_file_is_refused_in_words(demo, value):
    message = error_of(call(demo.local_url, "classify", value))
    assert message
    assert_no_path(message)


def test_classify_gives_all_genres_a_sentence_and_a_timeline(client, music):
    label, sentence, timeline, picture = client.predict(handle_file(music), api_name="/classify")
    assert all(set(slice_["probabilities"]) == set(GENRES) for slice_ in timeline)
    assert timeline[0]["start_s"] == 0.0 and timeline[-1]["end_s"] <= 7.01
    assert picture.count("data:image/webp") == 2
    if label["confidences"] is not None:
        probabilities = {entry["label"]: entry["confidence"] for entry in label["confidences"]}
        assert set(probabilities) == set(GENRES)
        assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-4)
        assert sentence.startswith(f"Sounds like {label['label']}")


def test_classify_says_that_a_file_ended_early(client, music, tmp_path):
    cut = tmp_path / "cut.wav"
    cut.write_bytes(music.read_bytes()[:200_000])
    sentence = client.predict(handle_file(cut), api_name="/classify")[1]
    assert "Note: 'cut.wav' ended early: 4.5 of 7.0 s are there." in sentence


def test_silence_gets_no_genre(client, tmp_path):
    path = Clip(np.zeros(4 * SAMPLE_RATE_HZ, np.float32), SAMPLE_RATE_HZ).save(tmp_path / "silence.flac")
    label, sentence, _, _ = client.predict(handle_file(path), api_name="/classify")
    assert label["label"] == "not sure" and label["confidences"] is None
    assert sentence.startswith("None of my ten genres")


def test_classify_refuses_text_named_wav_nothing_and_a_blink(client, tmp_path):
    (tmp_path / "notes.wav").write_text("these are words and no sound\n" * 50)
    with pytest.raises(AppError, match=r"notes\.wav.*cannot be read as audio") as caught:
        client.predict(handle_file(tmp_path / "notes.wav"), api_name="/classify")
    assert_no_path(str(caught.value))
    with pytest.raises(AppError, match="send a file first"):
        client.predict(None, api_name="/classify")
    soundfile.write(tmp_path / "blink.wav", synthesize(220.0, 2.0, 0.1, seed=0), SAMPLE_RATE_HZ)
    with pytest.raises(AppError, match="too short"):
        client.predict(handle_file(tmp_path / "blink.wav"), api_name="/classify")


def test_classify_refuses_sound_that_is_too_long(client, music, monkeypatch):
    monkeypatch.setattr(hearing, "MAX_UPLOAD_S", 5)
    with pytest.raises(AppError, match="longer than"):
        client.predict(handle_file(music), api_name="/classify")


def test_snippets_of_the_page_run(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("client", "http"):
        assert ADDRESS in SNIPPETS[name]
        exec(SNIPPETS[name].replace(ADDRESS, demo.local_url.rstrip("/")), {})
    assert soundfile.info("jazz.wav").duration == pytest.approx(8.0, abs=0.01)
    assert capsys.readouterr().out.strip()


def test_python_snippet_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(SNIPPETS["python"], {})


@pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="gradio[mcp] is not installed")
def test_mcp_offers_both_endpoints(demo):
    tools = json.load(urllib.request.urlopen(f"{demo.local_url}gradio_api/mcp/schema", timeout=30))
    assert {tool["name"] for tool in tools} == {"generate", "classify"}
    (generate,) = (tool for tool in tools if tool["name"] == "generate")
    assert "Length in seconds, from 2 to 60." in json.dumps(generate)


@pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="gradio[mcp] is not installed")
def test_an_assistant_makes_a_clip_and_has_it_classified_over_mcp(demo):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def talk() -> list[str]:
        address = f"{demo.local_url}gradio_api/mcp/"
        async with streamablehttp_client(address) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            made = await session.call_tool("generate", {"genre": "jazz", "duration_s": 2, "seed": 5})
            clip = re.search(r"'url': '([^']+)'", made.content[0].text)[1]
            heard = await session.call_tool("classify", {"audio": clip})
            refused = await session.call_tool("generate", {"genre": "polka"})
            assert [answer.isError for answer in (made, heard, refused)] == [False, False, True]
            return [answer.content[0].text for answer in (made, heard, refused)]

    with ThreadPoolExecutor(1) as thread:  # where no event loop runs, as the browser's does in this one
        made, heard, refused = thread.submit(asyncio.run, talk()).result()
    assert made.endswith(", 5]") and "jazz-seed-5.wav" in made
    assert "Sounds like" in heard or "None of my ten genres" in heard
    assert refused.startswith("genre 'polka' is unknown")


def test_an_answer_over_plain_http_is_a_file_and_the_seed(demo):
    clip, seed = data_of(call(demo.local_url, "generate", *generate_values(seed=5)))
    assert seed == 5
    with urllib.request.urlopen(clip["url"], timeout=30) as response:
        assert response.read(4) == b"RIFF"
