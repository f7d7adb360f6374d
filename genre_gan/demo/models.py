"""The pipelines behind the page."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from genre_gan import Clip, GenreClassifier, GenreGenerator
from genre_gan.demo.gpu import on_gpu
from genre_gan.hub import packaged_weights
from genre_gan.pretrained import ModelError
from genre_gan.recipe import Recipe

PACKAGED = {
    "mel": "mel: the default, a GAN on spectrograms",
    "fcn": "fcn: noise, as in the report",
    "cnn": "cnn: noise, as in the report",
}
WARM_UP_S = 2.0

logger = logging.getLogger(__name__)


class Models:
    """The pipelines behind the page, each loaded once, when it is first asked for.

    Where a Hub id cannot be loaded the packaged weights stand in, and `notices` says so.

    Args:
        generator: a folder or a Hub id, offered first; None offers the packaged models alone.
        classifier: a folder or a Hub id; None is the packaged one.
        device: where they run: `cpu`, `cuda`, `mps`, or `auto` for a GPU where there is one.

    Attributes:
        make: the clip of a recipe.
        stream: the same clip in consecutive parts, while it is made.

    Raises:
        ModelError: a local folder that holds no such model.
        ValueError: no such device.
    """

    def __init__(self, generator: str | None = None, classifier: str | None = None, device: str = "cpu"):
        self.notices: list[str] = []
        self.labels = {name: label for name, label in PACKAGED.items() if packaged_weights(name).is_dir()}
        self._device = device
        self._lock = threading.Lock()
        self._generators: dict[str, GenreGenerator] = {}
        if generator is not None and (loaded := self._load(GenreGenerator, generator, device=device)):
            name = shown_source(generator)
            self._generators[name] = loaded
            self.labels = {name: f"{name}: {loaded.name}"} | self.labels
        self.default = next(iter(self.labels))
        given = self._load(GenreClassifier, classifier) if classifier is not None else None
        self.classifier: GenreClassifier = given or GenreClassifier.from_pretrained()
        self.make: Callable[[Recipe], Clip] = on_gpu(self._make)
        self.stream: Callable[[Recipe], Iterator[Clip]] = on_gpu(self._stream)

    def _load(self, pipeline, source: str, **settings):
        try:
            return pipeline.from_pretrained(source, **settings)
        except ModelError as error:
            if Path(source).exists():
                raise
            if looks_local(source):
                raise ModelError(f"there is no folder {source!r}, and no Hub id like 'user/genre-gan' is written so") from error
            self.notices.append(f"{source} could not be loaded, so weights from the package stand in for it.")
            logger.warning("%s %s", self.notices[-1], error)
            return None

    def generator(self, name: str) -> GenreGenerator:
        """The generator of that name, one of `labels`."""
        if not isinstance(name, str) or name not in self.labels:
            raise ValueError(f"model must be one of {', '.join(self.labels)}, got {name!r:.80}")
        with self._lock:
            if name not in self._generators:
                self._generators[name] = GenreGenerator.from_pretrained(name, device=self._device)
            return self._generators[name]

    def following(self, recipe: Recipe) -> GenreGenerator:
        """The generator that can follow a recipe: the one with its very weights, else one of the same kind.

        Raises:
            ValueError: there is none.
        """
        alike = [generator for generator in map(self.generator, self.labels) if generator.name == recipe.model]
        if not alike:
            known = ", ".join(dict.fromkeys(generator.name for generator in map(self.generator, self.labels)))
            raise ValueError(f"model must be one of {known}, got {recipe.model!r}")
        return next((generator for generator in alike if generator.revision == recipe.revision), alike[0])

    def _make(self, recipe: Recipe) -> Clip:
        return self.following(recipe).generate_recipe(recipe)

    def _stream(self, recipe: Recipe) -> Iterator[Clip]:
        yield from self.following(recipe).generate_recipe(recipe, stream=True)

    def in_use(self) -> str:
        """Which weights are in use, as Markdown."""
        offered = "\n".join(f"- {label}" for label in self.labels.values())
        kind = self.classifier.model.family.replace("-", " ")
        return f"Generators here, the default first:\n{offered}\n\nClassifier: {kind}, {shown_source(self.classifier.source)}"

    def warm_up(self) -> Clip:
        """Go once through everything that the first click needs."""
        generator = self.generator(self.default)
        clip = self.make(generator.make_recipe(generator.genres[0], WARM_UP_S, 0))
        self.classifier.classify(clip)
        return clip


def looks_local(source: str) -> bool:
    """Whether `source` is meant to be a folder: it is no Hub id of the form `user/name`, or it would lie in one that exists."""
    return source.count("/") != 1 or source.startswith((".", "/", "~")) or Path(source).parent.is_dir()


def shown_source(source: str) -> str:
    """A model's name for visitors: of a folder's path they need the end, and that it is none of the packaged models."""
    return f"{Path(source).resolve().name} (folder)" if Path(source).is_dir() else source
