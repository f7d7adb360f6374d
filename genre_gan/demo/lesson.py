"""Sounds to look at and to hear: a real one, what is left of it in the generator's form of sound, and a generated one; and what
the generator makes before and after it has learned.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from html import escape

import numpy as np
import torch

from genre_gan import Clip, GenreGenerator
from genre_gan.demo.models import Models
from genre_gan.demo.pictures import sound_html
from genre_gan.demo.samples import ode_to_joy
from genre_gan.models.generator import SpectralGenerator
from genre_gan.plots import spectrogram_of
from genre_gan.spectral import SpectralModel

SHOWN_S, SEED = 8.0, 1
GENRE, LEARNED_GENRE = "classical", "disco"
REAL = "Real: Beethoven's Ode to Joy, on synthesized strings."
COPIED = "Copied: the same in the generator's own form of sound. Nothing that it makes sounds better."
GENERATED = "Generated: {genre}, which nobody composed or played."
UNTRAINED = "Before: the network with the weights that chance gave it."
TRAINED = "After: the same network and the same random numbers, asked for {genre}."


def lesson_html(models: Models) -> str:
    """The sounds as figures in two rows; a model that works on the waveform itself has neither a copy nor a second row."""
    generator = models.generator(models.default)
    genre, learned = (name if name in generator.genres else generator.genres[0] for name in (GENRE, LEARNED_GENRE))
    whole = ode_to_joy()
    real = Clip(whole.samples[: round(SHOWN_S * whole.sample_rate_hz)], whole.sample_rate_hz)
    shown, learning = {REAL: real}, {}
    if isinstance(generator.model, SpectralModel) and generator.sample_rate_hz == real.sample_rate_hz:
        shown[COPIED] = copied(real, generator.model)
        recipe = generator.make_recipe(learned, SHOWN_S, SEED)
        before = untrained(generator.model)
        learning[UNTRAINED] = before.generate_recipe(replace(recipe, revision=before.revision))
        learning[TRAINED.format(genre=learned)] = models.make(recipe)
    shown[GENERATED.format(genre=genre)] = models.make(generator.make_recipe(genre, SHOWN_S, SEED))
    return _figures(shown) + (f"<h3>Before and after learning</h3>{_figures(learning)}" if learning else "")


def untrained(model: SpectralModel) -> GenreGenerator:
    """A generator like that of a model, with weights at random as when training began."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        fresh = SpectralGenerator(model.generator.config)
    return GenreGenerator(SpectralModel(fresh.eval().to(model.device), model.codec))


@torch.no_grad()
def copied(clip: Clip, model: SpectralModel) -> Clip:
    """A clip through the codec of a model and back."""
    samples = torch.from_numpy(clip.samples)[None].to(model.device)
    heard = model.codec.decode(model.codec.encode(samples))[0].clamp(-1.0, 1.0).cpu().numpy()
    return Clip(np.pad(heard, (0, max(0, len(clip.samples) - len(heard))))[: len(clip.samples)], clip.sample_rate_hz)


def _figures(clips: dict[str, Clip]) -> str:
    return f"<div class='lesson'>{''.join(_figure(clip, words) for words, clip in clips.items())}</div>"


def _figure(clip: Clip, words: str) -> str:
    picture = sound_html(spectrogram_of([clip.samples], clip.sample_rate_hz), f"Spectrogram. {words}")
    sound = base64.b64encode(clip.encode("ogg")).decode()
    attributes = f"controls controlslist='nodownload' preload='metadata' aria-label='{escape(words)}'"  # its file has no name
    player = f"<audio {attributes} src='data:audio/ogg;base64,{sound}'></audio>"
    return f"<figure><figcaption>{escape(words)}</figcaption>{picture}{player}</figure>"
