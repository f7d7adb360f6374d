import warnings

import numpy as np
import pytest

from genre_gan.genres import GENRES, canonical_genre, find_genre, genre_weights


def test_a_name_is_one_hot_and_a_blend_sums_to_one():
    assert genre_weights("Hip-Hop") == [float(genre == "hiphop") for genre in GENRES]
    weights = dict(zip(GENRES, genre_weights({"jazz": 7, "hiphop": 3}), strict=True))
    assert weights["jazz"] == pytest.approx(0.7) and weights["hiphop"] == pytest.approx(0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a number of NumPy warns of limits beyond its own
        assert genre_weights({"jazz": np.float32(0.5), "hiphop": np.int64(1)}) == genre_weights({"jazz": 1, "hiphop": 2})


@pytest.mark.parametrize("genre", ["polka", {}, {"jazz": -1}, {"jazz": 0}, {"jazz": float("nan")}, {"jazz": True},
                                   {"jazz": 10**400}, 3, {"polka": 1}])
def test_what_is_no_genre_is_refused_with_a_reason(genre):
    with pytest.raises(ValueError, match="genre"):
        genre_weights(genre)


def test_hip_hop_is_found_by_any_of_its_names():
    for name in ("Hip-Hop", "hip hop", "HIPHOP", "Hip_Hop", "Hip Hop/Rap", "Rap & Hip-Hop", "Rap", "Hip\u2010Hop", "hip-hop/rap"):
        assert find_genre(name) == "hiphop"


@pytest.mark.parametrize("name", ["R&B", "R & B", "RnB", "R'n'B", "R\u2019n\u2019B", "r and b", "Rhythm & Blues", "Soul-RnB"])
def test_rhythm_and_blues_is_found_by_its_nearest_name(name):
    assert find_genre(name, ("jazz", "R&B")) == "R&B" and find_genre(name, ("jazz", "soulrnb", "soul")) == "soulrnb"
    assert find_genre(name, ("jazz", "soul", "rnb")) == "rnb" and find_genre(name) == "blues"


def test_names_in_a_model_stay_as_they_are_and_are_found_by_other_spellings():
    genres = ("Old-Time / Historic", "oldtimehistoric", "Drum & Bass")
    assert [find_genre(g, genres) for g in genres] == list(genres)
    assert find_genre("old time historic", genres) == "Old-Time / Historic" and find_genre("drum'n'bass", genres) == "Drum & Bass"
    assert genre_weights("Rap", ("jazz", "rap", "hiphop")) == [0, 1, 0]
    assert canonical_genre("Rand") == "rand"
    assert canonical_genre("\u6f14\u6b4c") == "\u6f14\u6b4c" and canonical_genre(" - ") == ""
