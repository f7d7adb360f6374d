"""The evaluation of generators as a page of Markdown, made from what stands in the JSON beside it."""

from __future__ import annotations

from genre_gan.markdown import interval, table

MEASURES = {
    "kernel": "kernel distance", "frechet": "Fréchet distance", "consistency": "consistency", "precision": "precision",
    "recall": "recall", "diversity": "diversity", "copied": "copied",
}  # fmt: skip
DIGITS = {"kernel": 0, "frechet": 1, "diversity": 2}
STRUCTURE = {
    "harmonic_share": "harmonic share", "chroma_stability": "chroma stability", "chord_changes_hz": "chord changes a second",
    "beat_strength": "beat strength", "tempo_steadiness": "tempo steadiness", "self_similarity": "self-similarity",
}  # fmt: skip


def generator_page(report: dict) -> str:
    """All tables, with the protocol above them."""
    parts = [_protocol(report), _rows_table(report["rows"]), _genre_table(report["rows"])]
    if report["sound"]:
        parts.append(_sound_table(report["sound"]))
    if report["told_apart"]:
        parts.append(_told_apart(report["told_apart"]))
    if report["structure"]:
        parts.append(_structure_tables(report))
    if report["conditions"]:
        parts.append(_conditions_table(report))
    return "\n\n".join(parts) + "\n"


def _protocol(report: dict) -> str:
    reporting = report["embedding"] == "MTT_vgg"
    title = "# Generated music, measured" if reporting else "# Weights of a generator, measured to choose among them"
    choosing = "these figures choose weights, and are not to be reported"
    used = {
        "MTT_vgg": "takes part in no training and no choice of steps or candidates",
        "held_out": f"learned from the training side, and no generator from it: {choosing}",
        "MSD_musicnn": f"may have taken part in training: {choosing}",
    }[report["embedding"]]
    side = "the validation side" if report["embedding"] == "MSD_musicnn" else "other tracks of the training side"
    split = report["split"][:1].upper() + report["split"][1:]
    lines = [
        title,
        "",
        f"`{report['command']}`",
        "",
        f"Data: {', '.join(report['data'])}. {split}; seed {report['seed']}. All clips have {report['duration_s']:g} s, and "
        f"every row has the same genres, equally often. Embedding: `{report['embedding']}`, which {used}; a clip's is the mean "
        f"over its patches of 3 s. Reference: {report['n_reference']} clips of {side}. Intervals: 95 %, by bootstrap over a "
        "row's clips.",
        "",
        "Kernel distance: squared maximum mean discrepancy x 1000, unbiased, with the kernel exp(-d²/m²), m being the "
        "reference's median distance (KAD has 2 m²). Fréchet distance: biased upwards by the small n, alike in all rows. "
        "Consistency: share of clips in which a linear probe, fitted on the training side's real music alone, hears the genre "
        "asked for; chance is one over the number of genres. Precision and recall: Kynkäänniemi et al. (2019), 5 neighbours, "
        "outliers left out. "
        "Diversity: distance of two clips of one genre. Copied: share of clips that come nearer to any 3 s of the training "
        "side (every 0.256 s) than 95 % of unseen real clips do; 0.05 where nothing is copied. "
        "Generated clips are all equally loud; as loud as others, each has the loudness of one of them, of its genre, or as much "
        "of it as fits full scale.",
    ]
    if report["remark"]:
        lines += ["", report["remark"]]
    return "\n".join(lines)


def _rows_table(rows: list[dict]) -> str:
    body = ([row["name"], row["n"], *(interval(row[name], DIGITS.get(name, 2)) for name in MEASURES)] for row in rows)
    return table(["clips", "n", *MEASURES.values()], body)


def _genre_table(rows: list[dict]) -> str:
    genres = list(rows[0]["by_genre"])
    body = ([row["name"], *(f"{row['by_genre'][genre]:.2f}" for genre in genres)] for row in rows)
    return "Consistency by genre:\n\n" + table(["clips", *genres], body)


