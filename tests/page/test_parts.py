"""The parts of the page by themselves."""

import base64
import importlib.machinery
import inspect
import json
import pickle
import sys
import time
import types
from copy import deepcopy
from dataclasses import replace
from functools import partial
from threading import Thread

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from genre_gan import GENRES
from genre_gan.demo import about_tab, look, samples, wishes
from genre_gan.demo.handlers import Handlers
from genre_gan.demo.limits import MAX_DOWNLOADS
from genre_gan.demo.models import PACKAGED, Models
from genre_gan.demo.music import Visit, Wanted, keep_file, perform
from genre_gan.demo.page import build_demo
from genre_gan.demo.pictures import GrowingSpectrogram
from genre_gan.demo.wishes import Form, followed, query_of, recipe_of_query, title_of
from genre_gan.pretrained import ModelError
from tests.conftest import SAMPLE_RATE_HZ, synthesize


def recipe_of(models, **changes):
    form = Form("jazz", "none", 40, 4.0, 1.0, "7", "fcn")
    return form._replace(**changes).recipe(models)


def test_a_form_becomes_a_recipe(models):
    recipe = recipe_of(models, second="rock")
    assert recipe.genre == pytest.approx({"jazz": 0.6, "rock": 0.4})
    assert (recipe.seed, recipe.duration_s, recipe.model) == (7, 4.0, "fcn")
    assert recipe_of(models, second="jazz").genre == {"jazz": 1.0}
    drawn = {recipe_of(models, seed=seed).seed for seed in ("", None, "") for _ in range(3)}
    assert len(drawn) > 5 and min(drawn) >= 0
    form = Form("jazz", "none", 40, 4.0, 1.0, "7", "fcn")
    assert [form.recipe(models, number).seed for number in range(3)] == [7, 8, 9]


def test_what_follows_from_a_clip(models):
    recipe = recipe_of(models)
    more = followed("more", recipe, {"amount": 0.3})
    assert more.seed == 7 and [step.amount for step in more.steps] == [0.3] and title_of(more) == "jazz, seed 7, varied"
    assert followed("longer", recipe, {}).duration_s == 8.0
    assert followed("longer", replace(recipe, duration_s=50.0), {}).duration_s == 60.0
    assert followed("other", recipe, {"genre": "rock"}) == replace(recipe, genre={"rock": 1.0})
    with pytest.raises(ValueError, match="has 60 s already"):
        followed("longer", replace(recipe, duration_s=60.0), {})
    with pytest.raises(ValueError, match="A loop ends where it begins"):
        followed("longer", replace(recipe, loop=True), {})
    with pytest.raises(ValueError, match="amount must be"):
        followed("more", recipe, {"amount": "much"})
    with pytest.raises(ValueError, match="what must be"):
        followed("shout", recipe, {})
    for _ in range(wishes.MAX_STEPS):
        recipe = recipe.varied(0.1, 1)
    with pytest.raises(ValueError, match="12 times in a row"):
        followed("more", recipe, {"amount": 0.3})


def test_a_link_carries_a_recipe(models):
    recipe = replace(recipe_of(models, second="rock").varied(0.35, 12).varied(0.6, 5), loop=True, variation=0.7)
    values = dict(pair.split("=") for pair in query_of(recipe).split("&"))
    assert recipe_of_query(values, models) == recipe
    short = recipe_of_query({"genre": "Hip-Hop", "seed": "3"}, models)
    assert short.genre == {"hiphop": 1.0} and short.duration_s == 8.0
    assert short.revision == models.generator(models.default).revision


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"seed": "1"}, "genre"),
        ({"genre": "jazz"}, "it has no 'seed'"),
        ({"genre": "jazz", "seed": "x"}, "seed must be a whole number from 0 to 9007199254740991, got 'x'"),
        ({"genre": "jazz:-1", "seed": "1"}, "weights above 0"),
        ({"genre": "jazz", "seed": "1", "duration_s": "1e9"}, "duration_s must be a number from 2 to 60 seconds"),
        ({"genre": "jazz", "seed": "1", "variation": "much"}, "variation must be a number, got 'much'"),
        ({"genre": "jazz", "seed": "1", "model": "gpt"}, "model must be one of mel, fcn, cnn"),
        ({"genre": "jazz:loud", "seed": "1"}, "the weight of a genre must be a number, got 'loud'"),
        ({"genre": "jazz", "seed": "1", "steps": "more"}, "the amount of a step must be a number, got 'more'"),
        ({"genre": "jazz", "seed": "1", "steps": "0.5:1," * 50}, "12 times in a row"),
    ],
)
def test_a_wrong_link_is_explained(models, query, message):
    with pytest.raises(ValueError, match=message):
        recipe_of_query(query, models)


