import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from genre_gan import Clip, GenreGenerator, Recipe, load_audio
from genre_gan.clip import FORMATS
from genre_gan.recipe import KEYS, MAX_SEED, RecipeError, RecipeWarning, VariationStep, canonical_key
from tests.conftest import synthesize
from tests.test_models import tiny_spectral_model

RATE_HZ = 22_050
RECIPE = Recipe(
    {"jazz": 0.7, "hiphop": 0.3}, seed=MAX_SEED, duration_s=8.5, variation=0.1 + 0.2, tempo_bpm=93.7, key="Eb minor", loop=True,
    steps=(VariationStep(0.25, 4), VariationStep(1 / 3, 5)), model="mel", revision="0123456789abcdef",
)  # fmt: skip


@pytest.fixture
def clip() -> Clip:
    return Clip(synthesize(220.0, 2.0, 8.0, seed=1), RATE_HZ, RECIPE)


@pytest.mark.parametrize("audio_format", FORMATS)
def test_a_recipe_travels_in_the_files_tags(tmp_path, clip, audio_format):
    path = clip.save(tmp_path / f"clip.{audio_format}")
    assert Recipe.from_file(path) == RECIPE == Recipe.from_file(str(path))
    with soundfile.SoundFile(path) as file:
        assert file.title == f"jazz 70 %, hiphop 30 %, seed {MAX_SEED}, varied by 0.25 towards 4, varied by 0.333333 towards 5"
        assert file.genre == "jazz 70 %, hiphop 30 %" and json.loads(file.comment)["tempo_bpm"] == 93.7
        assert abs(len(file) - len(clip.samples)) <= 1152
    assert np.corrcoef(load_audio(path).samples[: len(clip.samples)], clip.samples)[0, 1] > 0.98


def test_a_clip_without_a_recipe_has_no_tags(tmp_path, clip):
    for audio_format in FORMATS:
        path = Clip(*clip).save(tmp_path / f"plain.{audio_format}")
        with pytest.raises(RecipeError, match=rf"'plain\.{audio_format}' has no recipe"):
            Recipe.from_file(path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.wav"):
        Recipe.from_file(tmp_path / "nowhere.wav")
    (tmp_path / "text.mp3").write_text("no sound")
    with pytest.raises(RecipeError, match=r"'text\.mp3' cannot be read"):
        Recipe.from_file(tmp_path / "text.mp3")


def test_mp3_has_128_kilobits_a_second(clip):
    assert len(clip.encode("mp3")) * 8 / clip.duration_s == pytest.approx(128_000, rel=0.04)
    for rate_hz, kbps in ((8_000, 64), (16_000, 128), (44_100, 128), (48_000, 128)):
        other = Clip(synthesize(220.0, 2.0, 8.0, seed=1, rate_hz=rate_hz), rate_hz)
        assert len(other.encode("mp3")) * 8 / 8.0 == pytest.approx(1000 * kbps, rel=0.04)


def test_a_rate_that_mp3_does_not_have_is_refused(clip, tmp_path):
    other = Clip(clip.samples, 96_000)
    with pytest.raises(ValueError, match=r"sample_rate_hz of an mp3 must be one of 8000, .*, 48000, got 96000; flac takes any"):
        other.save(tmp_path / "a.mp3")
    assert list(tmp_path.iterdir()) == [] and load_audio(other.encode("flac"), 96_000).sample_rate_hz == 96_000


def test_minutes_become_ogg(clip):
    """libsndfile's Vorbis encoder overflows its stack where it gets ten minutes at once."""
    long = Clip(np.tile(clip.samples, 75), RATE_HZ)
    assert load_audio(long.encode("ogg")).duration_s == pytest.approx(600.0, abs=0.1)


def test_json_is_read_strictly():
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE
    values = json.loads(RECIPE.to_json())
    for change, message in (
        ({"extra": 1}, "wrong: extra"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"duration_s": 0.5}, "duration_s must be from 1 to 120"),
        ({"variation": "much"}, "variation must be from 0 to 1.5"),
        ({"genre": {}}, "genre must be weights above 0"),
        ({"genre": {"jazz": float("nan")}}, "genre must be weights above 0"),
        ({"key": "H"}, "key must be one of C major"),
        ({"tempo_bpm": float("inf")}, "tempo_bpm must be"),
        ({"steps": [[2.0, 1]]}, "amount must be from 0"),
        ({"steps": [[0.5]]}, "makes no clip"),
        ({"steps": 3}, "makes no clip"),
        ({"genre": {"jazz": 10**400}}, "genre must be weights above 0"),
        ({"tempo_bpm": 10**400}, "tempo_bpm must be"),
        ({"loop": "yes"}, "loop must be True or False"),
        ({"model": 3}, "model must be text"),
    ):
        with pytest.raises(RecipeError, match=message):
            Recipe.from_json(json.dumps(values | change))
    del values["key"]
    for text, message in ((json.dumps(values), "wrong: key"), ("{", "not valid JSON"), ("[]", "wrong: list"), ("null", "wrong"),
                          ("[" * 100_000, "not valid JSON")):  # fmt: skip
        with pytest.raises(RecipeError, match=message):
            Recipe.from_json(text)


def test_recipes_are_plain_and_can_be_changed():
    recipe = Recipe({"jazz": np.float32(1.0)}, np.int64(3), np.float32(2.0), np.float64(0.5))
    assert json.loads(recipe.to_json())["duration_s"] == 2.0 and recipe.title == "jazz, seed 3"
    assert recipe.extended(5).duration_s == 5.0
    assert recipe.varied(0.5, 7).varied(0.1, 8) == replace(recipe, steps=(VariationStep(0.5, 7), VariationStep(0.1, 8)))
    assert recipe.varied(0.5) != recipe.varied(0.5)  # another seed is drawn
    with pytest.raises(ValueError, match=r"steps must be a tuple of VariationStep\(amount, seed\), got \(\(0\.5, 3\),\)"):
        replace(recipe, steps=((0.5, 3),))


