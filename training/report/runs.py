"""What the runs of the report's experiments gave: a line of JSON for each, in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genre_gan.clip import Clip
from genre_gan.data.cache import FeatureStore
from genre_gan.files import write_bytes
from genre_gan.generate import GenreGenerator

NAME = "runs.jsonl"
MAX_CURVE_POINTS = 100
SOUND_CLIPS, SOUND_CLIP_S = 5, 4.0  # of each genre


class Runs:
    """Results of runs, of classifiers, which have a `row`, and of GANs, which have a `generator`."""

    def __init__(self, path: Path):
        self.path = path
        self.results: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def find(self, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """The run of the same name, protocol and seed, if it is there and lasted as long or longer, and its generators too.

        Raises:
            ValueError: it is there, and was made with other data.
        """
        found = next((result for result in self.results if _key(result) == _key(wanted)), None)
        if found is None:
            return None
        if found["data"] != wanted["data"]:
            raise ValueError(
                f"{', '.join(map(str, _key(wanted)))} in {self.path} was made with the data {found['data']}, "
                f"now {wanted['data']}: use another --output-dir, or delete that line"
            )
        is_done = all((found.get(name) or 0) >= (wanted.get(name) or 0) for name in ("epochs", "gan_epochs", "generator_steps"))
        return found if is_done else None

    def add(self, result: dict[str, Any]) -> None:
        """Add a result, its numbers to four places, in the place of a shorter run; the file is written aside and renamed."""
        rounded = json.loads(json.dumps(result), parse_float=lambda digits: round(float(digits), 4))
        self.results = [other for other in self.results if _key(other) != _key(result)] + [rounded]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path, "".join(json.dumps(line) + "\n" for line in self.results).encode())


def _key(result: Mapping[str, Any]) -> tuple[str, str, int]:
    return result.get("row") or result["generator"], result["protocol"], result["seed"]


def classifier_result(folder: Path, epochs: int) -> dict[str, Any]:
    """What a run of `train_lstm.py` left in its folder."""
    record = json.loads((folder / "result.json").read_text())
    names = ("split", "tracks_per_genre", "n_generated_slices", "train", "valid", "confusion")
    return {name: record[name] for name in names} | {"curve": read_curve(folder, epochs, record["steps"])}


def gan_result(folders: Sequence[Path], epochs: int, real: Mapping[str, Sequence[Clip]]) -> dict[str, Any]:
    """What runs of `train_cgan.py` left in their folders; curves are averaged where each genre has a GAN of its own."""
    generators = [GenreGenerator.from_pretrained(folder / "model") for folder in folders]
    records = [generator.model.training_record for generator in generators]
    curves = [read_curve(folder, epochs, record["steps"]) for folder, record in zip(folders, records, strict=True)]
    n_points = min(map(len, curves))
    labels = [(generator, genre) for generator in generators for genre in generator.genres if genre in real]
    return {
        "split": records[0]["split"],
        "tracks_per_genre": {genre: n for record in records for genre, n in record["tracks_per_genre"].items()},
        "curve": [_mean_of([curve[i] for curve in curves]) for i in range(n_points)],
        "sound": {genre: compare_sound(generator, genre, real[genre]) for generator, genre in labels},
    }


def steps_in_all(record: Mapping[str, Any]) -> int:
    """Steps of the training that a record tells of, and of those that it began with."""
    return record["steps"] + (steps_in_all(record["begun as"]) if "begun as" in record else 0)


def read_curve(folder: Path, epochs: int, n_steps: int) -> list[dict[str, float]]:
    """The logged numbers over the epochs, each point the mean of the steps about it."""
    rows = json.loads((folder / "history.json").read_text())
    rows = [{"epoch": row["step"] * epochs / n_steps} | row for row in rows]
    parts = np.array_split(np.arange(len(rows)), min(MAX_CURVE_POINTS, len(rows)))
    left_out = {"step", "learning rate", "samples per second", "waiting for data"}
    return [{name: value for name, value in _mean_of([rows[i] for i in part]).items() if name not in left_out} for part in parts]


def _mean_of(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each number over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def real_clips(store: FeatureStore) -> dict[str, list[Clip]]:
    """A few slices of each genre of a waveform store, spread over its tracks."""
    segments = store.segments()
    names = np.array(store.tracks.genre_names)[segments.track]
    places = np.stack([segments.track, segments.start, segments.n_frames], 1)
    clips = {}
    for genre in np.unique(names):
        rows = np.flatnonzero(names == genre)
        chosen = rows[np.linspace(0, len(rows) - 1, min(SOUND_CLIPS, len(rows))).astype(int)]
        clips[str(genre)] = [Clip(store.read(*place)[:, 0], store.config.sample_rate_hz) for place in places[chosen].tolist()]
    return clips


def compare_sound(generator: GenreGenerator, genre: str, real: Sequence[Clip]) -> dict[str, float]:
    """Spectral flatness of real and of generated clips, and how far their mean mel spectra are apart in dB."""
    made = [generator.generate(genre, SOUND_CLIP_S, seed) for seed in range(SOUND_CLIPS)]
    (real_flatness, real_db), (flatness, level_db) = (sound_statistics(clips) for clips in (real, made))
    distance_db = float(np.sqrt(np.mean(np.square(real_db - level_db))))
    return {"real flatness": real_flatness, "flatness": flatness, "spectrum distance dB": distance_db}


def sound_statistics(clips: Sequence[Clip]) -> tuple[float, np.ndarray]:
    """Mean spectral flatness of clips [0 for a tone, 1 for white noise], and their mean mel spectrum in dB without its mean."""
    import librosa

    flatness, spectra = [], []
    for samples, sample_rate_hz in clips:
        flatness.append(float(librosa.feature.spectral_flatness(y=samples).mean()))
        mel_power = librosa.feature.melspectrogram(y=samples, sr=sample_rate_hz, n_mels=64).mean(1)
        level_db = librosa.power_to_db(mel_power, top_db=None)
        spectra.append(level_db - level_db.mean())
    return float(np.mean(flatness)), np.mean(spectra, 0)
