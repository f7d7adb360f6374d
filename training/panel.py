"""The classifiers that an evaluation asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from genre_gan import GenreClassifier, Guess
from genre_gan.audio import AudioSource


class Panel:
    """One classifier for all tracks, or one for each fold of a cross-validation, asked about what it never heard."""

    def __init__(self, source: str):
        folders = sorted(Path(source).glob("fold-*/model"), key=lambda path: int(path.parent.name.removeprefix("fold-")))
        sources: Sequence[Path | str] = folders or [source]
        self.classifiers = [GenreClassifier.from_pretrained(source) for source in sources]
        self.name = Path(source).name
        self.genres = self.classifiers[0].genres
        self.is_cross_validation = bool(folders)

    def classify(self, audio: AudioSource, fold: int) -> Guess:
        """What the classifier of this fold says; with one classifier, that one."""
        return self.classifiers[fold % len(self.classifiers)].classify(audio)
