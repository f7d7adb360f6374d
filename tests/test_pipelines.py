import dataclasses
import io
import tracemalloc

import numpy as np
import pytest
import torch

from genre_gan import AudioError, Clip, GenreClassifier, GenreGenerator, load_audio
from genre_gan.genres import GENRES
from genre_gan.loudness import integrated_lufs, true_peak_db
from genre_gan.models.classifier import GenreLSTM
from genre_gan.models.waveform import WaveformGenerator
from genre_gan.pretrained import ModelError
from genre_gan.recipe import Recipe, RecipeError, RecipeWarning
from genre_gan.spectral import SpectralModel
from genre_gan.waveform import WaveformModel
from tests.conftest import synthesize
from tests.test_models import TINY_LSTM, tiny_gan, tiny_spectral_model


@pytest.fixture(params=["mel", "fcn"])
def generator(request) -> GenreGenerator:
    if request.param == "mel":
        return GenreGenerator(tiny_spectral_model())
    return GenreGenerator(WaveformModel(WaveformGenerator(tiny_gan(n_samples=22_050))))


def test_a_stream_joins_to_the_whole(generator):
    whole = generator.generate("blues", 20.0, seed=3).samples
    parts = [clip.samples for clip in generator.generate("blues", 20.0, seed=3, stream=True)]
    assert len(parts) > 1 and np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("duration_s", [1.0, 3.3, 20.0])
def test_a_longer_clip_begins_as_a_shorter_one_up_to_its_fade(generator, duration_s):
    clip = generator.generate("blues", duration_s, seed=3)
    longer = generator.extend(clip, duration_s + 7.7)
    assert longer.duration_s == pytest.approx(duration_s + 7.7, abs=1e-4)
    assert np.array_equal(longer.samples, generator.generate("blues", duration_s + 7.7, seed=3).samples)
    n_same = len(clip.samples) - round(0.05 * min(duration_s, 6.0) * 22_050) - 1
    assert np.allclose(longer.samples[:n_same], clip.samples[:n_same], atol=1e-3)
    assert np.abs(longer.samples[n_same:]).max() > 0.01


def recipe_of(genre: str, seed: int, **settings) -> Recipe:
    return Recipe({genre: 1.0}, seed, 2.0, model="mel", **settings)


def latents_of(model: SpectralModel, recipe: Recipe, n_frames: int) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat(list(model.latents(recipe, n_frames)), 3)


def test_latents_come_in_parts_that_depend_on_the_recipe_alone(monkeypatch):
    model, recipe = tiny_spectral_model(), recipe_of("blues", 5)
    parts = [part.shape[3] for part in model.latents(recipe, 200)]
    assert sum(parts) == 200 and len(parts) > 1
    whole = latents_of(model, recipe, 200)
    monkeypatch.setattr("genre_gan.spectral._MORE_FRAMES", 24)
    assert torch.allclose(latents_of(model, recipe, 200), whole, atol=1e-5)
    assert torch.allclose(latents_of(model, recipe, 61), whole[..., :61], atol=1e-5)


def test_a_loop_ends_with_the_bar_that_leads_to_its_first(monkeypatch):
    model, given = tiny_spectral_model(), []
    blank = model.generator.gain[:1, ..., None]
    monkeypatch.setattr(model.generator, "synthesize", lambda noise, *_: given.append(noise) or blank)
    for loop in (True, False):
        next(model.latents(Recipe({"blues": 1.0}, 5, 6.0, tempo_bpm=120.0, loop=loop, model="mel"), 65))  # three bars
    for n, looped, free in ((3, *(noise.bars for noise in given)), (6, *(noise.half_bars for noise in given))):
        assert torch.equal(looped[:, :n], free[:, :n]) and torch.equal(looped[:, n:], looped[:, :-n])
        assert not torch.isclose(free[:, n:], free[:, :-n]).any()


def test_without_variation_the_style_is_the_same_for_all_seeds():
    model = tiny_spectral_model()
    recipes = [recipe_of("blues", seed, variation=v, key="C major") for seed, v in ((1, 0.0), (2, 0.0), (1, 1.0), (2, 1.0))]
    with torch.inference_mode():
        mapped = [model._map_style(recipe) for recipe in recipes]
    assert torch.allclose(mapped[0], mapped[1]) and not torch.allclose(mapped[2], mapped[3])


