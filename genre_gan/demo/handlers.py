"""What the Generate tab asks of the server."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import gradio as gr

from genre_gan.clip import FORMATS
from genre_gan.demo.errors import user_errors
from genre_gan.demo.limits import MAX_DOWNLOADS
from genre_gan.demo.models import Models
from genre_gan.demo.music import Answer, Visit, Wanted, download_of, keep_file, perform
from genre_gan.demo.wishes import ALONE, ANY, N_TAKES, Form, checked, followed, recipe_of_query, surprise, tempo_range, title_of
from genre_gan.files import file_names
from genre_gan.recipe import Recipe


def sent(event: gr.EventData, name: str) -> Any:
    """What the page's script sent under that name, or None. It comes from strangers: nothing about it is sure."""
    return getattr(event, name, None)


def sent_recipe(event: gr.EventData) -> Recipe:
    """The recipe that the page's script sent."""
    return checked(Recipe.from_json(sent(event, "recipe")))


def sent_number(event: gr.EventData) -> int:
    """The number that the page's script gave what it asks for."""
    number = sent(event, "number")
    if not isinstance(number, int):
        raise ValueError(f"number must be a whole number, got {number!r:.80}")
    return number


class Handlers:
    """The handlers, on the given pipelines. Errors reach the visitor in words."""

    def __init__(self, models: Models):
        self.models = models

    def one(self, *values: Any) -> Iterator[Answer]:
        """The clip that the form asks for."""
        *fields, visit, number = values
        with user_errors():
            yield from perform(self.models, [Wanted(Form(*fields).recipe(self.models))], visit, number)

    def example(self, fields: list[Any], visit: Visit, number: int) -> Iterator[Answer]:
        """The clip that one of the examples describes."""
        yield from self.one(*fields, visit, number)

    def several(self, *values: Any) -> Iterator[Answer]:
        """Takes of the same, each with a seed of its own."""
        *fields, visit, number = values
        with user_errors():
            wanted = [Wanted(Form(*fields).recipe(self.models, take)) for take in range(N_TAKES)]
            yield from perform(self.models, wanted, visit, number)

    def any_one(self, model: str, visit: Visit, number: int) -> Iterator[Answer]:
        """A clip that nobody thought of."""
        with user_errors():
            yield from perform(self.models, [Wanted(surprise(self.models, model))], visit, number)

    def follow(self, visit: Visit, event: gr.EventData) -> Iterator[Answer]:
        """What follows from a clip, the clip again, clips to compare, or the one that a link leads to."""
        with user_errors():
            what, is_fetch = sent(event, "what"), False
            if what == "link":
                wanted = [Wanted(recipe_of_query(dict(sent(event, "query")), self.models))]
            elif what == "again":
                wanted = [Wanted(sent_recipe(event), str(sent(event, "id")))]
            elif what == "fetch":
                is_fetch = True
                wanted = [Wanted(checked(Recipe.from_json(take["recipe"])), str(take["id"])) for take in sent(event, "takes")[:2]]
            else:
                asked = {name: sent(event, name) for name in ("amount", "genre")}
                wanted = [Wanted(followed(str(what), sent_recipe(event), asked))]
            yield from perform(self.models, wanted, visit, sent_number(event), plays=not is_fetch)

    def stop(self, visit: Visit, event: gr.EventData) -> None:
        """Have what was asked so far end, or never begin."""
        with user_errors():
            visit.stop(sent_number(event))

    def download(self, event: gr.EventData) -> dict[str, Any]:
        """A clip as a file of the format asked for, with its title, genre, seed and model as tags."""
        with user_errors():
            recipe, file_format = sent_recipe(event), str(sent(event, "format"))
            if file_format not in FORMATS:
                raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {file_format!r}")
            clip = self.models.make(recipe)
            return download_of(keep_file(clip.encode(file_format), title_of(recipe), file_format))

    def to_classify(self, event: gr.EventData) -> tuple[str, gr.Tabs]:
        """A clip as a file to classify, and the tab where that happens."""
        with user_errors():
            recipe = sent_recipe(event)
            clip = self.models.make(recipe)
            return keep_file(clip.encode("wav"), title_of(recipe), "wav"), gr.Tabs(selected="classify")

    def download_all(self, event: gr.EventData) -> dict[str, Any]:
        """Takes as one zip file, with their recipes."""
        with user_errors():
            takes = list(sent(event, "takes") or ())
            if len(takes) > MAX_DOWNLOADS:
                raise ValueError(f"There are {len(takes)} takes, and one file has room for {MAX_DOWNLOADS}: delete some first.")
            recipes = [checked(Recipe.from_json(take["recipe"])) for take in takes]
            names = [f"{name}.wav" for name in file_names([str(take["title"]) for take in takes])]
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
                for name, recipe in zip(names, recipes, strict=True):
                    archive.writestr(name, self.models.make(recipe).encode("wav"))
                listed = [{"file": n, "recipe": json.loads(r.to_json())} for n, r in zip(names, recipes, strict=True)]
                archive.writestr("recipes.json", json.dumps(listed, indent=1))
            return download_of(keep_file(packed.getvalue(), "genre-gan takes", "zip"))

    def show_genres(
        self, model: str, genre: str, second: str, tempo_bpm: str = "", key: str = ANY
    ) -> tuple[gr.Radio, gr.Dropdown, gr.Textbox, gr.Dropdown]:
        """The genres, tempi and keys of a model; the genres chosen stay where it knows them."""
        with user_errors():
            generator = self.models.generator(model)
            names = list(generator.genres)
            first, blended = (genre if genre in names else names[0]), (second if second in names else ALONE)
            return (
                gr.Radio(names, value=first), gr.Dropdown([ALONE, *names], value=blended),
                gr.Textbox(tempo_bpm, visible=generator.supports_tempo, info=tempo_range(generator)),
                gr.Dropdown([ANY, *generator.keys], value=key, visible=generator.supports_key),
            )  # fmt: skip

    def fill(self, fields: list[Any]) -> list[Any]:
        """The form as an example fills it in, with what its model can do."""
        form = Form(*fields)
        changed = self.show_genres(form.model, form.genre, form.second, str(form.tempo_bpm), str(form.key))
        return list((form._asdict() | dict(zip(("genre", "second", "tempo_bpm", "key"), changed, strict=True))).values())
