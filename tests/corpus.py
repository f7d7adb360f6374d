"""A file of sound for every container, codec, rate, width, channel count and damage, and whether each is read as it should be.

    python -m tests.corpus --output training/results/inputs.md

What needs ffmpeg or sox is made where they are installed. Every file must give sound of the right length within 2 %, or where it
is damaged say so, or be refused in plain words; in at most 2 s of processor time and 300 MB of memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genre_gan.audio import AudioError, load_audio
from genre_gan.files import write_bytes
from genre_gan.markdown import table
from tests.corpus_files import CUT, READ, REFUSED, Case, build

MAX_CPU_S, MAX_MEMORY_MB = 2.0, 300.0
N_READERS = 2
HEAD = """# What is read of any file

Synthesised files of every container, codec, rate, width, channel count and damage. What is read is within 2 % of the true
length, or, where a file is damaged, comes with a note that says so. Made with:

```bash
python -m tests.corpus --output {output}
```

"""


class Result(NamedTuple):
    """What happened: `wrong` says what should not have, or is empty."""

    case: Case
    outcome: str
    wrong: str
    message: str = ""


def check(case: Case) -> Result:
    """Read one file and compare with what should happen to it."""
    notes: list[str] = []
    before, children = cpu_s(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    try:
        clip = load_audio(case.path, on_note=notes.append)
        outcome, message, duration_s = "read", "; ".join(notes), clip.duration_s
        wrong = "" if np.isfinite(clip.samples).all() else "samples that are not finite"
    except AudioError as error:
        outcome, message, wrong, duration_s = "refused", str(error), "", 0.0
    except BaseException as error:
        return Result(case, "wrong", f"{type(error).__name__}: {error}")
    is_right = abs(duration_s - case.duration_s) <= 0.02 * case.duration_s
    if outcome == "refused" and case.expected == READ:
        wrong = f"refused: {message}"
    elif outcome == "read" and case.expected == REFUSED:
        wrong = f"taken for {duration_s:.2f} s of sound"
    elif outcome == "read" and case.expected == READ and not is_right:
        wrong = f"{duration_s:.2f} s in place of {case.duration_s:.2f} s"
    elif outcome == "read" and case.expected == READ and notes:
        wrong = f"a warning without cause: {message}"
    elif outcome == "read" and case.expected == CUT and duration_s < 0.98 * case.duration_s and not notes:
        wrong = f"{duration_s:.2f} of {case.duration_s:.2f} s without a word"
    spent_s = cpu_s() - before
    if spent_s > MAX_CPU_S:
        wrong = wrong or f"{spent_s:.1f} s of processor time"
    allowed_kb = max(children, MAX_MEMORY_MB * 1024, peak_mb() * 1024)  # a child's maximum begins at that of its parent
    if resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > allowed_kb:
        wrong = wrong or "more than 300 MB in ffmpeg"
    return Result(case, "wrong" if wrong else outcome, wrong, message)


def cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_mb() -> float:
    """The most memory that this program, not what started it, had at once."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def page(results: list[Result], growth_mb: float) -> str:
    """The results as Markdown."""
    rows = []
    for kind in [*dict.fromkeys(result.case.kind for result in results), "**all**"]:
        counts = Counter(result.outcome for result in results if kind in (result.case.kind, "**all**"))
        rows.append([kind, counts.total(), counts["read"], counts["refused"], counts["wrong"]])
    text = table(["kind", "cases", "read", "refused", "wrong"], rows)
    return f"{text}\n\nThe memory of the process grew by {growth_mb:.0f} MB at most."


def run(folder: Path) -> tuple[list[Result], float]:
    """Make and read all; the results, and by how many MB the memory of those that read grew at most.

    All happens in small processes of their own: on Linux a child's maximum begins at that of its parent.
    """
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as making, ProcessPoolExecutor(N_READERS, mp_context=spawn) as reading:
        cases = making.submit(build, folder).result()
        parts = list(reading.map(read_all, [cases[k::N_READERS] for k in range(N_READERS)]))
    return [result for results, _ in parts for result in results], max(growth_mb for _, growth_mb in parts)


def read_all(cases: list[Case]) -> tuple[list[Result], float]:
    check(cases[0])
    before = peak_mb()
    results = [check(case) for case in cases]
    return results, peak_mb() - before


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the table there")
    args = parser.parse_args(argv)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        results, growth_mb = run(Path(folder))
    for result in results:
        if result.wrong:
            print(f"{result.case.kind}: {result.case.path.name!r}: {result.wrong}")
    text = page(results, growth_mb)
    print(f"{text}\n{time.perf_counter() - start:.0f} s")
    if args.output:
        text = HEAD.format(output=args.output) + text + "\n"
        write_bytes(args.output, text.encode())


if __name__ == "__main__":
    main()
