"""Batches: what a step gets depends on the step alone, ranks divide it without overlap or loss, and noise belongs to rows."""

import gc
import itertools
import math
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard

from genre_gan.data.cache import FeatureStore
from genre_gan.data.sources import load_tracks
from genre_gan.features import FeatureConfig
from training import train_cgan
from training.arguments import TrainingError
from training.batches import Batch, Slices, _one_ahead, _Rows, _Sampler, check_batch_size, count_workers


@pytest.fixture
def store(music_folder) -> FeatureStore:
    return FeatureStore(load_tracks([str(music_folder)]), FeatureConfig("waveform", segment_s=1.0))


def batches(source, batch_size: int, rank: int = 0, n_ranks: int = 1, n_batches: int = 1, first_step: int = 0):
    """A rank's batches, as accelerate divides them."""
    sampler = _Sampler(source, batch_size, n_batches, seed=7)
    sampler.first_step = first_step
    rows = _Rows(source)
    for items in BatchSamplerShard(sampler, n_ranks, rank, split_batches=True, even_batches=False):
        yield rows.__getitems__(items)


def take(n: int, iterator) -> list[Batch]:
    return list(itertools.islice(iterator, n))


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_ranks_divide_batches_without_overlap_or_loss(n_ranks, store):
    source = Slices(store, store.segments(), 6, seed=7)
    whole = take(4, batches(source, 6))
    shares = [take(4, batches(source, 6, rank, n_ranks)) for rank in range(n_ranks)]
    for step in range(4):
        for field in range(len(Batch._fields)):
            assert torch.equal(torch.cat([share[step][field] for share in shares]), whole[step][field])
        assert torch.equal(torch.cat([share[step].randn(3) for share in shares]), whole[step].randn(3))


def test_every_slice_comes_once_an_epoch_in_another_order_and_any_step_can_be_the_first(store):
    source = Slices(store, store.segments(), 8, seed=7)
    assert len(source.segments) == 40 and source.steps_per_epoch == 5
    epochs = [np.concatenate([source.choose(5 * epoch + step) for step in range(5)]).tolist() for epoch in range(2)]
    segments = source.segments
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert sorted(epochs[0]) == np.stack([segments.track, segments.start, segments.n_frames], 1).tolist()
    assert epochs[0] != epochs[1]
    later = take(1, batches(source, 8, first_step=3))[0]
    assert torch.equal(later.features, take(4, batches(source, 8))[3].features)
    odd = Slices(store, store.segments(), 7, seed=7)  # batches over the seams of epochs lose nothing either
    rows = np.concatenate([odd.choose(step) for step in range(40)])
    assert set(np.unique(rows[:, :2], axis=0, return_counts=True)[1]) == {7}


def test_batches_whose_gradients_are_added_are_parts_of_a_larger_one(store):
    source = Slices(store, store.segments(), 8, seed=7)
    parts, (whole, _) = take(4, batches(source, 4, n_batches=2)), take(2, batches(source, 8))
    assert torch.equal(torch.cat([part.features for part in parts[:2]]), whole.features)
    assert torch.equal(torch.cat([part.randn(5) for part in parts[:2]]), whole.randn(5))


def keyed(n: int) -> Batch:
    keys = torch.from_numpy(np.random.SeedSequence([7, 0]).generate_state(n, np.uint64).view(np.int64))
    return Batch(torch.zeros(n, 1, 1), torch.ones(n), torch.zeros(n), torch.zeros(n, 0), keys)


def test_noise_is_normal_or_uniform_and_rows_draws_and_numbers_are_independent():
    batch = keyed(512)
    normal, uniform = batch.randn(1024).double(), batch.rand(1024).double()
    n = normal.numel()
    for power, moment, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        assert abs(normal.pow(power).mean().item() - moment) < 4 * math.sqrt(variance / n), power
    ordered = normal.flatten().sort().values
    distance = (torch.special.ndtr(ordered) - torch.arange(n) / n).abs().max().item()
    assert distance < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov, 0.1 %
    assert (uniform.flatten().sort().values - torch.arange(n) / n).abs().max().item() < 1.95 / math.sqrt(n)
    assert uniform.min() >= 0.0 and uniform.max() < 1.0
    for other in (normal.roll(1, 0), normal.roll(1, 1), batch.randn(1024, draw=1).double()):
        assert abs((normal * other).mean().item()) < 4 / math.sqrt(n)


def test_noise_has_any_shape_and_more_of_it_begins_alike():
    batch = keyed(3)
    assert batch.randn().shape == (3,) and batch.randn(2, 4).shape == (3, 2, 4) and batch.rand(5).shape == (3, 5)
    assert torch.equal(batch.randn(2, 4).flatten(1), batch.randn(8))
    assert torch.equal(batch.randn(8)[:, :3], batch.randn(3))
    assert not torch.equal(batch.randn(8), batch.randn(8, draw=1))


def test_rows_that_belong_together_stay_on_one_process():
    check_batch_size(16, 2, group_rows=4)
    with pytest.raises(TrainingError, match="--batch-size must be a multiple of 4 rows times the number of processes, 8, got 12"):
        check_batch_size(12, 2, group_rows=4)


@pytest.mark.parametrize(("model", "expected"), [("mel", {1: 16, 2: 16, 3: 24, 8: 32}), ("fcn", {1: 64, 3: 66, 8: 64})])
def test_the_default_batch_can_be_shared_by_any_number_of_processes(model, expected, monkeypatch):
    for n_processes, batch_size in expected.items():
        monkeypatch.setenv("WORLD_SIZE", str(n_processes))
        assert train_cgan.parse_args(["--model", model, "--output-dir", "run"]).batch_size == batch_size


def test_a_used_batch_is_let_go_and_all_come_in_order():
    read = []

    def loader():
        for number in range(4):
            read.append(number)
            yield torch.full((3,), number)

    items = _one_ahead(loader())
    first = next(items)
    assert first.tolist() == [0, 0, 0]
    used = weakref.ref(first)
    del first
    gc.collect()
    assert used() is None
    assert [item[0].item() for item in items] == [1, 2, 3] and read == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("asked", "device", "n_cores", "n_processes", "shared_bytes", "expected"),
    [
        (None, "cpu", 16, 1, 2**34, 1), (None, "cuda", 16, 1, 2**34, 4), (None, "cuda", 16, 8, 2**34, 2),
        (None, "cuda", 2, 4, 2**34, 1), (None, "cuda", 16, 1, 2**26, 1), (0, "cuda", 16, 1, 2**34, 0),
    ],
)  # fmt: skip
def test_a_gpu_has_more_processes_that_read_ahead(
    asked, device, n_cores, n_processes, shared_bytes, expected, monkeypatch, tmp_path
):
    monkeypatch.setattr("os.cpu_count", lambda: n_cores)
    monkeypatch.setattr("training.batches._SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=shared_bytes))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(n_processes))
    assert count_workers(SimpleNamespace(num_workers=asked), torch.device(device)) == expected
