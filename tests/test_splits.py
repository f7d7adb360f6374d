"""Splits on made-up tables and on the real table of GTZAN that ships with the package; no sound is read."""

import csv
from pathlib import Path

import numpy as np
import pytest

from genre_gan.data.sources import DataError, TrackSet
from genre_gan.data.splits import (
    N_FOLDS,
    artist_folds,
    artist_groups,
    artist_names,
    gtzan_artists,
    split_segments,
    split_tracks,
)
from genre_gan.data.tracks import Row
from genre_gan.genres import GENRES

FACTS = Path(__file__).parents[1] / "genre_gan" / "data" / "facts"


def table(folder: Path, rows: list[tuple[str, str, str]]) -> TrackSet:
    """Tracks from rows of id, genre and artist."""
    return TrackSet(Row(name, genre, artist, "", str(folder / f"{name}.wav")) for name, genre, artist in rows)


@pytest.fixture(scope="module")
def gtzan(tmp_path_factory) -> TrackSet:
    """All 1000 tracks as a plain folder gives them: ids and genres, no artists."""
    return table(tmp_path_factory.mktemp("gtzan"), [(f"{genre}.{i:05d}", genre, "") for genre in GENRES for i in range(100)])


def named_artists(tracks: TrackSet, indices: np.ndarray) -> set[str]:
    """Compared as a reader would: lower case, without blanks, straight from the shipped table."""
    with (FACTS / "gtzan_artists.csv").open() as file:
        artists = {row["id"]: row["artist"] for row in csv.DictReader(file)}
    names = {name.strip().lower() for i in indices for name in artists[tracks.ids[i]].split(";")}
    return names - {""}


def test_no_artist_of_gtzan_stands_on_two_sides_and_every_genre_on_both(gtzan):
    folds = artist_folds(gtzan)
    assert set(folds) == {-1, *range(N_FOLDS)}
    for fold in range(N_FOLDS):
        split = split_tracks(gtzan, "artist", seed=fold)
        assert np.array_equal(split.valid, np.flatnonzero(folds == fold))
        assert np.array_equal(split.train, np.flatnonzero((folds >= 0) & (folds != fold)))
        assert not named_artists(gtzan, split.train) & named_artists(gtzan, split.valid)
        for side in (split.train, split.valid):
            assert {gtzan.genre_names[i] for i in side} == set(GENRES)
        by_other_name = split_tracks(gtzan, "fold", seed=fold)
        assert by_other_name.protocol == "fold" and np.array_equal(by_other_name.valid, split.valid)
    assert np.array_equal(folds, artist_folds(gtzan))


def test_faulty_and_repeated_tracks_take_no_part(gtzan):
    with (FACTS / "gtzan_faults.csv").open() as file:
        faults = {row["id"] for row in csv.DictReader(file)}
    assert {gtzan.ids[i] for i in np.flatnonzero(artist_folds(gtzan) == -1)} == faults and len(faults) == 113
    for protocol in ("track", "artist"):
        split = split_tracks(gtzan, protocol)
        assert not faults & {gtzan.ids[i] for i in (*split.train, *split.valid)}
        assert len(split.train) + len(split.valid) == 1000 - 113 == 1000 - split.n_left_out


def test_unknown_artists_are_groups_of_their_own_and_counted(gtzan):
    groups, unknown = artist_groups(gtzan)
    assert unknown.sum() == 17 == sum(not artist for artist in gtzan_artists().values())
    assert len(set(groups[unknown])) == 17 and not set(groups[unknown]) & set(groups[~unknown])
    split = split_tracks(gtzan, "artist")
    assert 0 < split.n_unknown_artists <= 17
    assert f"113 faulty or repeated tracks left out; {split.n_unknown_artists} tracks of unknown artists" in split.summary()
    assert split_tracks(gtzan, "track").n_unknown_artists == 0


