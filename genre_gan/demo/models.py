"""The pipelines behind the page."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from genre_gan import GenreClassifier, GenreGenerator
from genre_gan.demo.pictures import picture_of
from genre_gan.hub import packaged_weights
from genre_gan.pretrained import ModelError

PACKAGED = {
    "mel": "mel: the default, a GAN on spectrograms",
    "fcn": "fcn: the report's fully connected GAN",
    "cnn": "cnn: the report's convolutional GAN",
}
WARM_UP_S = 2.0

logger = logging.getLogger(__name__)


class Models:
    """The pipelines behind the page, each loaded once, when it is first asked for.

    Where a Hub id cannot be loaded the packaged weights stand in, and `notices` says so.

    Args:
        generator: a folder or a Hub id, offered first; None offers the packaged models alone.
        classifier: a folder or a Hub id; None is the packaged one.

    Raises:
        ModelError: a local folder that holds no such model.
    """

    def __init__(self, generator: str | None = None, classifier: str | None = None):
        self.notices: list[str] = []
        self.labels = {name: label for name, label in PACKAGED.items() if packaged_weights(name).is_dir()}
        self._lock = threading.Lock()
        self._generators: dict[str, GenreGenerator] = {}
        if generator is not None and (loaded := self._load(GenreGenerator, generator)):
            name = shown_source(generator)
            self._generators[name] = loaded
            self.labels = {name: f"{name}: {loaded.name}"} | self.labels
        self.default = next(iter(self.labels))
        self.classifier = (classifier and self._load(GenreClassifier, classifier)) or GenreClassifier.from_pretrained()

    def _load(self, pipeline: type, source: str) -> GenreGenerator | GenreClassifier | None:
        try:
            return pipeline.from_pretrained(source)
        except ModelError as error:
            if Path(source).exists():
                raise
            self.notices.append(f"{source} could not be loaded, so weights from the package stand in for it.")
            logger.warning("%s %s", self.notices[-1], error)
            return None

    def generator(self, name: str) -> GenreGenerator:
        """The generator of that name, one of `labels`."""
        if name not in self.labels:
            raise ValueError(f"model must be one of {', '.join(self.labels)}, got {name!r}")
        with self._lock:
            if name not in self._generators:
                self._generators[name] = GenreGenerator.from_pretrained(name)
            return self._generators[name]

    def in_use(self) -> str:
        """Which weights are in use, as Markdown."""
        offered = "\n".join(f"- {label}" for label in self.labels.values())
        return f"Generators here, the default first:\n{offered}\n\nClassifier: LSTM, {shown_source(self.classifier.source)}"

    def warm_up(self) -> None:
        """Go once through everything that the first click needs."""
        generator = self.generator(self.default)
        clip = generator.generate(generator.genres[0], WARM_UP_S, 0)
        picture_of(clip, "warm-up", self.classifier.classify(clip))


def shown_source(source: str) -> str:
    """A model's name for visitors: of a folder's path they need the end, and that it is none of the packaged models."""
    return f"{Path(source).resolve().name} (folder)" if Path(source).is_dir() else source