@pytest.mark.parametrize("audio_format", FORMATS)
def test_the_tags_have_room_for_many_steps(tmp_path, clip, audio_format):
    varied = replace(RECIPE, steps=(VariationStep(0.3, 2**31),) * 75)
    path = replace(clip, recipe=varied).save(tmp_path / f"clip.{audio_format}")
    assert Recipe.from_file(path) == varied
    with soundfile.SoundFile(path) as file:
        steps = f"varied 71 times{', varied by 0.3 towards 2147483648' * 4}"
        assert file.title == varied.title == f"jazz 70 %, hiphop 30 %, seed {MAX_SEED}, {steps}"


def test_a_recipe_that_a_wav_has_no_room_for_is_told(clip):
    varied = replace(clip, recipe=replace(RECIPE, steps=(VariationStep(0.3, 2**31),) * 200))
    with pytest.warns(RecipeWarning, match=r"room for 2045 letters of a recipe, and this one has \d{4}: it is left out"):
        varied.encode("wav")
    assert Recipe.from_json(soundfile.SoundFile(io.BytesIO(varied.encode("flac"))).comment) == varied.recipe


def test_a_clip_does_for_its_recipe_nothing_else_does_and_loops_do_not_go_on():
    generator = GenreGenerator(tiny_spectral_model())
    clip = generator.generate("blues", 1.0, seed=3)
    assert np.array_equal(generator.generate_recipe(clip).samples, clip.samples)
    looped = replace(clip, recipe=replace(clip.recipe, loop=True))
    with pytest.raises(ValueError, match="clip must not be a loop, got one: generate a longer loop, or extend a clip"):
        generator.extend(looped, 2.0)
    for call, *others in ((generator.generate_recipe,), (generator.extend, 2.0), (generator.variation_of, 0.5)):
        with pytest.raises(RecipeError, match="clip must be a Clip or a Recipe, got str; Recipe"):
            call(clip.recipe.to_json(), *others)
    with pytest.raises(RecipeError, match="the clip has no recipe"):
        generator.generate_recipe(Clip(*clip))


def test_noise_goes_on_as_it_began_and_stays_normal_along_the_way():
    recipe = RECIPE
    noise, again = recipe.noise(1), recipe.noise(1)
    whole = noise.draw(100, 3)
    assert np.array_equal(np.concatenate([again.draw(40, 3), again.draw(60, 3)]), whole)
    assert not np.array_equal(recipe.noise(2).draw(100, 3), whole)
    plain, other = replace(recipe, steps=()), replace(recipe, seed=5, steps=())
    here, there = plain.noise(1).draw(20_000), other.noise(1).draw(20_000)
    for amount, expected in ((0.0, 1.0), (0.5, np.sqrt(0.5)), (1.0, 0.0)):
        mixed = plain.varied(amount, 5).noise(1).draw(20_000)
        assert mixed.std() == pytest.approx(1.0, abs=0.02) and mixed.dtype == np.float32
        assert np.corrcoef(mixed, here)[0, 1] == pytest.approx(expected, abs=0.02)
    assert np.allclose(mixed, there, atol=1e-6)


@pytest.mark.parametrize("seeds", [(4,), (5, 5), (5, 4, 5)])
def test_a_seed_that_comes_again_has_noise_of_its_own(seeds):
    varied = replace(RECIPE, seed=4, steps=())
    for seed in seeds:
        before, varied = varied, varied.varied(0.5, seed)
    here, mixed = before.noise(1).draw(20_000), varied.noise(1).draw(20_000)
    assert mixed.std() == pytest.approx(1.0, abs=0.02)
    assert np.corrcoef(mixed, here)[0, 1] == pytest.approx(np.sqrt(0.5), abs=0.02)
    assert np.array_equal(varied.noise(1).draw(20_000), mixed)


@pytest.mark.parametrize(
    ("name", "key"),
    [("C", "C major"), ("am", "A minor"), ("A min", "A minor"), ("Bb Major", "Bb major"), ("A#", "Bb major"), ("b", "B major"),
     ("bb", "Bb major"), ("bm", "B minor"), ("D♭", "C# major"), ("g# minor", "Ab minor"),
     ("CM", "C major"), ("bM", "B major"), ("Db M", "C# major"), ("BBM", "Bb major"), ("Cm", "C minor"),
     *((key, key) for key in KEYS)],
)  # fmt: skip
def test_keys_have_one_spelling(name, key):
    assert canonical_key(name) == key


@pytest.mark.parametrize("name", ["", "H", "A dorian", "C##", "minor", 7])
def test_what_is_no_key_is_refused(name):
    with pytest.raises(ValueError, match="allowed: C major, C# major"):
        canonical_key(name)


def test_the_package_imports_nothing_heavy():
    code = "import sys, genre_gan; genre_gan.Clip, genre_gan.Recipe, genre_gan.GENRES; print(*sys.modules)"
    modules = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert "numpy" in modules and not modules & {"torch", "scipy", "librosa", "soundfile", "gradio", "datasets", "matplotlib"}


def test_models_load_without_what_takes_a_second_to_import_and_is_not_needed():
    code = "import sys; from genre_gan import GenreClassifier as C, GenreGenerator as G; C.from_pretrained(); G.from_pretrained()"
    code += "; print(*sys.modules)"
    modules = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert "torch" in modules and not modules & {"torch._dynamo", "sympy", "librosa", "scipy.signal", "datasets", "gradio"}