def _sound_table(rows: list[dict]) -> str:
    heads = ["clips", "loudness (LUFS)", "spread (LU)", "peak (dB)", "silent", "clipped", "hum (dB)", "error (dB)", "SC"]

    def cells(row: dict) -> list[str]:
        copied = ["", ""] if row["error_db"] is None else [f"{row['error_db']:.2f}", f"{row['convergence']:.3f}"]
        numbers = [f"{row[name]:.1f}" for name in ("loudness_lufs", "loudness_spread_lu", "peak_db")]
        return [row["name"], *numbers, f"{row['silent']:.2f}", f"{row['clipped']:.2f}", f"{row['hum_db']:.1f}", *copied]

    text = (
        "Levels and faults. Loudness: median, and distance from the 10th to the 90th percentile. Peak: the largest true peak. "
        "Hum: the strongest lasting peak of the average spectrum. Error and convergence (SC, relative): distance of a copy's "
        "spectrogram to its original's, on levels and on magnitudes."
    )
    return f"{text}\n\n{table(heads, map(cells, rows))}"


def _told_apart(found: dict) -> str:
    areas = " and ".join(f"**{area:.2f}**" for area in found["areas"])
    n_real, n_made = found["asked"]
    return (
        f"Told apart: small networks learned from scratch to tell {found['generated'] - n_made} generated clips from copies of "
        f"the training side's music through the codec, each as a clip of its genre. Asked about {n_made} other generated clips "
        f"and {n_real} copies of music of unseen artists, they have an area under the ROC curve of {areas}, one network after "
        "the other; by chance it is 0.5."
    )


def _structure_tables(report: dict) -> str:
    real, *others = report["structure"].items()

    def cells(name: str, means: dict[str, float]) -> list[str]:
        return [name, *(f"{means[key]:.2f} ({_change(means[key], real[1]['all'][key])})" for key in STRUCTURE)]

    body = [[real[0], *(f"{real[1]['all'][key]:.2f}" for key in STRUCTURE)], *(cells(name, by["all"]) for name, by in others)]
    generated = others[-1]
    genres = [genre for genre in real[1] if genre != "all"]
    by_genre = (
        [genre, *(f"{generated[1][genre][key]:.2f} / {real[1][genre][key]:.2f}" for key in STRUCTURE)] for genre in genres
    )
    text = (
        f"Structure of {report['structure_clips']} clips of {report['structure_s']:g} s for each of {len(genres)} genres, with "
        "the difference to real music. Harmonic share: energy in sustained partials. Chroma stability: likeness of the pitch "
        "classes of consecutive half seconds. Beat strength: autocorrelation of the onsets at the beat. Tempo steadiness: "
        "share of windows of 6 s with the clip's tempo. Self-similarity: of phrases of 2 s to the most similar one elsewhere "
        "in the clip."
    )
    heads = list(STRUCTURE.values())
    tables = table(["clips", *heads], body), f"By genre, {generated[0]} / real:", table(["genre", *heads], by_genre)
    return "\n\n".join([text, *tables])


def _conditions_table(report: dict) -> str:
    text = (
        "Asked for a key and a tempo from 75 to 160 beats a minute, both drawn at random, and the same clips without; looked for "
        "in the second half of each. Agreement: correlation with the key's profile (Krumhansl). By chance it fits best in 0.04 "
        "and is among the best three in 0.12. Tempo: within 4 %, or half or twice that."
    )
    heads = ["clips", "agreement with the key", "fits best", "among the best three", "tempo"]
    rows = ([name, *(f"{value:.2f}" for value in found.values())] for name, found in report["conditions"].items())
    return f"{text}\n\n{table(heads, rows)}"


def _change(value: float, real: float) -> str:
    return f"{100 * (value / real - 1):+.0f} %" if real else "-"
