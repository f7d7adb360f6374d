import io
import tracemalloc

import numpy as np
import pytest
import torch

from genre_gan import AudioError, Clip, GenreClassifier, GenreGenerator, load_audio
from genre_gan.features import FeatureExtractor
from genre_gan.generate import MAX_LEVEL_DB, WaveformModel
from genre_gan.genres import GENRES
from genre_gan.models.lstm import GenreLSTM
from genre_gan.models.vocoder import Vocoder, VocoderConfig, normalize_log_mel
from genre_gan.models.waveform import WaveformGenerator
from genre_gan.pretrained import ModelError
from tests.conftest import synthesize
from tests.test_models import TINY_LSTM, tiny_gan, tiny_spectral_model


@pytest.fixture(params=["mel", "fcn"])
def generator(request) -> GenreGenerator:
    if request.param == "mel":
        return GenreGenerator(tiny_spectral_model())
    return GenreGenerator(WaveformModel(WaveformGenerator(tiny_gan(n_samples=22_050))))


def test_a_stream_joins_to_the_whole_and_a_longer_clip_begins_alike(generator):
    whole = generator.generate("blues", 20.0, seed=3).samples
    parts = [clip.samples for clip in generator.generate("blues", 20.0, seed=3, stream=True)]
    assert len(parts) > 1 and np.array_equal(np.concatenate(parts), whole)
    longer = generator.generate("blues", 60.0, seed=3).samples
    assert np.allclose(longer[: 10 * 22_050], whole[: 10 * 22_050], atol=1e-4)


def test_spectral_chunks_have_no_seams(monkeypatch):
    model = tiny_spectral_model()
    latents = torch.randn(1, 96, 4)
    with torch.inference_mode():
        monkeypatch.setattr("genre_gan.generate._FIRST_CHUNK_FRAMES", 96)
        (whole,) = model.render(latents)
        monkeypatch.setattr("genre_gan.generate._FIRST_CHUNK_FRAMES", 16)
        monkeypatch.setattr("genre_gan.generate._CHUNK_FRAMES", 20)
        parts = list(model.render(latents))
    assert len(parts) == 5
    assert np.allclose(np.concatenate(parts), whole, atol=1e-3 * np.abs(whole).max())


def test_levels_are_set_before_any_sound_is_made():
    model = tiny_spectral_model()
    model.vocoder = Vocoder(VocoderConfig(dim=8, hidden_dim=8, n_layers=1)).eval()
    samples = torch.from_numpy(synthesize(220.0, 2.0, 4.0, seed=0))
    log_mel = normalize_log_mel(FeatureExtractor(model.vocoder.config.features)(samples[None]))
    level_db = model.vocoder.estimate_level_db(log_mel)
    frames = samples.unfold(0, 1024, 256)  # the first of them is the third of the padded ones
    expected_db = 20.0 * frames.square().mul(model.vocoder.window.square()).sum(1).div(model.vocoder.window.square().sum()).sqrt().log10()
    assert (level_db[0, 2 : 2 + len(frames)] - expected_db).abs().median() < 1.0

    louder = model._set_level(log_mel, 20.0)
    assert model.vocoder.estimate_level_db(louder).max() <= MAX_LEVEL_DB + 0.1
    assert torch.allclose(louder.diff(dim=2), log_mel.diff(dim=2), atol=1e-4)  # whole frames move


def test_the_draft_is_chosen_in_which_the_judge_hears_the_genre_best():
    model, weights = tiny_spectral_model(), torch.eye(2)
    with torch.inference_mode():
        heard = []
        judge = model.judge.forward
        model.judge.forward = lambda drafts: heard.append((drafts, judge(drafts))) or heard[-1][1]
        for genre in range(2):
            chosen = model.compose(weights[genre : genre + 1], 64, seed=5, variation=1.0)
            drafts, logits = heard[-1]
            assert len(drafts) == 6 and torch.equal(chosen[0], drafts[int(logits.softmax(1)[:, genre].argmax())])


def test_without_variation_the_style_is_the_same_for_all_seeds():
    model = tiny_spectral_model()
    weights = torch.eye(2)[:1]
    mapped = []
    model.generator.synthesize = lambda latents, style: mapped.append(style) or torch.zeros(len(style), 64, 4)
    with torch.inference_mode():
        for seed, variation in ((1, 0.0), (2, 0.0), (1, 1.0), (2, 1.0)):
            model.compose(weights, 8, seed, variation)
    assert torch.allclose(mapped[0], mapped[1]) and not torch.allclose(mapped[2], mapped[3])


@pytest.fixture
def classifier() -> GenreClassifier:
    return GenreClassifier(GenreLSTM(TINY_LSTM))


@pytest.mark.parametrize("duration_s", [1.0, 3.7, 120])
def test_clips_have_the_asked_length_level_and_ends(generator, duration_s):
    clip = generator.generate("blues", duration_s, seed=7)
    assert clip.samples.dtype == np.float32 and clip.samples.shape == (round(duration_s * 22_050),)
    loudest = np.quantile([np.sqrt(np.mean(np.square(frame))) for frame in np.array_split(clip.samples, 200)], 0.95)
    assert loudest > 0.05 and np.abs(clip.samples).max() <= 0.9
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


def test_every_kind_of_source_is_classified_alike(classifier, tmp_path):
    path = Clip(synthesize(220, 2, 5.0, seed=1), 22_050).save(tmp_path / "a.wav")
    guesses = [classifier.classify(s) for s in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), load_audio(path))]
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
    with pytest.raises(AudioError, match="too short"):
        classifier.classify((np.zeros(100, np.float32), 22_050))
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
    with pytest.raises(ModelError, match="revision 'v1' is for models on the Hub"):
        GenreGenerator.from_pretrained("fcn", revision="v1")


def test_a_folder_loads_and_a_wrong_source_is_explained(tmp_path, generator, monkeypatch):
    folder = generator.model.save_pretrained(tmp_path / "model")
    again = GenreGenerator.from_pretrained(folder)
    # spectral weights are saved at 16 bits: from then on nothing changes
    third = GenreGenerator.from_pretrained(again.model.save_pretrained(tmp_path / "again"))
    assert np.array_equal(third.generate("blues", 1.0, 3).samples, again.generate("blues", 1.0, 3).samples)
    with pytest.raises(ModelError, match="wanted 'lstm'"):
        GenreClassifier.from_pretrained(folder)
    with pytest.raises(ModelError, match="neither a folder nor a Hub id"):
        GenreGenerator.from_pretrained("no such/folder/here")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="cannot be reached"):
        GenreGenerator.from_pretrained("somebody/nothing")
