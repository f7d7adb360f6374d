"""Generate short music by genre with conditional GANs, and classify uploaded music with an LSTM."""

from genre_gan.audio import AudioError, load_audio
from genre_gan.classify import GenreClassifier, Guess
from genre_gan.clip import Clip
from genre_gan.generate import GenreGenerator
from genre_gan.genres import GENRES

__all__ = ["GENRES", "AudioError", "Clip", "GenreClassifier", "GenreGenerator", "Guess", "load_audio"]