def test_a_variation_moves_away_little_by_little_to_another_clip_of_the_genre():
    model, recipe = tiny_spectral_model(), recipe_of("blues", 5, tempo_bpm=100.0, key="C major")
    clip = latents_of(model, recipe, 200)
    distances = [float((latents_of(model, recipe.varied(a, 6), 200) - clip).square().mean()) for a in (0.0, 0.1, 0.3, 0.6, 1.0)]
    other = float((latents_of(model, recipe_of("blues", 8, tempo_bpm=100.0, key="C major"), 200) - clip).square().mean())
    assert distances[0] == 0.0 and distances == sorted(distances)
    assert distances[1] < 0.1 * distances[-1] and distances[-1] > 0.3 * other


def test_tempo_and_key_change_the_clip_and_are_kept_where_given():
    model, recipe = tiny_spectral_model(), recipe_of("blues", 5)
    assert 60.0 <= model.tempo_bpm(recipe) <= 180.0
    asked = recipe_of("blues", 5, tempo_bpm=75.0)
    assert model.tempo_bpm(asked) == pytest.approx(75.0, rel=0.003)  # the hop length is whole
    with torch.inference_mode():
        n_samples = sum(map(len, model.chunks(asked, 100_000)))
    assert n_samples >= 100_000 and n_samples % (8 * 276) == 0  # at 80.75, of whole frames, and 256 / 276 as fast
    assert model.tempo_bpm(recipe) == model.tempo_bpm(recipe.varied(0.9, 3))
    for other in (asked, recipe_of("blues", 5, key="F# minor")):
        assert not torch.allclose(latents_of(model, other, 32), latents_of(model, recipe, 32))


def test_variations_add_up_and_start_from_a_clip_or_a_recipe(generator):
    clip = generator.generate("blues", 2.0, seed=3)
    assert np.array_equal(generator.variation_of(clip, 0.0, seed=4).samples, clip.samples)
    near = generator.variation_of(clip, 0.3, seed=4)
    assert not np.array_equal(near.samples, clip.samples)
    assert np.array_equal(generator.variation_of(clip.recipe, 0.3, seed=4).samples, near.samples)
    further = generator.variation_of(near, 0.5)
    assert [step.amount for step in further.recipe.steps] == [0.3, 0.5] and further.recipe.steps[0].seed == 4
    assert np.array_equal(generator.generate_recipe(further.recipe).samples, further.samples)
    longer = generator.extend(further, 4.0).samples
    assert np.allclose(longer[:40_000], further.samples[:40_000], atol=1e-3)


def test_the_end_of_a_loop_flows_into_its_beginning(generator):
    whole_bars = {"tempo_bpm": 80.0} if generator.supports_tempo else {}
    clip = generator.generate("blues", 3.0, seed=3, loop=True, **whole_bars)
    n = len(clip.samples)
    assert n == pytest.approx(3 * 22_050, rel=0.003) and clip.recipe.loop
    twice = np.concatenate([clip.samples, clip.samples])
    seam, steps = np.abs(twice[n - 1] - twice[n]), np.abs(np.diff(clip.samples))
    assert seam <= np.quantile(steps, 0.999) and np.abs(clip.samples[-2205:]).max() > 0.02  # nothing fades
    assert abs(integrated_lufs(clip.samples, 22_050) + 16.0) < 1.0 and true_peak_db(twice) < -1.0
    (only,) = generator.generate("blues", 3.0, seed=3, loop=True, stream=True, **whole_bars)
    assert np.array_equal(only.samples, clip.samples)


