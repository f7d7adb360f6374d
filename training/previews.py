"""What people look at and listen to while a generator trains."""

from __future__ import annotations

from pathlib import Path

from genre_gan.files import file_names
from genre_gan.generate import GenreGenerator
from genre_gan.plots import mel_figure, save_figure

PREVIEW_SEED = 0


def write_previews(pipeline: GenreGenerator, folder: Path, duration_s: float) -> None:
    """A clip and a spectrogram for each genre, through the pipeline that users have."""
    clips = [pipeline.generate(genre, duration_s, PREVIEW_SEED) for genre in pipeline.genres]
    for name, clip in zip(file_names(pipeline.genres), clips, strict=True):
        clip.save(folder / f"{name}.wav")
    save_figure(mel_figure(clips, pipeline.genres, columns=2), folder / "spectrograms.png")