def test_music_comes_in_growing_lists_that_join_to_the_clip(models):
    recipe = recipe_of(models)
    *answers, end = perform(models, [Wanted(recipe), Wanted(replace(recipe, seed=8))], Visit(), 3)
    *early, last = (music for (music,) in answers)  # lists: gradio's page would take a dict apart before it is drawn
    assert early[0]["clips"] == [] and early[0]["title"] == "jazz, seed 7"
    assert list(end.constructor_args) == ["ending"]  # gradio sends the last answer once more: without the music
    assert end.props["ending"]["job"] == last["job"] == 3 and end.props["ending"]["note"].startswith("2 takes made in ")
    assert [clip["title"] for clip in last["clips"]] == ["jazz, seed 7", "jazz, seed 8"]
    assert last["play"] == last["clips"][0]["id"] != last["clips"][1]["id"]
    for before, after in zip(early, [*early[1:], last], strict=True):
        assert after["clips"][: len(before["clips"]) - 1] == before["clips"][:-1] and after is not before
    clip = last["clips"][0]
    pcm = b"".join(base64.b64decode(piece["pcm"]) for piece in clip["pieces"])
    expected = models.generator("fcn").generate_recipe(recipe)
    assert np.allclose(np.frombuffer(pcm, "<i2") / 32767, expected.samples, atol=1e-4)
    assert clip["done"] and clip["n_made"] == clip["n_samples"] == len(expected.samples)
    assert [piece["start"] for piece in clip["pieces"][1:]] == [piece["stop"] for piece in clip["pieces"][:-1]]
    assert clip["take"]["recipe"] == recipe.to_json() and " · fcn · heard as " in clip["take"]["facts"]


def test_a_later_wish_and_stop_end_what_is_made(models):
    visit = Visit()
    music = perform(models, [Wanted(recipe_of(models, duration_s=30.0))], visit, 1)
    _, (last,) = next(music), next(music)
    visit.stop(1)
    (end,) = music
    assert end.props["ending"]["note"].startswith("Stopped at ") and not last["clips"][0]["done"]


def test_what_was_stopped_while_it_waited_is_not_made(models):
    visit, wanted = Visit(), [Wanted(recipe_of(models))]
    visit.stop(2)
    for job in (1, 2):
        assert list(perform(models, wanted, visit, job)) == [gr.skip()]
    *_, end = perform(models, wanted, visit, 3)
    assert " made in " in end.props["ending"]["note"]
    assert list(perform(models, wanted, visit, 2)) == [gr.skip()]  # its turn came late


def test_what_is_asked_later_begins_when_what_went_before_has_ended(models):
    visit, sent = deepcopy(Visit()), []  # gradio gives each visitor a copy
    first = perform(models, [Wanted(recipe_of(models, duration_s=30.0))], visit, 1)
    (music,) = next(first)
    later = Thread(target=lambda: sent.extend(perform(models, [Wanted(recipe_of(models))], visit, 2)))
    later.start()
    while visit.job == music["job"]:
        time.sleep(0.001)
    assert sent == []
    *_, end = first
    later.join()
    assert end.props["ending"]["note"].startswith("Stopped at ") and " made in " in sent[-1].props["ending"]["note"]


def test_a_clip_of_other_weights_is_made_and_said(models):
    recipe = replace(recipe_of(models), revision="0" * 16)
    *_, end = perform(models, [Wanted(recipe)], Visit(), 1)
    assert "sounds different now" in end.props["ending"]["note"]


class Event:
    """What the page's script sends."""

    def __init__(self, **values):
        self.__dict__.update(values)


@pytest.mark.parametrize(
    "event",
    [
        Event(), Event(what="again"), Event(what="again", recipe="{}"), Event(what="again", recipe=7), Event(what=[]),
        Event(what="fetch", takes=[{}]), Event(what="fetch", takes=7), Event(what="link", query=7), Event(what="more"),
        Event(what="link", query={"genre": "jazz", "seed": "1"}, number="last"),
    ],
)  # fmt: skip
def test_whatever_a_script_sends_ends_in_words(models, event):
    handlers = Handlers(models)
    with pytest.raises(gr.Error):
        list(handlers.follow(Visit(), event))
    for handler in (handlers.download, handlers.to_classify, partial(handlers.stop, Visit())):
        with pytest.raises(gr.Error):
            handler(event)


def test_a_growing_spectrogram_covers_every_column_once():
    samples = synthesize(220.0, 2.0, 3.0, seed=0)
    growing = GrowingSpectrogram(len(samples), SAMPLE_RATE_HZ)
    spans = [growing.add(part) for part in np.array_split(samples, 7)]
    assert [span["start"] for span in spans] == [0, *(span["stop"] for span in spans[:-1])]
    assert spans[-1]["stop"] == growing.n_columns


def test_no_take_is_left_out_of_a_download_without_a_word(models):
    with pytest.raises(gr.Error, match=f"There are {MAX_DOWNLOADS + 1} takes, and one file has room for {MAX_DOWNLOADS}"):
        Handlers(models).download_all(Event(takes=[{}] * (MAX_DOWNLOADS + 1)))


