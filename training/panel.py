"""The classifiers that an evaluation asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm.auto import tqdm

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

    def ask(self, sounds: Iterable[AudioSource], folds: Sequence[int], label: str) -> list[Guess]:
        """What the classifier of its fold says of each sound; with one classifier, that one. `label` is the progress bar's."""
        progress = tqdm(zip(sounds, folds, strict=True), desc=label, total=len(folds), unit="sound", leave=False)
        return [self.classifiers[fold % len(self.classifiers)].classify(sound) for sound, fold in progress]
