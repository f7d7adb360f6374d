"""Colours and fonts: a colour for each genre, and a theme whose texts have a contrast of at least 4.5 to 1."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

# each readable under white letters
COLOURS = {
    "blues": "#1d4ed8", "classical": "#6d28d9", "country": "#92610a", "disco": "#be185d", "hiphop": "#c2410c",
    "jazz": "#0f766e", "metal": "#4b5563", "pop": "#a21caf", "reggae": "#15803d", "rock": "#b91c1c",
}  # fmt: skip


def colour_of(genre: str) -> str:
    """A genre's colour; one that is new gets one of the ten, always the same."""
    return COLOURS.get(genre) or list(COLOURS.values())[sum(map(ord, genre)) % len(COLOURS)]


def genre_css(genres: Sequence[str]) -> str:
    """Rules that give each genre's button its colour."""
    # a "<" would end the style that the rules stand in
    quoted = {genre: genre.replace("\\", "\\\\").replace('"', '\\"').replace("<", "\\3c ") for genre in genres}
    return "\n".join(f'#genre label:has(input[value="{quoted[g]}"]) {{ --genre: {colour_of(g)} }}' for g in genres)


def theme() -> gr.themes.Base:
    """Gradio's soft theme with darker labels and help, and with fonts that need no download."""
    return gr.themes.Soft(
        primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    ).set(
        block_title_text_color="*neutral_800", block_title_text_color_dark="*neutral_100",
        block_title_background_fill="transparent", block_title_background_fill_dark="transparent", block_title_padding="0",
        block_label_text_color="*neutral_700", block_label_text_color_dark="*neutral_100",
        block_label_background_fill="*neutral_100", block_label_background_fill_dark="*neutral_700",
        block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300",
        button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600", button_primary_background_fill_hover_dark="*primary_700",
        input_placeholder_color="*neutral_500", input_placeholder_color_dark="*neutral_400",
        input_border_width="1px", input_border_color="*neutral_300", input_border_color_dark="*neutral_600",
        checkbox_border_width="1px", checkbox_border_color="*neutral_500", checkbox_border_color_dark="*neutral_400",
        slider_color="*primary_600", slider_color_dark="*primary_400",
        link_text_color="*primary_700", link_text_color_dark="*primary_300",
    )  # fmt: skip
