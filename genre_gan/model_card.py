"""The README of a model's Hub repository: what it is, what it learned from, how good it is, its limits, how to load it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCardData, constants

from genre_gan.files import file_names
from genre_gan.markdown import table

_LICENCES = {
    "gtzan": "GTZAN states no licence: use for research",
    "mer4q": "the clips of Panda's 4Q set state no licence: use for research",
    "emotify": "Emotify is CC BY-NC-SA: non-commercial use, with attribution, under the same terms",
}


@dataclass(frozen=True)
class _Kind:
    """What is said of every model of one kind."""

    task: str | None
    tags: tuple[str, ...]
    what: str
    limits: str
    use: str


_GENERATOR = _Kind(
    "text-to-audio",
    ("audio-generation", "gan", "conditional-gan"),
    "A conditional GAN that makes short music of a genre: random numbers and a genre, or a blend of genres, become sound.",
    "It learned from little music and shows a method: clips are short of form, have no words to sing and are not of studio "
    "quality. It makes only the genres named here, and sounds like its training data, with the biases of that collection.",
    '''from genre_gan import GenreGenerator

clip = GenreGenerator.from_pretrained("{repo_id}"{revision}).generate({genre}, duration_s=8.0, seed=7)
clip.save("{file_name}.wav")''',
)
_CLASSIFIER = _Kind(
    "audio-classification",
    ("music-classification",),
    "It names the genre of a recording: slice by slice it says how likely each genre is, and then averages over the slices.",
    "It knows only the genres named here, as its training data draws their lines, and is often wrong on real recordings: read "
    "its percentages as hints. Sound that fits none of them should get \"not sure\", and does not always. The accuracy above "
    "holds for the split that is named with it; on other music expect less.",
    '''from genre_gan import GenreClassifier

print(GenreClassifier.from_pretrained("{repo_id}"{revision}).classify("song.mp3").probabilities)''',
)
_KINDS = {"lstm": _CLASSIFIER, "linear-probe": _CLASSIFIER}
_WAVEFORM_LIMITS = (
    " It works on the raw waveform and its discriminator wins early, as in the coursework report that it repeats: expect noise "
    "with a rhythm."
)


class _Metric(NamedTuple):
    split: str
    name: str
    value: float

    @property
    def is_count(self) -> bool:
        return self.name.startswith("n_")

    @property
    def title(self) -> str:
        words = self.name.removeprefix("n_").replace("_", " ")
        return f"number of {words}" if self.is_count else words


def model_card(
    config: Mapping[str, Any], paths: Sequence[str], repo_id: str, revision: str | None = None, license_id: str | None = None
) -> str:
    """Write the card.

    Args:
        config: the parsed `config.json`. Every mapping to numbers in its training record, such as `valid`, is shown as metrics.
        paths: all files of the repository, to show its pictures and sounds.
        revision: the branch that the card stands on, None for the main one.
        license_id: what the Hub calls the licence; None says that it follows from the training data.
    """
    kind = _KINDS.get(config["family"], _GENERATOR)
    record = config.get("training", {})
    metrics = list(_metrics(record))
    genres = list(config["model"].get("genres", ()))
    sections = [
        f"# {repo_id.partition('/')[2]}",
        kind.what,
        _facts(config, genres, paths),
        "## Load and use",
        _how_to_load(kind, genres, repo_id, revision),
        "## Data and licence",
        _data_and_licence(record, license_id),
        "## Training",
        _training(record),
        "## Metrics",
        _metric_table(metrics),
        *_pictures_and_sounds(paths, repo_id, revision),
        "## Limits",
        kind.limits + (_WAVEFORM_LIMITS if config["family"] == "waveform-gan" else ""),
    ]
    header = _header(kind, record, metrics, repo_id, license_id)
    return f"---\n{header.to_yaml()}\n---\n\n" + "\n\n".join(section for section in sections if section) + "\n"


def _header(kind: _Kind, record: Mapping, metrics: Sequence[_Metric], repo_id: str, license_id: str | None) -> ModelCardData:
    data = [str(source) for source in record.get("data", ())]
    results = [
        EvalResult(
            task_type=kind.task or "audio-to-audio",
            dataset_type=" + ".join(data) or "unknown",
            dataset_name=f"{' + '.join(data) or 'unknown'} ({record.get('split', 'split unknown')})",
            dataset_split=metric.split,
            metric_type="accuracy" if metric.name.endswith("accuracy") else metric.name,
            metric_name=metric.title,
            metric_value=metric.value,
        )
        for metric in metrics
        if not metric.is_count
    ]
    licence: dict[str, Any] = {"license": license_id} if license_id else {
        "license": "other",
        "license_name": "follows-from-the-training-data",
        "license_link": f"{constants.ENDPOINT}/{repo_id}#data-and-licence",
    }
    return ModelCardData(
        library_name="genre-gan",
        pipeline_tag=kind.task,
        tags=["music", "music-genre", *kind.tags],
        datasets=[source for source in data if source.count("/") == 1] or None,
        model_name=repo_id.partition("/")[2] if results else None,
        eval_results=results or None,
        **licence,
    )


def _metrics(record: Mapping) -> Iterator[_Metric]:
    for split, values in record.items():
        if not isinstance(values, Mapping) or split in ("tracks_per_genre", "begun as"):
            continue
        for name, value in values.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield _Metric(split, name, value)


def _facts(config: Mapping, genres: Sequence[str], paths: Sequence[str]) -> str:
    model = config["model"]
    rate_hz = model.get("sample_rate_hz") or model.get("features", {}).get("sample_rate_hz")
    parts = sorted(path.rpartition("/")[0] for path in paths if path.endswith("/config.json"))
    lines = [f"- family: `{config['family']}`" + (f", model `{model['model']}`" if "model" in model else "")]
    lines += [f"- genres: {', '.join(genres)}"] if genres else []
    lines += [f"- sample rate: {rate_hz} Hz, mono"] if rate_hz else []
    lines += [f"- parts in subfolders: {', '.join(parts)}"] if parts else []
    return "\n".join([*lines, "- every setting, the preprocessing's too: in each `config.json`"])


def _how_to_load(kind: _Kind, genres: Sequence[str], repo_id: str, revision: str | None) -> str:
    argument = f', revision="{revision}"' if revision else ""
    first = genres[0] if genres else ""
    genre = json.dumps(first, ensure_ascii=False)
    code = kind.use.format(repo_id=repo_id, revision=argument, genre=genre, file_name=file_names([first])[0])
    option = f" --revision {revision}" if revision else ""
    alone = f"The files alone: `hf download {repo_id}{option}`"
    return f"With the `genre-gan` package installed:\n\n```python\n{code}\n```\n\n{alone}"


def _data_and_licence(record: Mapping, license_id: str | None) -> str:
    data = [str(source) for source in record.get("data", ())]
    counts = ", ".join(f"{genre} {count}" for genre, count in record.get("tracks_per_genre", {}).items())
    lines = [f"Trained on: {', '.join(data) or 'not recorded'}."]
    if counts:
        lines[0] = f"Trained on: {', '.join(data)}; {record['tracks']} tracks ({counts})."
    known = [text for word, text in _LICENCES.items() if any(word in source.lower() for source in data)]
    if license_id:
        lines.append(f"The weights' licence, as their author states it: `{license_id}`.")
    else:
        lines.append("The code is Apache-2.0. The weights may be used as far as the music that they learned from allows:")
        lines.append("; ".join(known) + "." if known else "its terms are not recorded here, so ask whoever trained them.")
    return "\n".join(lines)


def _training(record: Mapping) -> str:
    if not record:
        return "Not recorded."
    named = ("split", "steps", "seed", "skipped")
    settings = [f"- {name}: {record[name]}" for name in named if name in record]
    command = f"```bash\n{record['command']}\n```\n\n" if "command" in record else ""
    text = command + "\n".join(settings)
    if "begun as" in record:
        text += f"\n\nIt began as the weights of another training:\n\n{_training(record['begun as'])}"
    return text


def _metric_table(metrics: Sequence[_Metric]) -> str:
    if not metrics:
        return "None were recorded with these weights."
    return table(["measured on", "what", "value"], [(m.split, m.title, f"{m.value:g}") for m in metrics])


def _pictures_and_sounds(paths: Sequence[str], repo_id: str, revision: str | None) -> Iterator[str]:
    address = f"{constants.ENDPOINT}/{repo_id}/resolve/{revision or 'main'}"
    pictures = [path for path in paths if path.endswith(".png")]
    sounds = [path for path in paths if path.endswith((".wav", ".flac", ".ogg", ".mp3"))]
    if pictures:
        yield "## Learning curve"
        yield "\n".join(f"![learning curve]({address}/{path})" for path in pictures)
    if sounds:
        yield "## Samples"
        rows = [(path.rpartition("/")[2].rpartition(".")[0], f"{address}/{path}") for path in sounds]
        yield table(["genre", "clip"], [(genre, f'<audio controls src="{link}"></audio>') for genre, link in rows])