class MetronomeModel(WaveformModel):
    """A click on every beat of the tempo, higher on the first of a bar: what a model with tempo and key promises."""

    tempo_range_bpm, keys = (60.0, 180.0), ("A minor", "C major")

    def tempo_bpm(self, recipe):
        return recipe.tempo_bpm or 100.0

    def chunks(self, recipe, n_samples):
        beats = np.arange(n_samples) / 22_050 * self.tempo_bpm(recipe) / 60
        pitch_hz = np.where(beats % 4 < 1, 880.0, 440.0)
        clicks = np.exp(-8.0 * (beats % 1)) * np.sin(2 * np.pi * pitch_hz * np.arange(n_samples) / 22_050)
        yield (0.5 * clicks).astype(np.float32)


def test_tempo_and_key_are_passed_on_and_loops_have_whole_bars():
    metronome = GenreGenerator(MetronomeModel(WaveformGenerator(tiny_gan())))
    assert metronome.supports_tempo and metronome.supports_key
    clip = metronome.generate("blues", 5.0, seed=1, tempo_bpm=90, key="am", loop=True)
    assert clip.recipe.tempo_bpm == 90.0 and clip.recipe.key == "A minor"
    assert clip.duration_s == pytest.approx(2 * 4 * 60 / 90, abs=1e-4)  # two bars are nearer to 5 s than one
    assert np.abs(clip.samples[:1000]).max() > 2 * np.abs(clip.samples[-1000:]).max()  # it starts with a click
    assert metronome.generate("blues", 1.0, seed=1, loop=True).duration_s == pytest.approx(2.4, abs=1e-4)
    assert metronome.generate("blues", 120.0, seed=1, tempo_bpm=61, loop=True).duration_s <= 120.0
    for settings, message in (
        ({"tempo_bpm": 59.9}, "tempo_bpm must be from 60 to 180"),
        ({"tempo_bpm": -1}, "tempo_bpm must be a number of beats a minute above 0"),
        ({"key": "H"}, "key 'H' is unknown; allowed: C major"),
        ({"key": "Eb"}, "key must be one of A minor, C major, got 'Eb major'"),
    ):
        with pytest.raises(ValueError, match=message):
            metronome.generate("blues", **settings)


@pytest.fixture
def classifier() -> GenreClassifier:
    return GenreClassifier(GenreLSTM(TINY_LSTM))


@pytest.mark.parametrize("duration_s", [1.0, 3.7, 120])
def test_clips_have_the_asked_length_level_and_ends(generator, duration_s):
    clip = generator.generate("blues", duration_s, seed=7)
    assert clip.samples.dtype == np.float32 and clip.samples.shape == (round(duration_s * 22_050),)
    assert abs(integrated_lufs(clip.samples, 22_050) + 16.0) < 1.0 and true_peak_db(clip.samples) < -1.0
    assert abs(clip.samples.mean()) < 1e-3
    assert clip.samples[0] == clip.samples[-1] == 0.0


def test_a_seed_decides_and_a_blend_is_a_genre(generator):
    first, again = (generator.generate("blues", 2.0, seed=7).samples for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, generator.generate("blues", 2.0, seed=8).samples)
    assert not np.array_equal(first, generator.generate("metal", 2.0, seed=7).samples)
    assert not np.array_equal(first, generator.generate({"blues": 0.5, "metal": 0.5}, 2.0, seed=7).samples)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("polka",), "allowed: blues, metal"),
        (("blues", 0), "duration_s must be from 1 to 120"),
        (("blues", float("nan")), "duration_s"),
        (("blues", 1e9), "duration_s"),
        (("blues", "long"), "duration_s"),
        (("blues", 2.0, -1), "seed must be"),
        (("blues", 2.0, 1.5), "seed must be"),
        (("blues", 2.0, 1, 2.0), "variation must be from 0 to 1.5"),
        (("blues", 2.0, 1, float("nan")), "variation"),
    ],
)
def test_what_cannot_be_generated_is_refused(generator, arguments, message):
    with pytest.raises(ValueError, match=message):
        generator.generate(*arguments)