def test_files_of_other_collections_that_are_numbered_like_gtzan_stay(tmp_path):
    rows = [("pop.00022", "pop", "Norine Braun"), ("pop.00031", "pop", "Britney Spears"), ("metal.00004", "metal", "")]
    rows += [(f"{genre}-{i}", genre, f"{genre} artist {i}") for genre in ("pop", "metal") for i in range(5)]
    assert list(artist_folds(table(tmp_path, rows))[:3] >= 0) == [True, False, False]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("The Beatles", "beatles"),
        ("Beatles, The", "The Beatles"),
        ("Motörhead", "MOTORHEAD"),
        ("Dr. Dre", "Dr Dre"),
        ("AC/DC", "ac-dc"),
        ("Beyoncé", "Beyonce\u0301"),
        ("Peabo Bryson; Regina Belle", "regina belle"),
        ("Bob Marley & the Wailers", "Bob Marley"),
        ("Nas feat. Lauryn Hill", "Lauryn Hill"),
        ("KC & The Sunshine Band", "KC and the Sunshine Band"),
    ],
)
def test_names_are_compared_without_case_accents_articles_and_punctuation(left, right):
    assert artist_names(left) & artist_names(right)


def test_names_that_differ_stay_apart_and_none_is_lost():
    assert not artist_names("Queen") & artist_names("Queen Latifah")
    assert not artist_names("Prince") & artist_names("Prince Buster")
    assert artist_names("!!!") == {"!!!"} and artist_names("The The") == {"the"}
    assert artist_names("") == artist_names(" ; ") == artist_names("Unknown") == set()


def test_artists_join_through_tracks_that_they_share(tmp_path):
    tracks = table(tmp_path, [("a", "pop", "Ann"), ("b", "rock", "BEN"), ("c", "jazz", "ann; Ben"), ("d", "jazz", "Cleo")])
    groups, unknown = artist_groups(tracks)
    assert len(set(groups[:3])) == 1 and groups[3] != groups[0] and not unknown.any()


def test_no_track_crosses_and_seeds_that_follow_each_other_are_a_cross_validation(tmp_path):
    rows = [(f"{genre}-{i}", genre, f"{genre} {i % 4}") for genre in ("blues", "metal", "pop") for i in range(12)]
    tracks = table(tmp_path, rows)
    for protocol, n_folds in (("track", 5), ("artist", 4)):  # four artists a genre make four folds
        splits = [split_tracks(tracks, protocol, seed=seed) for seed in range(n_folds)]
        assert sorted(i for split in splits for i in split.valid) == list(range(36))
        for split in splits:
            assert not set(split.train) & set(split.valid) and len(split.train) + len(split.valid) == 36
            assert {tracks.genre_names[i] for i in split.valid} == {"blues", "metal", "pop"}
            if protocol == "artist":
                assert not {tracks.artists[i] for i in split.train} & {tracks.artists[i] for i in split.valid}
    halves = split_tracks(tracks, "artist", valid_fraction=0.5)
    assert len(halves.train) == len(halves.valid) == 18


def test_a_genre_by_one_artist_is_refused_with_the_artist_named(tmp_path):
    rows = [(f"blues-{i}", "blues", f"artist {i}") for i in range(6)]
    rows += [(f"pop-{i}", "pop", "Ann" if i % 2 else "ANN") for i in range(6)]
    with pytest.raises(DataError, match=r"genre 'pop' cannot stand on both sides .* by 1 artist .*\(ANN, Ann\)"):
        split_tracks(table(tmp_path, rows), "artist")
    with pytest.raises(DataError, match=r"genre 'blues' cannot stand on both sides of each of 7 artist folds.* by 6 artists"):
        artist_folds(table(tmp_path / "blues", rows[:6]), 7)
    with pytest.raises(DataError, match=r"no track to divide: 0 given"):
        split_tracks(table(tmp_path, rows).select([]), "artist")


def test_arguments_out_of_range_are_named(gtzan):
    with pytest.raises(ValueError, match="protocol must be one of segment, track, artist, fold, got 'random'"):
        split_tracks(gtzan, "random")
    with pytest.raises(ValueError, match="use split_segments"):
        split_tracks(gtzan, "segment")
    with pytest.raises(ValueError, match=r"valid_fraction must be above 0 and at most 0\.5, got 0\.8"):
        split_tracks(gtzan, "artist", valid_fraction=0.8)
    with pytest.raises(ValueError, match="n_folds must be at least 2, got 1"):
        artist_folds(gtzan, 1)


def test_the_segment_split_says_that_it_leaks():
    split = split_segments(50, seed=3)
    assert split.leaks and len(split.valid) == 10 and "slices of a track stand on both sides" in split.summary()
    assert sorted([*split.train, *split.valid]) == list(range(50))
