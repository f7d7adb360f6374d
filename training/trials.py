"""One trial of the report: slices as arrays, a classifier or a GAN trained on them in memory, and what it scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genre_gan.audio import SAMPLE_RATE_HZ
from genre_gan.data.cache import FeatureStore, Segments
from genre_gan.features import FeatureConfig, FeatureExtractor
from genre_gan.generate import GenreGenerator, WaveformModel
from genre_gan.models.classifier import GenreLSTM, LSTMConfig
from genre_gan.models.waveform import WaveformDiscriminator, WaveformGANConfig, WaveformGenerator
from training.scores import balanced
from training.waveform_task import WHOLE_TRACK_S

NO_TRACK = -1
STATISTICS_CLIPS = 3  # of each genre


@dataclass(frozen=True)
class Items:
    """Slices ready to train on: arrays of one length n.

    Attributes:
        features: float32 [shape=(n, n_frames, n_features)], zero beyond an item's end.
        n_frames: [shape=(n,)] lengths without that padding.
        genre_ids: [shape=(n,)].
        tracks: [shape=(n,)] index of the track in its store; `NO_TRACK` for generated sound.
    """

    features: np.ndarray
    n_frames: np.ndarray
    genre_ids: np.ndarray
    tracks: np.ndarray

    def __len__(self) -> int:
        return len(self.tracks)

    def pick(self, indices: np.ndarray) -> Items:
        return Items(self.features[indices], self.n_frames[indices], self.genre_ids[indices], self.tracks[indices])


def join(parts: Sequence[Items]) -> Items:
    """All of these, which must be of one length in frames."""
    return Items(*(np.concatenate(arrays) for arrays in zip(*(vars(part).values() for part in parts), strict=True)))


def read_items(store: FeatureStore, segments: Segments) -> Items:
    """Read slices into memory."""
    features = np.zeros((len(segments), int(segments.n_frames.max()), store.config.n_features), np.float32)
    for row, (track, start, n_frames) in enumerate(zip(segments.track, segments.start, segments.n_frames, strict=True)):
        features[row, :n_frames] = store.read(int(track), int(start), int(n_frames))
    genre_id = {genre: i for i, genre in enumerate(store.tracks.genres)}
    genre_ids = np.array([genre_id[store.tracks.genre_names[track]] for track in segments.track])
    return Items(features, segments.n_frames, genre_ids, segments.track)


@dataclass(frozen=True)
class Phase:
    """So many epochs on these items."""

    items: Items
    epochs: int


def train_classifier(
    config: LSTMConfig, phases: Sequence[Phase], valid: Items, optimizer: str, seed: int, batch_size: int = 64
) -> tuple[GenreLSTM, list[dict[str, float]]]:
    """Train the report's plain LSTM; each genre found weighs the same in the loss, however many items it has.

    The features are standardised by the last phase's items. Arithmetic is bfloat16 where autocast allows it.

    Args:
        optimizer: `adam` (learning rate 0.001) or `sgd` (0.01, momentum 0.9).

    Returns:
        The model in evaluation mode, and of each epoch the loss and accuracy in training and on `valid`.
    """
    torch.manual_seed(seed)
    model = GenreLSTM(config)
    frames = phases[-1].items.features[np.arange(phases[-1].items.features.shape[1]) < phases[-1].items.n_frames[:, None]]
    model.feature_mean.copy_(torch.from_numpy(frames.mean(0)))
    model.feature_std.copy_(torch.from_numpy(frames.std(0) + 1e-3))
    if optimizer == "adam":
        optim: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    else:
        optim = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9)
    rng = np.random.default_rng(seed)
    curve = []
    for phase in phases:
        counts = np.bincount(phase.items.genre_ids, minlength=len(config.genres))
        balance = np.where(counts > 0, counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0.0)
        class_weights = torch.from_numpy(balance.astype(np.float32))
        for _ in range(phase.epochs):
            sums = np.zeros(2)
            model.train()
            for rows in np.array_split(rng.permutation(len(phase.items)), -(-len(phase.items) // batch_size)):
                sums += len(rows) * _classifier_step(model, optim, phase.items.pick(rows), class_weights)
            loss, accuracy = sums / len(phase.items)
            scores = score(predict(model, valid), valid)
            found = {"valid loss": scores["loss"], "valid accuracy": scores["slice accuracy"]}
            curve.append({"loss": loss, "accuracy": accuracy} | found)
    return model.eval(), curve


def _classifier_step(model: GenreLSTM, optim: torch.optim.Optimizer, batch: Items, class_weights: Tensor) -> np.ndarray:
    genre_ids = torch.from_numpy(batch.genre_ids)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.from_numpy(batch.features), torch.from_numpy(batch.n_frames)).float()
    loss = (class_weights[genre_ids] * F.cross_entropy(logits, genre_ids, reduction="none")).mean()
    optim.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optim.step()
    return np.array([float(loss.detach()), float((logits.argmax(1) == genre_ids).float().mean())])


@torch.inference_mode()
def predict(model: GenreLSTM, items: Items, batch_size: int = 256) -> np.ndarray:
    """Probabilities [shape=(n, n_genres)] of each item."""
    model.eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits = [
            model(torch.from_numpy(items.features[i : i + batch_size]), torch.from_numpy(items.n_frames[i : i + batch_size]))
            for i in range(0, len(items), batch_size)
        ]
    return torch.cat(logits).float().softmax(1).numpy()


def score(probabilities: np.ndarray, items: Items) -> dict:
    """Mean loss, accuracy by slice and by track (mean probability of its slices), both also balanced, and the confusion matrix.

    "Balanced" is the mean over the genres found of each one's accuracy. `confusion[i][j]` counts tracks of genre i named j.
    """
    guesses = probabilities.argmax(1)
    names, of_track = np.unique(items.tracks, return_inverse=True)
    track_sums = np.zeros((len(names), probabilities.shape[1]))
    np.add.at(track_sums, of_track, probabilities)
    track_truth = np.zeros(len(names), np.int64)
    track_truth[of_track] = items.genre_ids
    track_guesses = track_sums.argmax(1)
    confusion = np.zeros((probabilities.shape[1],) * 2, np.int64)
    np.add.at(confusion, (track_truth, track_guesses), 1)
    return {
        "loss": float(-np.log(probabilities[np.arange(len(items)), items.genre_ids] + 1e-9).mean()),
        "slice accuracy": float((guesses == items.genre_ids).mean()),
        "balanced slice accuracy": balanced(guesses == items.genre_ids, items.genre_ids),
        "track accuracy": float((track_guesses == track_truth).mean()),
        "balanced track accuracy": balanced(track_guesses == track_truth, track_truth),
        "confusion": confusion.tolist(),
    }


def train_gan(
    config: WaveformGANConfig, store: FeatureStore, segments: Segments, epochs: int, seed: int, batch_size: int
) -> tuple[GenreGenerator, list[dict[str, float]]]:
    """Train a waveform GAN the report's way: each step makes fakes, trains D on real and fake, then trains G.

    Args:
        store: of the `waveform`; every genre of `config` must occur in `segments`.

    Returns:
        The pipeline that generates, and of each epoch the mean losses and the mean logits on real and on fake.
    """
    torch.manual_seed(seed)
    generator, discriminator = WaveformGenerator(config), WaveformDiscriminator(config)
    optimizers = [torch.optim.Adam(net.parameters(), 2e-4, betas=(0.5, 0.999)) for net in (generator, discriminator)]
    genre_id = {genre: i for i, genre in enumerate(config.genres)}
    genre_ids = np.array([genre_id[store.tracks.genre_names[track]] for track in segments.track])
    rng = np.random.default_rng(seed)
    curve = []
    for _ in range(epochs):
        rows_of_steps = np.array_split(rng.permutation(len(segments)), -(-len(segments) // batch_size))
        steps = []
        for rows in rows_of_steps:
            real = torch.zeros(len(rows), config.n_samples)
            for k, i in enumerate(rows):
                samples = store.read(int(segments.track[i]), int(segments.start[i]), int(segments.n_frames[i]))[:, 0]
                real[k, : len(samples)] = torch.from_numpy(samples)[: config.n_samples]
            steps.append(_gan_step(generator, discriminator, optimizers, real, torch.from_numpy(genre_ids[rows])))
        curve.append({name: float(np.mean([step[name] for step in steps])) for name in steps[0]})
    return GenreGenerator(WaveformModel(generator.eval())), curve


def _gan_step(
    generator: WaveformGenerator, discriminator: WaveformDiscriminator, optimizers: list, real: Tensor, genre_ids: Tensor
) -> dict[str, float]:
    optimizer_g, optimizer_d = optimizers
    labels = F.one_hot(genre_ids, len(generator.config.genres)).float()

    def noise() -> Tensor:
        return torch.randn(len(real), generator.config.latent_dim)

    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            fake = generator(noise(), labels)
        on_real, on_fake = discriminator(real, genre_ids).float(), discriminator(fake, genre_ids).float()
    loss_d = F.binary_cross_entropy_with_logits(on_real, torch.ones_like(on_real))
    loss_d = loss_d + F.binary_cross_entropy_with_logits(on_fake, torch.zeros_like(on_fake))
    optimizer_d.zero_grad()
    loss_d.backward()
    optimizer_d.step()

    with torch.autocast("cpu", torch.bfloat16):
        logits = discriminator(generator(noise(), labels), genre_ids).float()
    loss_g = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    optimizer_g.zero_grad()
    loss_g.backward()
    optimizer_g.step()
    values = {"loss D": loss_d, "loss G": loss_g, "logit real": on_real.mean(), "logit fake": on_fake.mean()}
    return {name: float(value.detach()) for name, value in values.items()}


@torch.inference_mode()
def generate_items(
    pipeline: GenreGenerator, counts: Mapping[str, int], features: FeatureConfig, genres: Sequence[str], clip_s: float, seed: int
) -> Items:
    """Slices of generated clips, in number as asked for each genre.

    Args:
        counts: slices wanted of each genre.
        features: of the classifier; its `segment_s` is the length of a slice.
        genres: the classifier's, whose order gives the ids.
        clip_s: length of one generated clip in seconds.
    """
    extractor = FeatureExtractor(features)
    length = features.segment_frames
    per_clip = int((1 + clip_s * features.sample_rate_hz // features.hop_length) // length)
    if per_clip < 1:
        raise ValueError(f"clip_s must be at least the length of a slice, {features.segment_s} s, got {clip_s}")
    parts = [Items(np.zeros((0, length, features.n_features), np.float32), *np.zeros((3, 0), np.int64))]
    for genre_id, genre in enumerate(genres):
        n_wanted = counts.get(genre, 0)
        for clip_number in range(-(-n_wanted // per_clip)):
            clip = pipeline.generate(genre, clip_s, seed=seed * 1_000_000 + genre_id * 10_000 + clip_number)
            values = extractor(torch.from_numpy(clip.samples)[None])[0, : per_clip * length].numpy()
            n = min(per_clip, n_wanted - clip_number * per_clip)
            slices = values.reshape(per_clip, length, -1)[:n]
            parts.append(Items(slices, np.full(n, length), np.full(n, genre_id), np.full(n, NO_TRACK)))
    return join(parts)


def sound_statistics(samples: np.ndarray, sample_rate_hz: int) -> tuple[float, np.ndarray]:
    """Spectral flatness of a clip [0 for a tone, 1 for white noise], and its mean mel spectrum in dB with its mean taken off."""
    import librosa

    flatness = float(librosa.feature.spectral_flatness(y=samples).mean())
    mel_power = librosa.feature.melspectrogram(y=samples, sr=sample_rate_hz, n_mels=64).mean(1)
    level_db = 10.0 * np.log10(np.maximum(mel_power, 1e-10))
    return flatness, level_db - level_db.mean()


def gan_segments(store: FeatureStore, tracks: np.ndarray, whole_track: bool) -> Segments:
    """Slices of 4 s, or each track as one slice of up to 30 s."""
    if not whole_track:
        return store.segments(tracks)
    longest = round(WHOLE_TRACK_S * SAMPLE_RATE_HZ)
    return Segments(np.asarray(tracks), np.zeros(len(tracks), np.int64), np.minimum(store.n_frames[tracks], longest))


def compare_sound(store: FeatureStore, segments: Segments, pipelines: Sequence[GenreGenerator], clip_s: float) -> dict:
    """For each genre the spectral flatness of real and of generated clips, and how far their mean mel spectra are apart in dB."""
    names = np.array(store.tracks.genre_names)[segments.track]
    result = {}
    for pipeline in pipelines:
        for genre in pipeline.genres:
            members = np.flatnonzero(names == genre)
            chosen = members[np.linspace(0, len(members) - 1, min(STATISTICS_CLIPS, len(members))).astype(int)]
            places = [(int(segments.track[i]), int(segments.start[i]), int(segments.n_frames[i])) for i in chosen]
            real = [sound_statistics(store.read(*place)[:, 0], SAMPLE_RATE_HZ) for place in places]
            fake = [sound_statistics(*pipeline.generate(genre, clip_s, seed)) for seed in range(STATISTICS_CLIPS)]
            (real_flatness, real_db), (fake_flatness, fake_db) = (
                (float(np.mean([f for f, _ in clips])), np.mean([db for _, db in clips], 0)) for clips in (real, fake)
            )
            distance_db = float(np.sqrt(np.mean(np.square(real_db - fake_db))))
            result[genre] = {"real flatness": real_flatness, "flatness": fake_flatness, "spectrum distance dB": distance_db}
    return result
