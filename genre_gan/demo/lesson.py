"""Three sounds to look at and to hear: a real one, what is left of it in the generator's form of sound, and a generated one."""

from __future__ import annotations

import base64
from html import escape

import torch

from genre_gan import Clip
from genre_gan.demo.models import Models
from genre_gan.demo.pictures import sound_html
from genre_gan.demo.samples import bach_prelude
from genre_gan.plots import spectrogram_of
from genre_gan.spectral import SpectralModel

SHOWN_S, GENRE, SEED = 8.0, "classical", 1
REAL = "Real: a prelude by Bach, on plucked strings."
COPIED = "Copied: the same in the generator's own form of sound. Nothing that it makes sounds better."
GENERATED = "Generated: {genre}, which nobody composed or played."


def lesson_html(models: Models) -> str:
    """The three as figures; without the copy where the model works on the waveform itself."""
    generator = models.generator(models.default)
    genre = GENRE if GENRE in generator.genres else generator.genres[0]
    whole = bach_prelude()
    real = Clip(whole.samples[: round(SHOWN_S * whole.sample_rate_hz)], whole.sample_rate_hz)
    shown = {REAL: real}
    if isinstance(generator.model, SpectralModel) and generator.sample_rate_hz == real.sample_rate_hz:
        shown[COPIED] = copied(real, generator.model)
    shown[GENERATED.format(genre=genre)] = models.make(generator.make_recipe(genre, SHOWN_S, SEED))
    figures = "".join(_figure(clip, words) for words, clip in shown.items())
    return f"<div class='lesson'>{figures}</div>"


@torch.no_grad()
def copied(clip: Clip, model: SpectralModel) -> Clip:
    """A clip through the codec of a model and back."""
    samples = torch.from_numpy(clip.samples)[None].to(model.device)
    heard = model.codec.decode(model.codec.encode(samples))[0].clamp(-1.0, 1.0).cpu().numpy()
    return Clip(heard, clip.sample_rate_hz)


def _figure(clip: Clip, words: str) -> str:
    picture = sound_html(spectrogram_of([clip.samples], clip.sample_rate_hz), f"Spectrogram. {words}")
    sound = base64.b64encode(clip.encode("ogg")).decode()
    player = f"<audio controls preload='metadata' aria-label='{escape(words)}' src='data:audio/ogg;base64,{sound}'></audio>"
    return f"<figure><figcaption>{escape(words)}</figcaption>{picture}{player}</figure>"
