"""What is settled before the spectral generator learns: its shape and beginning, what it remembers of its music, the codec's
scales, fitted to music, filters through which MusiCNN hears latents, and the clusters of the tracks."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from genre_gan.data.cache import FeatureStore, code_version, one_at_a_time, save_array
from genre_gan.data.latents import CODE, LatentStore, level
from genre_gan.features import MUSICNN_SAMPLE_RATE_HZ, musicnn_log_mel
from genre_gan.hub import packaged_weights
from genre_gan.models.codec import Codec
from genre_gan.models.generator import N_KEYS, N_QUANTILES, SpectralGANConfig, SpectralGenerator
from genre_gan.models.musicnn import MusiCNN
from genre_gan.models.projected import MusiCNNOfLatents
from training.clusters import find_clusters
from training.launch import check_precision, is_main_process
from training.paired_crops import PairedCrops

SEMITONES = (-2, -1, 0, 1, 2)  # by which tracks are transposed
OF_LABELS = ("genre_embedding.weight", "tempo_quantiles_bpm", "key_shares", "gain", "centre", "colours")  # a row for each


def generator_config(genres: tuple[str, ...], widths: Sequence[int], n_clusters: int, codec: Codec) -> SpectralGANConfig:
    """The shape of a generator of these genres for a codec; `widths` are those of its levels, from the coarsest."""
    return SpectralGANConfig(
        genres=genres,
        n_coefficients=codec.config.n_coefficients,
        n_rows=codec.config.n_rows,
        latent_rate_hz=codec.config.latent_rate_hz,
        widths=tuple(widths),
        n_clusters=n_clusters,
    )


def read_beginning(folder: Path, config: SpectralGANConfig) -> SpectralGenerator:
    """A generator that begins as the one in `folder`; where that knows a genre as a whole, so begin all of its clusters.

    Raises:
        ValueError: it has another shape or other genres, or has been fine-tuned.
    """
    beginning = SpectralGenerator.load(folder)
    if beginning.config.n_instances:
        raise ValueError(f"--start-from {folder}: this generator has been fine-tuned; tune_cgan.py goes on with it")
    theirs, ours = asdict(beginning.config), asdict(config)
    if theirs["n_clusters"] == 1:
        theirs["n_clusters"] = config.n_clusters
    differing = [f"{name} {theirs[name]!r} there, {ours[name]!r} here" for name in ours if theirs[name] != ours[name]]
    if differing:
        raise ValueError(
            f"--start-from {folder}: it cannot be gone on from, its {'; '.join(differing)}. Choose the same with --genres, "
            "--widths and --clusters, or begin without --start-from"
        )
    if beginning.config == config:
        return beginning
    generator, weights = SpectralGenerator(config), beginning.state_dict()
    of_labels = {name: weights[name].repeat_interleave(config.n_clusters, 0) for name in OF_LABELS}
    generator.load_state_dict(generator.state_dict() | weights | of_labels)
    return generator


def remember_music(generator: SpectralGenerator, source: PairedCrops) -> None:
    """How much of each genre's music is of each cluster, and what tempos and keys it has, every track alike at each pitch."""
    if generator.config.n_clusters > 1:
        generator.cluster_shares.copy_(torch.from_numpy(source.cluster_shares()))
    latents = source.store
    for label in range(generator.config.n_labels):
        members = np.flatnonzero(source.labels == label)
        tempos_bpm = [latents.tempo_bpm(int(track)) for track in members if len(latents.beats_s[track]) >= 4] or [120.0]
        quantiles = np.quantile(tempos_bpm, np.linspace(0.0, 1.0, N_QUANTILES))
        generator.tempo_quantiles_bpm[label] = torch.from_numpy(quantiles)
        counts = np.bincount(latents.keys[members], minlength=N_KEYS + 1)
        if len(members):
            generator.key_shares[label] = torch.from_numpy(counts / counts.sum())


def fit_codec(codec: Codec, store: FeatureStore, tracks: np.ndarray, seed: int, n_crops: int = 250) -> None:
    """Set the codec's scales from crops of these tracks."""
    codec.fit(codec.analyze(torch.from_numpy(_draw_crops(store, tracks, 2.2, seed, n_crops))))


