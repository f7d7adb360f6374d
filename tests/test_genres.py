import pytest

from genre_gan.genres import GENRES, genre_weights


def test_a_name_is_one_hot_and_a_blend_sums_to_one():
    assert genre_weights("Hip-Hop") == [float(genre == "hiphop") for genre in GENRES]
    weights = dict(zip(GENRES, genre_weights({"jazz": 7, "hiphop": 3})))
    assert weights["jazz"] == pytest.approx(0.7) and weights["hiphop"] == pytest.approx(0.3)


@pytest.mark.parametrize("genre", ["polka", {}, {"jazz": -1}, {"jazz": 0}, {"jazz": float("nan")}, 3, {"polka": 1}])
def test_what_is_no_genre_is_refused_with_a_reason(genre):
    with pytest.raises(ValueError, match="genre"):
        genre_weights(genre)