def test_what_cannot_be_asked_of_a_model_or_a_clip_is_refused(generator):
    clip = generator.generate("blues", 2.0, seed=1)
    if generator.supports_tempo:
        with pytest.raises(ValueError, match="tempo_bpm must be from 60 to 180, got 20"):
            generator.generate("blues", tempo_bpm=20)
    else:
        with pytest.raises(ValueError, match=f"tempo_bpm must be None: the model '{generator.name}' takes no tempo, got 90"):
            generator.generate("blues", tempo_bpm=90)
        with pytest.raises(ValueError, match=f"key must be None: the model '{generator.name}' takes no key, got 'A minor'"):
            generator.generate("blues", key="am")
    with pytest.raises(ValueError, match="loop must be True or False, got 1"):
        generator.generate("blues", loop=1)
    with pytest.raises(ValueError, match=r"amount must be from 0, the same clip, to 1, another one of its genre, got 1\.1"):
        generator.variation_of(clip, 1.1)
    with pytest.raises(ValueError, match="seed must be"):
        generator.variation_of(clip, 0.5, seed=-1)
    with pytest.raises(ValueError, match=r"duration_s must be above the clip's own 2 seconds, got 2\.0"):
        generator.extend(clip, 2.0)
    with pytest.raises(ValueError, match="duration_s must be from 1 to 120"):
        generator.extend(clip, 121)
    with pytest.raises(RecipeError, match="the clip has no recipe"):
        generator.extend(Clip(clip.samples, 22_050), 4.0)


def test_a_recipe_makes_the_same_clip_again_and_says_where_it_cannot(generator):
    blend = {"blues": 2, "metal": 1}
    clip = generator.generate(blend, 2.0, variation=0.7)
    assert clip.recipe.genre == {"blues": pytest.approx(2 / 3), "metal": pytest.approx(1 / 3)}
    recipe = Recipe.from_json(clip.recipe.to_json())
    assert recipe == clip.recipe == generator.make_recipe(blend, 2.0, clip.recipe.seed, 0.7)
    assert np.array_equal(generator.generate_recipe(recipe).samples, clip.samples)
    with pytest.raises(RecipeError, match="the recipe is of the model 'other'"):
        generator.generate_recipe(dataclasses.replace(recipe, model="other"))
    with pytest.raises(ValueError, match="genre 'polka' is unknown"):
        generator.generate_recipe(dataclasses.replace(recipe, genre={"polka": 1.0}))
    embedding = next(module for module in generator.model.generator.modules() if isinstance(module, torch.nn.Embedding))
    torch.nn.init.normal_(embedding.weight)
    retrained = GenreGenerator(generator.model)
    assert retrained.revision != generator.revision
    with pytest.warns(RecipeWarning, match="the recipe was made by other weights"):
        assert not np.array_equal(retrained.generate_recipe(recipe).samples, clip.samples)


def test_all_is_computed_where_the_weights_are(generator, monkeypatch):
    """On the meta device, where nothing has a value, only reading back the samples fails."""

    def inverse(spectrum, n_fft, hop_length, window):
        return spectrum.real.flatten(1)[:, : (spectrum.shape[2] - 1) * hop_length]

    monkeypatch.setattr(torch, "istft", inverse)  # torch's own looks at the values of its window
    wishes = {"tempo_bpm": 90.0} if generator.supports_tempo else {}  # one that is drawn is read back, too
    assert generator.generate("blues", 2.0, seed=1, **wishes).duration_s == 2.0
    generator.to("meta")
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor") as caught:
        generator.generate("blues", 2.0, seed=1, **wishes)
    lines = [str(entry.statement) for entry in caught.traceback if "genre_gan" in str(entry.path)]
    assert lines[-1].strip().startswith(("samples =", "segment =")) and ".cpu().numpy()" in lines[-1]


def test_a_device_that_is_not_there_is_refused(generator):
    assert generator.to("cpu") is generator and generator.to("auto").generate("blues", 1.0, 1).duration_s == 1.0
    for name in ("gpu", "xpu", "hip"):  # of which torch knows the last two
        with pytest.raises(ValueError, match=f"device must be auto, cpu, cuda or mps, got '{name}'"):
            generator.to(name)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device 'cuda' is not there"):
            GenreGenerator.from_pretrained("fcn", device="cuda")


