"""Generate short music by genre with conditional GANs, and classify uploaded music with an LSTM."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genre_gan.audio import AudioError, AudioWarning, RawAudio, load_audio
    from genre_gan.classify import GenreClassifier, Guess
    from genre_gan.clip import Clip
    from genre_gan.generate import GenreGenerator
    from genre_gan.genres import GENRES
    from genre_gan.recipe import Recipe

__version__ = "0.1.0"
__all__ = [
    "GENRES", "AudioError", "AudioWarning", "Clip", "GenreClassifier", "GenreGenerator", "Guess", "RawAudio", "Recipe",
    "load_audio",
]
# Loaded at first use: torch alone takes more than a second, and `--help` needs none of it.
_MODULES = {
    "AudioError": "audio", "AudioWarning": "audio", "Clip": "clip", "GENRES": "genres", "GenreClassifier": "classify",
    "GenreGenerator": "generate", "Guess": "classify", "RawAudio": "audio", "Recipe": "recipe", "load_audio": "audio",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
