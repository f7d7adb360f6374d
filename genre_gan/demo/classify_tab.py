"""The Classify tab: a file, a recording or many files; what they sound like, and when."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from genre_gan.audio import SAMPLE_RATE_HZ
from genre_gan.demo.errors import user_errors
from genre_gan.demo.hearing import HINT, Listener
from genre_gan.demo.limits import MAX_UPLOAD_MB, MAX_UPLOAD_S, ON_MODELS, PRIVATE, QUIET
from genre_gan.demo.models import Models
from genre_gan.demo.music import keep_file
from genre_gan.demo.samples import SAMPLES

HERE = Path(__file__).parent
NOTE = (HERE / "texts" / "classify.md").read_text(encoding="utf-8")
PLAY_JS = """() => document.querySelector('#upload [aria-label="Play"]')?.click()"""
GENERATED_S, GENERATED_SEED = 10.0, 15  # a seed whose clips are heard as what was asked for


def position(event: gr.EventData) -> gr.Audio:
    """The player at the moment that was clicked."""
    return gr.Audio(playback_position=float(getattr(event, "at_s", 0.0)))


def add_classify_tab(models: Models) -> gr.Audio:
    """Build the tab; returns where sound comes in: whatever is put there is classified."""
    listener = Listener(models)
    generated = models.generator(models.default).genres[1:8:3]

    def sample(name: str) -> str:
        with user_errors():
            if name in SAMPLES:
                return keep_file(SAMPLES[name]().encode("wav"), name, "wav")
            clip = models.make(models.generator(models.default).make_recipe(name, GENERATED_S, GENERATED_SEED))
            return keep_file(clip.encode("wav"), f"{name} generated", "wav")

    with gr.Row(elem_id="listening"):
        with gr.Column(scale=2, min_width=300):
            sources: Any = ["upload", "microphone"]
            # The waveform is drawn, and a part cut out, at the rate that is listened to: gradio's 44,100 Hz take longer.
            drawn = gr.WaveformOptions(sample_rate=SAMPLE_RATE_HZ)
            upload = gr.Audio(
                sources=sources, type="filepath", label="Music to classify", buttons=["download"], waveform_options=drawn,
                elem_id="upload",
            )  # fmt: skip
            gr.HTML("", elem_id="no-microphone", elem_classes="note")
            with gr.Column(elem_id="tries"):
                gr.Markdown("Nothing at hand? Try one of these:")
                with gr.Row(elem_id="samples"):
                    buttons = {name: gr.Button(name, size="sm", min_width=130) for name in SAMPLES}
                    buttons |= {name: gr.Button(f"{name} (generated)", size="sm", min_width=130) for name in generated}
                gr.Markdown(NOTE.format(max_mb=MAX_UPLOAD_MB, max_minutes=MAX_UPLOAD_S // 60), elem_classes="note")
        with gr.Column(scale=3, min_width=300):
            words = gr.Markdown(HINT, elem_id="summary")
            label = gr.Label(label="Genre", num_top_classes=3, elem_id="label")
            picture = gr.HTML(elem_id="timeline", js_on_load=(HERE / "web" / "timeline.js").read_text(encoding="utf-8"))
            with gr.Accordion("Every slice in numbers", open=False):
                timeline = gr.Markdown(elem_id="slices")
    with gr.Accordion("Many files at once", open=False, elem_id="many"):
        several = gr.File(file_count="multiple", label="Sound files", height=140, elem_id="many-files")
        results = gr.HTML(visible=False, elem_id="many-results")
        csv_file = gr.DownloadButton("Download as CSV, with all probabilities", visible=False, elem_id="many-csv")
    outputs = [label, words, timeline, picture]
    page = gr.State({})
    # An answer stands beside its own sound only: it goes as soon as the sound changes, and none comes where there is an error.
    # The next sound may come while one is listened to. With `cancels` that one would go on beside the limit of the models.
    often: dict[str, Any] = {"trigger_mode": "multiple"}
    change = upload.change(listener.begin, [upload, page], outputs, queue=False, **often, **QUIET)
    # An animation would take from the processor on which a short sound is answered in no time; a clock tells of a long one.
    clock: Any = {"show_progress": "minimal", "show_progress_on": picture}
    change.then(listener.one, [upload, page], outputs, **often, **clock, **ON_MODELS, **PRIVATE)
    several.change(listener.many, several, [results, csv_file], show_progress_on=several, **ON_MODELS, **PRIVATE)
    picture.hear(position, None, upload, queue=False, **QUIET).then(None, js=PLAY_JS)
    for name, button in buttons.items():
        button.click(partial(sample, name), None, upload, **ON_MODELS, **PRIVATE)
    return upload