def test_every_kind_of_source_is_classified_alike(classifier, tmp_path):
    path = Clip(synthesize(220, 2, 5.0, seed=1), 22_050).save(tmp_path / "a.wav")
    sources = (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), load_audio(path))
    guesses = [classifier.classify(source) for source in sources]
    assert all(guess == guesses[0] for guess in guesses)
    guess = guesses[0]
    assert set(guess.probabilities) == {"blues", "metal"} and sum(guess.probabilities.values()) == pytest.approx(1.0)
    assert guess.genre == max(guess.probabilities, key=guess.probabilities.get)
    assert [(point.start_s, point.end_s) for point in guess.timeline] == [(i, i + 1) for i in range(5)]


def test_a_slice_alone_equals_the_model_by_hand(classifier):
    samples = synthesize(220, 2, 1.0, seed=1)
    features = classifier._extractor(torch.from_numpy(samples)[None])
    by_hand = classifier.model(features).softmax(1)[0].detach().numpy()
    guess = classifier.classify((samples, 22_050))
    assert np.allclose(list(guess.probabilities.values()), by_hand, atol=1e-6)
    logits = classifier.model.output(torch.from_numpy(classifier.embed((samples, 22_050))))
    assert np.allclose(logits.softmax(0).detach().numpy(), by_hand, atol=1e-6)


def test_a_guess_says_whether_it_is_sure(classifier):
    silence = classifier.classify((np.zeros(66_150, np.float32), 22_050))
    assert not silence.is_sure and silence.verdict == "not sure"
    assert list(silence.probabilities.values()) == pytest.approx([0.5, 0.5])
    music = classifier.classify((synthesize(220, 2, 3.0, seed=1), 22_050))
    assert music.is_sure and music.verdict == music.genre  # of two genres one always has half


def test_sound_too_short_is_refused_and_long_sound_stays_out_of_memory(classifier, tmp_path):
    for n_samples, said in ((100, "0.00 s"), (11_003, "0.49 s")):  # 0.499 s is not told as the 0.50 s that would do
        with pytest.raises(AudioError, match=f"too short: {said}, at least 0.5 s needed"):
            classifier.classify((np.zeros(n_samples, np.float32), 22_050))
    minute = synthesize(220, 2, 60.0, seed=1)
    path = Clip(np.tile(minute, 10), 22_050).save(tmp_path / "long.flac")
    tracemalloc.start()
    guess = classifier.classify(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(guess.timeline) == 600
    assert peak_bytes < 20e6  # the samples of ten minutes alone are 53 MB


def test_weights_ship_with_the_package():
    generator, classifier = GenreGenerator.from_pretrained(), GenreClassifier.from_pretrained()
    assert generator.genres == classifier.genres == GENRES
    assert generator.model.training_record["command"] and classifier.model.training_record["split"]
    clip = generator.generate("jazz", 2.0, seed=1)
    assert sum(classifier.classify(clip).probabilities.values()) == pytest.approx(1.0)


def test_a_packaged_name_loads_and_has_no_revision():
    assert GenreGenerator.from_pretrained("fcn").name == "fcn"
    for source in ("fcn", None):
        with pytest.raises(ModelError, match="revision 'v1' is for models on the Hub"):
            GenreGenerator.from_pretrained(source, revision="v1")


def test_a_folder_loads_and_a_wrong_source_is_explained(tmp_path, generator, monkeypatch):
    folder = generator.model.save_pretrained(tmp_path / "model")
    again = GenreGenerator.from_pretrained(folder)
    # spectral weights are saved at 16 bits: from then on nothing changes
    third = GenreGenerator.from_pretrained(again.model.save_pretrained(tmp_path / "again"))
    assert np.array_equal(third.generate("blues", 1.0, 3).samples, again.generate("blues", 1.0, 3).samples)
    with pytest.raises(ModelError, match="wanted one of lstm, linear-probe"):
        GenreClassifier.from_pretrained(folder)
    for nothing in ("no such/folder/here", "~nosuchuser/model"):
        with pytest.raises(ModelError, match="neither a folder nor a Hub id"):
            GenreGenerator.from_pretrained(nothing)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="cannot be reached"):
        GenreGenerator.from_pretrained("somebody/nothing")
