"""Measure how fast everything is, as one table.

    python training/benchmark.py
    python training/benchmark.py --json benchmark.json --markdown training/results/benchmark.md
    python training/benchmark.py --only features generation --threads 2
    python training/benchmark.py --only page --markdown training/results/page.md

On one thread, the default, times are processor times of this process: other programs' load hardly changes them, and on an
idle machine they are what a clock shows. On more threads they are what the clock shows, and those of the page in a browser always
are. What is compared is measured in turns within one run. Music, where some is needed, is made of tones, so that nothing has to
be downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import psutil
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from genre_gan import Clip, GenreClassifier, GenreGenerator
from genre_gan.audio import SAMPLE_RATE_HZ
from genre_gan.features import FeatureConfig, FeatureExtractor
from genre_gan.files import write_bytes
from genre_gan.markdown import table
from training.arguments import positive_int, run_script
from training.benchmark_page import measure_page, running_app
from training.benchmark_training import measure_memory, measure_training
from training.stopwatch import ROOT, Row, processor_name, seconds, tones

GENERATORS = ("cnn", "fcn", "mel")  # those that ship inside the package
CLIP_S, GENERATED_S = 30.0, 10.0
N_FILES = 12


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP",
                        help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--threads", type=positive_int, default=1, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    return parser.parse_args(argv)


def measure_features() -> Iterator[Row]:
    """The same values as librosa's, and how many times as fast."""
    import librosa

    samples, rate_hz = tones(CLIP_S), SAMPLE_RATE_HZ
    batch = torch.from_numpy(samples)[None]
    by_librosa = {
        "log-mel": lambda: librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate_hz), amin=1e-10, top_db=None),
        "mfcc": lambda: librosa.feature.mfcc(y=samples, sr=rate_hz, n_mfcc=13),
    }
    for name, theirs in by_librosa.items():
        extractor = FeatureExtractor(FeatureConfig(name))
        difference = float(np.abs(extractor(batch)[0].numpy().T - theirs()).max())
        ours_s, theirs_s, transforms_s = seconds(partial(extractor, batch), theirs, partial(_transforms, extractor.config, batch))
        note = f"{1e3 * ours_s:.1f} ms, of which Fourier transforms alone take {1e3 * transforms_s:.1f} ms, against "
        note += f"{1e3 * theirs_s:.1f} ms for {CLIP_S:.0f} s; largest difference {difference:.1g}"
        yield Row("features", f"{name} against librosa", theirs_s / ours_s, "times as fast", ">=5", note)


def _transforms(config: FeatureConfig, samples: Tensor) -> None:
    """The windowed Fourier transforms that any such features begin with, as many at once as are fastest."""
    window = torch.hann_window(config.n_fft)
    for frames in samples.unfold(1, config.n_fft, config.hop_length).split(128, 1):
        torch.fft.rfft(frames * window)


def measure_classification() -> Iterator[Row]:
    classifier = GenreClassifier.from_pretrained()
    clip = Clip(tones(CLIP_S), SAMPLE_RATE_HZ)
    for audio_format in ("wav", "mp3"):
        data = clip.encode(audio_format)
        (took_s,) = seconds(partial(classifier.classify, data))
        note = f"{1e3 * took_s:.0f} ms to decode, extract and classify {CLIP_S:.0f} s"
        yield Row("classification", f"classify {audio_format}", CLIP_S / took_s, "times real time", "", note)
    files = [clip.encode("wav")] * N_FILES
    one_by_one_s, together_s = seconds(
        lambda: [classifier.classify(data) for data in files], lambda: list(classifier.classify_many(files))
    )
    note = f"{1e3 * together_s / N_FILES:.0f} ms for each of {N_FILES} files of {CLIP_S:.0f} s, "
    note += f"{one_by_one_s / together_s:.2f} times as fast as one by one; the aim is three times 30 s in 120 ms"
    yield Row("classification", "classify many wav", CLIP_S * N_FILES / together_s, "times real time", ">=750", note)


def measure_generation() -> Iterator[Row]:
    for name in GENERATORS:
        pipeline = GenreGenerator.from_pretrained(name)
        genre = pipeline.genres[0]
        whole_s, first_s = seconds(
            partial(pipeline.generate, genre, GENERATED_S, seed=1), partial(_first_chunk, pipeline, genre)
        )
        note = f"{1e3 * whole_s:.0f} ms for {GENERATED_S:.0f} s"
        yield Row("generation", f"generate with {name}", GENERATED_S / whole_s, "times real time", ">=150", note)
        yield Row("generation", f"first chunk from {name}", 1e3 * first_s, "ms", "<30", "until the stream's first sound")


def _first_chunk(pipeline: GenreGenerator, genre: str) -> None:
    next(pipeline.generate(genre, GENERATED_S, seed=1, stream=True))


def measure_start() -> Iterator[Row]:
    numpy_s, package_s, torch_s, help_s = (
        min(_processor_seconds(words) for _ in range(3))
        for words in (["-c", "import numpy"], ["-c", "import genre_gan"], ["-c", "import torch"], ["app.py", "--help"])
    )
    note = f"{package_s:.2f} s against {numpy_s:.2f} s for numpy alone and {torch_s:.2f} s for torch alone"
    yield Row("start", "import genre_gan", package_s - numpy_s, "s beyond numpy's", "<0.3", note)
    yield Row("start", "python app.py --help", help_s, "s", "<1", "processor time")
    with running_app() as app:
        yield Row("start", "python app.py until it answers", app.started_cpu_s, "s", "<5", "processor time")


def _processor_seconds(words: list[str]) -> float:
    """What a Python process takes from its start to its end."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, cwd=ROOT, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


GROUPS = {
    "features": measure_features,
    "classification": measure_classification,
    "generation": measure_generation,
    "training": measure_training,
    "memory": measure_memory,
    "start": measure_start,
    "page": measure_page,
}


def page(rows: list[Row], args: argparse.Namespace, load: float) -> str:
    """The machine, how busy it was, the command that the figures belong to, and a table of them."""
    only = "" if args.only == list(GROUPS) else f" --only {' '.join(args.only)}"
    kind = "time on the clock" if args.threads > 1 else "processor time, of the page in a browser time on the clock"
    cells = ((row.what, f"{row.value:.3g}", row.unit, row.target, row.verdict, row.note) for row in rows)
    return (
        f"# Benchmark\n\n`python training/benchmark.py{only} --threads {args.threads}`: {kind}, {args.threads} thread(s), "
        f"torch {torch.__version__}, Python {platform.python_version()}, {processor_name()}, {os.cpu_count()} cores, "
        f"load before it {load:.1f}.\n\n"
        f"{table(('what', 'figure', 'unit', 'target', 'met', 'how'), cells)}\n"
    )


def run_benchmark(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    rows, load = [], psutil.getloadavg()[0]
    with threadpool_limits(args.threads):  # numpy's threads too: while they wait they use a processor, whose time would count
        for row in chain.from_iterable(GROUPS[group]() for group in args.only):
            print(f"{row.what}: {row.value:.3g} {row.unit} {row.note}", file=sys.stderr)
            rows.append(row)
    text = page(rows, args, load)
    print(text)
    if args.json is not None:
        record = {"machine": processor_name(), "threads": args.threads, "rows": [row._asdict() for row in rows]}
        write_bytes(args.json, (json.dumps(record, indent=1) + "\n").encode())
    if args.markdown is not None:
        write_bytes(args.markdown, text.encode())


def main(argv: list[str] | None = None) -> None:
    run_script(run_benchmark, parse_args(argv))


if __name__ == "__main__":
    main()
