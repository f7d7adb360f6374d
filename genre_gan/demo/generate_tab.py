"""The Generate tab: a form, the player, and the takes of this browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from genre_gan.clip import FORMATS
from genre_gan.demo.handlers import Handlers
from genre_gan.demo.limits import ON_MODELS, PRIVATE, QUIET
from genre_gan.demo.look import genre_css
from genre_gan.demo.models import Models
from genre_gan.demo.music import Visit
from genre_gan.demo.wishes import ALONE, ANY, DEFAULT_DURATION_S, MAX_DURATION_S, MIN_DURATION_S, N_TAKES, examples, tempo_range

WEB = Path(__file__).parent / "web"
TAKES_KEY = "genre-gan-takes"
# What a press does in the browser before the server is asked; `values` are those of the form.
BEGIN_JS = "(...values) => [...values.slice(0, -1), window.genreGan.start({title})]"
STOP_JS = "() => window.genreGan.stop()"
FAILED_JS = "() => window.genreGan.end('That did not work.')"
SAVE_JS = "({ url, orig_name }) => Object.assign(document.createElement('a'), { href: url, download: orig_name }).click()"
SAME_JS = "(value) => [value]"


class GenerateTab(NamedTuple):
    """What the page needs of this tab: the player, which sends clips to be classified, and where takes are kept and shown."""

    player: gr.HTML
    takes: gr.BrowserState
    takes_view: gr.HTML


def make_part(name: str, value: Any = None, **props: Any) -> gr.HTML:
    """A part of the page whose markup and script lie in `web`."""
    markup, script = ((WEB / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "js"))
    return gr.HTML(value, html_template=markup, js_on_load=script, elem_id=name, apply_default_css=False, **props)


def add_generate_tab(models: Models) -> GenerateTab:
    """Build the tab."""
    genres = list(models.generator(models.default).genres)
    gr.HTML(f"<style>{genre_css(genres)}</style>", elem_classes="unseen")
    takes = gr.BrowserState([], storage_key=TAKES_KEY, secret=TAKES_KEY)
    with gr.Row(elem_id="studio"):
        with gr.Column(scale=2, min_width=300):
            genre = gr.Radio(genres, value=genres[0], label="Genre", elem_id="genre", container=False)
            one = gr.Button("Generate", variant="primary", elem_id="generate-button")
            with gr.Row(elem_id="makers"):
                several = gr.Button(f"{N_TAKES} takes", size="md", min_width=80, elem_id="several-button")
                any_one = gr.Button("Surprise me", size="md", min_width=100, elem_id="surprise-button")
                stop = gr.Button("Stop", size="md", min_width=60, elem_id="stop-button")
            with gr.Accordion("More settings", open=False, elem_id="settings"):
                settings = add_settings(models)
        with gr.Column(scale=3, min_width=300):
            player = make_part("player", genres=genres, formats=list(FORMATS), ending=None)
            # gr.Examples(run_on_click) would ask the models outside of the queue's limit, and twice in a row
            starts = examples(models)
            example = gr.Dataset(
                label="Or start from one of these", components=[genre, *settings.values()], elem_id="examples",
                samples=[list(form) for form in starts.values()], sample_labels=list(starts), visible=bool(starts),
            )  # fmt: skip
    takes_view = make_part("takes", [])
    make_part("compare")
    files = gr.HTML(elem_classes="unseen")  # what is to be saved
    form, handlers = [genre, *settings.values()], Handlers(models)
    visit, number = gr.State(Visit()), gr.Number(visible=False, precision=0)  # of what is asked for: the browser counts
    playing: dict[str, Any] = {"outputs": player, "trigger_mode": "multiple", **ON_MODELS, **QUIET}
    saving: dict[str, Any] = {"outputs": files, "show_progress_on": takes_view, **ON_MODELS, **PRIVATE}
    takes_of = f"'{N_TAKES} takes of ' + values[0]"
    makers = [
        one.click(handlers.one, [*form, visit, number], js=BEGIN_JS.format(title="values[0]"), **playing),
        several.click(handlers.several, [*form, visit, number], js=BEGIN_JS.format(title=takes_of), **playing),
        example.click(handlers.example, [example, visit, number], js=BEGIN_JS.format(title="'an example'"), **playing),
        any_one.click(
            handlers.any_one, [settings["model"], visit, number], js=BEGIN_JS.format(title="'a surprise'"), **playing
        ),
        player.ask(handlers.follow, visit, **playing),
    ]
    savers = [
        player.download(handlers.download, None, **saving),
        takes_view.download_all(handlers.download_all, None, **saving),
    ]
    for event in savers:
        event.success(None, files, None, js=SAVE_JS)
    for event in (*makers, *savers):
        event.failure(None, js=FAILED_JS)
    player.halt(handlers.stop, visit, None, queue=False, trigger_mode="multiple", **QUIET)
    example.click(handlers.fill, example, form, queue=False, **QUIET)
    # these happen in the browser alone
    stop.click(None, js=STOP_JS)
    takes_view.edited(None, takes_view, takes, js=SAME_JS)
    second, share, model = (settings[name] for name in ("second", "share", "model"))
    second.change(lambda name: gr.Slider(visible=name != ALONE), second, share, queue=False, **QUIET)
    model.input(handlers.show_genres, [model, genre, second], [genre, second, settings["tempo_bpm"], settings["key"]], **QUIET)
    return GenerateTab(player, takes, takes_view)


def add_settings(models: Models) -> dict[str, Any]:
    """The fields that are folded away, in the order of `Form`."""
    generator = models.generator(models.default)
    with gr.Row():
        second = gr.Dropdown([ALONE, *generator.genres], value=ALONE, label="Blend with", min_width=140, elem_id="second")
        share = gr.Slider(0, 100, 40, step=5, label="Share of that (%)", visible=False, min_width=140, elem_id="share")
    duration_s = gr.Slider(
        MIN_DURATION_S, MAX_DURATION_S, DEFAULT_DURATION_S, step=1, label="Length (seconds)", elem_id="duration"
    )
    variation = gr.Slider(
        0.0, 1.5, 1.0, step=0.1, label="Variation", info="Low: typical of the genre. High: daring.", elem_id="variation"
    )
    with gr.Row():
        seed = gr.Textbox(
            "", label="Seed", placeholder="new each time", max_lines=1, min_width=140, elem_id="seed",
            info="A whole number: the same one gives the same music.",
        )  # fmt: skip
    with gr.Row():
        tempo_bpm = gr.Textbox(
            "", label="Tempo", placeholder="any", max_lines=1, visible=generator.supports_tempo, min_width=140, elem_id="tempo",
            info=tempo_range(generator),
        )  # fmt: skip
        key = gr.Dropdown(
            [ANY, *generator.keys], value=ANY, label="Key", visible=generator.supports_key, min_width=140, elem_id="key",
            info="Asked for, not guaranteed.",
        )  # fmt: skip
    loop = gr.Checkbox(False, label="Make it a loop", info="Its end flows into its beginning.", elem_id="make-loop")
    choices = [(label, name) for name, label in models.labels.items()]
    model = gr.Dropdown(choices, value=models.default, label="Model", elem_id="model")
    return {
        "second": second, "share": share, "duration_s": duration_s, "variation": variation, "seed": seed, "model": model,
        "tempo_bpm": tempo_bpm, "key": key, "loop": loop,
    }  # fmt: skip