def listen(
    args: argparse.Namespace, store: FeatureStore, tracks: np.ndarray, codec: Codec, n_clusters: int
) -> tuple[LatentStore, MusiCNNOfLatents, np.ndarray]:
    """Latents of these tracks, MusiCNN that hears latents, and the tracks' clusters: what takes long and is kept in the cache."""
    latents = LatentStore(store, tracks, codec, SEMITONES, args.cache_dir, progress=is_main_process())
    dtype = torch.float32 if check_precision(args) == "no" else torch.bfloat16
    listener = _fitted_listener(store, tracks, latents, codec, args.seed, dtype)
    return latents, listener, _clusters_of(store, tracks, latents, listener, n_clusters, args.seed)


def _fitted_listener(
    store: FeatureStore, tracks: np.ndarray, latents: LatentStore, codec: Codec, seed: int, dtype: torch.dtype, n_crops: int = 200
) -> MusiCNNOfLatents:
    """MusiCNN behind filters that make of the codec's spectrograms what it knows.

    They are fitted once, on crops of these tracks, and kept in the cache.
    """
    import soxr

    listener = MusiCNNOfLatents(codec, MusiCNN.load(packaged_weights("musicnn")), dtype)

    def fit() -> np.ndarray:
        settings = codec.config.features
        crops = _draw_crops(store, tracks, 3.0, seed, n_crops)
        wanted = np.stack([soxr.resample(crop, settings.sample_rate_hz, MUSICNN_SAMPLE_RATE_HZ) for crop in crops])
        log_mel = torch.cat([codec.analyze(part) for part in torch.from_numpy(crops).split(20)])
        heard = torch.cat([musicnn_log_mel(part) for part in torch.from_numpy(wanted).split(20)])
        error = listener.fit(log_mel, heard)
        print(f"MusiCNN hears the codec's spectrograms to within {error:.3f} of its own", flush=True)
        return listener.filters.numpy()

    content = [code_version(*CODE, "models/musicnn.py", "models/projected.py"), seed, n_crops]
    listener.filters.copy_(torch.from_numpy(kept(latents.folder, "listener", content + content_keys(store, tracks), fit)))
    return listener


def _clusters_of(
    store: FeatureStore, tracks: np.ndarray, latents: LatentStore, listener: MusiCNNOfLatents, n_clusters: int, seed: int
) -> np.ndarray:
    """`find_clusters`, found once for these tracks and kept in the cache, whatever becomes of codec and code.

    A digit in the last place can number k-means' clusters otherwise, and weights know them by their numbers.
    """
    content = [n_clusters, seed, *content_keys(store, tracks)]
    return kept(latents.folder.parent, "clusters", content, lambda: find_clusters(latents, listener, n_clusters, seed))


def content_keys(store: FeatureStore, tracks: np.ndarray) -> list[str]:
    """By which the cache knows these tracks."""
    return [store.content_key(int(track)) for track in tracks]


def kept(folder: Path, name: str, content: list, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` makes of `content`, from the cache where it is there; of several processes one works and the rest wait."""
    path = folder / f"{name}-{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}.npy"
    with one_at_a_time(folder):
        if not path.exists():
            save_array(path, make())
    return np.load(path)


def _draw_crops(store: FeatureStore, tracks: np.ndarray, duration_s: float, seed: int, n_crops: int) -> np.ndarray:
    """Levelled samples float32 [shape=(n, n_samples)], one crop of a track that is long enough."""
    rng, rate_hz = np.random.default_rng(seed), store.config.sample_rate_hz
    n_samples = round(duration_s * rate_hz)
    crops: list[np.ndarray] = []
    for track in rng.permutation(tracks):
        if store.n_frames[track] >= n_samples and len(crops) < n_crops:
            start = int(rng.integers(0, store.n_frames[track] - n_samples + 1))
            crops.append(level(store.read(int(track), start, n_samples)[:, 0], rate_hz))
    if not crops:
        raise ValueError(f"no track lasts {duration_s:g} s, which is what the codec and the listener are fitted on")
    return np.stack(crops)