def test_names_of_files_are_safe(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    path = keep_file(b"x", "../../etc/My <Song> ♫", "wav")
    assert path.startswith(str(tmp_path)) and path.endswith("/etc-my-song.wav")


def test_a_given_model_comes_first_with_its_own_genres(two_genre_model):
    models = Models(str(two_genre_model))
    assert models.default == "mine (folder)" and "fcn" in models.labels
    config = json.dumps(build_demo(models).get_config_file(), default=str)
    assert '"choices": [["blues", "blues"], ["metal", "metal"]]' in config
    assert str(two_genre_model.parent) not in config
    recipe = models.generator(models.default).make_recipe("metal", 2.0, 1)
    assert models.following(recipe) is models.generator(models.default)
    assert models.following(replace(recipe, revision=models.generator("fcn").revision)) is models.generator("fcn")


def test_packaged_weights_stand_in_for_a_hub_that_does_not_answer():
    models = Models("user/no-such-generator", "user/no-such-classifier")
    assert models.default in PACKAGED
    assert models.classifier.source == "packaged weights"
    assert ["user/no-such-generator" in models.notices[0], "user/no-such-classifier" in models.notices[1]] == [True, True]
    assert "could not be loaded" in json.dumps(build_demo(models).get_config_file(), default=str)


def test_a_wrong_model_folder_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json"):
        Models(str(tmp_path))
    with pytest.raises(ModelError, match="there is no folder"):
        Models(classifier=str(tmp_path / "lost"))


def test_generators_are_loaded_once(models):
    assert models.generator("fcn") is models.generator("fcn")
    with pytest.raises(ValueError, match=r"model must be one of .*'nothing'"):
        models.generator("nothing")


def test_about_shows_results_and_does_without_them(models, tmp_path, monkeypatch):
    monkeypatch.setattr(about_tab, "RESULTS", tmp_path / "missing")
    build_demo(models)
    text = "# The report's table\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![curve](curve.png)\n[more](more.md) [far](https://example.org)\n"
    (tmp_path / "report.md").write_text(text)
    (tmp_path / "again.md").write_text(text)
    Image.new("RGB", (4, 4)).save(tmp_path / "curve.png")
    title, rest, pictures = about_tab.result_page(tmp_path / "report.md")
    assert (title, pictures) == ("The report's table", [tmp_path / "curve.png"])
    assert rest == "| a | b |\n|---|---|\n| 1 | 2 |\n\n\nmore [far](https://example.org)"
    monkeypatch.setattr(about_tab, "RESULTS", tmp_path)
    config = json.dumps(build_demo(models).get_config_file(), default=str)
    assert "The report's table (again)" in config and "| 1 | 2 |" in config


def test_every_genre_has_a_colour_that_white_letters_can_be_read_on():
    def luminance(colour: str) -> float:
        channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    assert set(look.COLOURS) == set(GENRES)
    assert all(1.05 / (luminance(colour) + 0.05) >= 4.5 for colour in look.COLOURS.values())
    assert look.colour_of("samba") == look.colour_of("samba") in look.COLOURS.values()
    assert 'value="a\\"b"' in look.genre_css(['a"b'])
    assert 'value="\\3c /style>"' in look.genre_css(["</style>"])  # which would end the rules


def test_samples_are_what_they_are_called(models):
    for name, make in samples.SAMPLES.items():
        clip = make()
        assert 5.0 < clip.duration_s < 40.0 and np.abs(clip.samples).max() <= 1.0, name
        guess = models.classifier.classify(clip)
        assert guess.is_sure == name.startswith("Ode"), name
        assert guess.genre == "classical" or not guess.is_sure
    violin = samples.strings(69, 1.0, n_players=1, seed=1)  # the A at 440 Hz, within its vibrato
    loudest_hz = np.fft.rfftfreq(len(violin), 1 / SAMPLE_RATE_HZ)[np.abs(np.fft.rfft(violin)).argmax()]
    assert abs(loudest_hz - 440.0) < 8.0


def test_examples_are_mostly_heard_as_what_they_promise(models):
    heard = []
    for name, form in wishes.examples(models).items():
        for seed in range(3):
            recipe = form._replace(seed=seed, duration_s=min(8.0, form.duration_s)).recipe(models)
            heard.append((name, models.classifier.classify(models.make(recipe)).genre in recipe.genre))
    assert len(heard) == 15
    assert sum(is_right for _, is_right in heard) >= 10, heard


def test_examples_are_those_that_the_model_can_make(two_genre_model):
    assert wishes.examples(Models(str(two_genre_model))) == {}


def test_on_a_machine_that_lends_its_gpu_functions_are_marked(monkeypatch):
    marked = []

    def through_pickle(value):
        return pickle.loads(pickle.dumps(value))

    def lend(function):
        """As there: what goes in and comes out is pickled."""
        marked.append(function.__name__)
        if inspect.isgeneratorfunction(function):
            return lambda *values: (through_pickle(part) for part in function(*through_pickle(values)))
        return lambda *values: through_pickle(function(*through_pickle(values)))

    lender = types.ModuleType("spaces")
    lender.__spec__ = importlib.machinery.ModuleSpec("spaces", None)
    lender.GPU = lend
    monkeypatch.setitem(sys.modules, "spaces", lender)
    models = Models()
    assert marked == ["_make", "_stream"]
    recipe = recipe_of(models)
    whole = models.make(recipe)
    assert whole.duration_s == 4.0 and whole.recipe == recipe
    assert np.array_equal(np.concatenate([part.samples for part in models.stream(recipe)]), whole.samples)
