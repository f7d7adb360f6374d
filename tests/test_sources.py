"""Folders, tables, parquet files and archives as people have them, each with what should be read from it."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genre_gan import load_audio
from genre_gan.data.sources import DataError, load_tracks
from tests.conftest import SAMPLE_RATE_HZ, TWO_GENRES, synthesize

PAIR = {"blues": 2, "metal": 2}


@pytest.fixture(scope="module")
def sound() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, synthesize(220, 2, 1.2, seed=0), SAMPLE_RATE_HZ, format="WAV")
    return buffer.getvalue()


def put(root: Path, sound: bytes, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(sound)
    return root


def by_genre(root: Path, sound: bytes, below: str = "", suffix: str = ".wav") -> Path:
    return put(root, sound, *(f"{below}{genre}/{genre}.{i:05d}{suffix}" for genre in TWO_GENRES for i in range(2)))


def counts(*sources: Path, genres=None) -> dict[str, int]:
    tracks = load_tracks([str(source) for source in sources], genres)
    return {genre: tracks.genre_names.count(genre) for genre in tracks.genres}


@pytest.mark.parametrize(
    "below",
    ["", "genres/", "genres_original/", "Data/genres_original/", "archive/Data/genres_original/",
     "versions/1/Data/genres_original/", "andradaolteanu/gtzan-dataset-music-genre-classification/versions/1/", "my music/"],
)
def test_genres_are_found_below_any_other_folders(tmp_path, sound, below):
    root = by_genre(tmp_path / "d", sound, below)
    put(root, b"PNG", *(f"Data/images_original/{genre}/{i}.png" for genre in TWO_GENRES for i in range(2)))
    (root / "Data" / "features_3_sec.csv").write_text("filename,length,label\nblues.00000.0.wav,66149,blues\n")
    assert counts(root) == PAIR


def test_of_kagglehubs_versions_the_newest_counts(tmp_path, sound):
    by_genre(tmp_path / "d", sound, "versions/9/")
    put(tmp_path / "d", sound, *(f"versions/10/jazz/{i}.wav" for i in range(3)), *(f"versions/10/pop/{i}.wav" for i in range(3)))
    assert counts(tmp_path / "d") == {"jazz": 3, "pop": 3}


def test_what_computers_leave_behind_is_no_music(tmp_path, sound):
    root = by_genre(tmp_path / "d", sound)
    put(root, b"junk", "__MACOSX/blues/._a.wav", "__MACOSX/x.wav", "blues/._blues.00000.wav", ".DS_Store", "blues/.DS_Store",
        "Thumbs.db", ".git/objects/a.wav", "@eaDir/x.wav", ".Trash/old/b.wav", "desktop.ini", "metal/cover.jpg", "README.txt")
    assert counts(root) == PAIR and not load_tracks([str(root)]).skipped


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "validation", "TEST"), ("val", "train")])
def test_folders_of_splits_are_no_genres(tmp_path, sound, names):
    for name in names:
        by_genre(tmp_path / "d", sound, f"{name}/")
    tracks = load_tracks([str(tmp_path / "d")])
    assert tracks.genres == TWO_GENRES and len(tracks) == 4 * len(names)
    plain = {"training": "train", "validation": "valid", "val": "valid"}
    assert set(tracks.splits) == {plain.get(name.lower(), name.lower()) for name in names}


def test_splits_may_stand_below_the_genres(tmp_path, sound):
    put(tmp_path / "d", sound, *by_names(*(f"{split}/{i}.wav" for split in ("train", "test") for i in range(2))))
    tracks = load_tracks([str(tmp_path / "d")])
    assert tracks.genres == TWO_GENRES and tracks.splits.count("test") == 4


def test_every_usual_suffix_counts(tmp_path, sound):
    suffixes = (".wav", ".WAV", ".m4a", ".aiff", ".aif", ".opus", ".wma", ".mp3", ".flac", ".ogg", ".au", ".aac", ".webm")
    put(tmp_path / "d", sound, *(f"{genre}/{i}{suffix}" for genre in TWO_GENRES for i, suffix in enumerate(suffixes)))
    assert counts(tmp_path / "d") == {"blues": 13, "metal": 13}


def test_linked_folders_and_files_are_followed_and_loops_end(tmp_path, sound):
    by_genre(tmp_path / "real", sound)
    root = tmp_path / "d"
    root.mkdir()
    (root / "blues").symlink_to(tmp_path / "real" / "blues")
    (root / "metal").mkdir()
    (root / "metal" / "loop").symlink_to(root)
    for i in range(2):
        (root / "metal" / f"{i}.wav").symlink_to(tmp_path / "real" / "metal" / f"metal.{i:05d}.wav")
    (root / "metal" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    tracks = load_tracks([str(root)])
    assert {genre: tracks.genre_names.count(genre) for genre in tracks.genres} == PAIR
    assert [item.id for item in tracks.skipped] == ["gone"] and "No such file" in tracks.skipped[0].reason


TABLES = {
    "byte order mark": "\ufefffile_name,genre\n{rows}".encode(),
    "utf-16": "file_name,genre\n{rows}".encode("utf-16"),
    "utf-16 without a mark": "file_name,genre\n{rows}".encode("utf-16-le"),
    "utf-16 big": "\ufefffile_name,genre\n{rows}".encode("utf-16-be"),
    "capitals": b"File Name,Genre\n{rows}",
    "blanks": b" filename , label \n{rows}",
    "quotes": b'"path","genre_top"\n{rows}',
    "old mac lines": b"file_name,genre\r{rows}",
    "windows lines": b"file_name,genre\r\n{rows}",
    "empty lines": b"\n\nfile_name,genre\n\n{rows}\n\n",
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_any_encoding_heading_and_delimiter_are_read(tmp_path, sound, kind, delimiter):
    root = put(tmp_path, sound, *(f"audio/{i}.wav" for i in range(4)))
    rows = "\n".join(f"audio/{i}.wav,{'Blues' if i < 2 else 'METAL'}" for i in range(4))
    text = TABLES[kind]
    encoding = next((name for name, mark in (("utf-16", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")) if text.startswith(mark)), None)
    encoding = encoding or ("utf-16-le" if b"\0" in text else "utf-8")
    table = text.decode(encoding).replace("{rows}", rows).replace(",", delimiter)
    if kind == "old mac lines":
        table = table.replace("\n", "\r")
    (root / "tracks.csv").write_bytes(table.encode(encoding))
    assert counts(root) == counts(root / "tracks.csv") == counts(root / "audio") == PAIR


def test_old_windows_letters_are_read(tmp_path, sound):
    root = put(tmp_path, sound, "a.wav", "b.wav")
    (root / "tracks.csv").write_bytes("file_name;genre;artist\na.wav;blues;Bj\u00f6rk\nb.wav;blues;\u20ac\n".encode("cp1252"))
    assert load_tracks([str(root)], ["blues"]).artists == ["Bj\u00f6rk", "\u20ac"]


def test_rows_without_genre_or_sound_are_left_out_and_listed_with_file_and_row(tmp_path, sound):
    root = put(tmp_path, sound, *(f"{i}.wav" for i in range(14)))
    (root / "13.wav").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    bad = ["5.wav,", "6.wav", "7.wav, ", "8.wav,null", "9.wav,-1", "10.wav,NaN", '11.wav,"[\'rock\', \'pop\']"']
    bad += ["12.wav,rock|pop", ",blues", "missing.wav,blues", "13.wav,blues", "\0.wav,blues", f"{'x' * 300}.wav,blues"]
    bad += ["3.wav,---"]
    good = ["0.wav,blues", "1.wav,['Blues']", "2.wav,metal", '4.wav,"[""metal""]"']
    (root / "tracks.csv").write_text("\n".join(["file_name,genre", *bad, *good]))
    tracks = load_tracks([str(root)])
    assert {genre: tracks.genre_names.count(genre) for genre in tracks.genres} == PAIR
    assert len(tracks.skipped) == len(bad)
    text = tracks.describe()
    assert "found 4 tracks of 2 genres: blues 2, metal 2\nleft out 14: 5: tracks.csv row 2: no genre; " in text
    reasons = " ".join(item.reason for item in tracks.skipped)
    for reason in ("row 3: no genre", "row 8: 2 genres (rock, pop)", "row 11: no such file: missing.wav", "pointer of Git LFS",
                   "row 10: no file is named"):
        assert reason in reasons, reason


def test_an_audiofolder_is_read_with_its_metadata(tmp_path, sound):
    root = put(tmp_path / "jsonl", sound, *(f"{split}/x/{i}.wav" for split in ("train", "test") for i in range(4)))
    for split in ("train", "test"):
        rows = [{"file_name": f"x/{i}.wav", "genre": TWO_GENRES[i % 2], "artist": None} for i in range(4)]
        (root / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert counts(root) == {"blues": 4, "metal": 4}
    root = put(tmp_path / "csv", sound, *(f"{i}.wav" for i in range(4)))
    (root / "metadata.csv").write_text("file_name,label\n" + "\n".join(f"{i}.wav,{TWO_GENRES[i % 2]}" for i in range(4)))
    assert counts(root) == PAIR
    labelled = by_genre(tmp_path / "dropped", sound)
    (labelled / "metadata.csv").write_text("file_name,bpm\nblues/blues.00000.wav,120\n")
    assert counts(labelled) == PAIR


def test_tables_beside_a_folder_of_sound_are_found(tmp_path, sound):
    root = put(tmp_path / "d", sound, *(f"audios/{i}.mp3" for i in range(8)))
    for split, first in (("train", 0), ("test", 4)):
        rows = [f"{i},{i}.mp3,{TWO_GENRES[i % 2]}" for i in range(first, first + 4)]
        (root / f"{split}.csv").write_text("index,filename,genre\n" + "\n".join(rows))
    tracks = load_tracks([str(root)])
    assert tracks.genres == TWO_GENRES and tracks.splits == ["test"] * 4 + ["train"] * 4
    (root / "train.csv").write_text("filename,genre\n" + "\n".join(f"{i},{TWO_GENRES[i % 2]}" for i in range(8)))  # no suffix
    (root / "test.csv").unlink()
    assert counts(root) == {"blues": 4, "metal": 4}


def test_fmas_numbered_folders_take_their_genres_from_its_table(tmp_path, sound):
    root = put(tmp_path / "fma", sound, *(f"fma_small/{i // 1000:03d}/{i:06d}.mp3" for i in (2, 5, 1010, 2020)))
    head = [",album,album,artist,set,set,track,track", ",comments,tags,name,split,subset,genre_top,genres", "track_id,,,,,,,"]
    rows = [f'{i},0,[],"Ann, Bo",training,small,Old-Time / Historic,"[21, 5]"' for i in (2, 5)]
    rows += [f'{i},0,[],"Ann, Bo",validation,small,Hip-Hop,[21]' for i in (1010, 2020)]
    rows += [f"{i},0,[],X,training,large,,[]" for i in range(3000, 3080)]
    (root / "fma_metadata").mkdir()
    (root / "fma_metadata" / "tracks.csv").write_text("\n".join(head + rows))
    tracks = load_tracks([str(root)])
    assert sorted(zip(tracks.ids, tracks.genre_names, tracks.splits, tracks.artists, strict=True)) == [
        ("000002", "oldtimehistoric", "train", "Ann, Bo"), ("000005", "oldtimehistoric", "train", "Ann, Bo"),
        ("001010", "hiphop", "valid", "Ann, Bo"), ("002020", "hiphop", "valid", "Ann, Bo"),
    ]
    assert "lists 80 more tracks, whose files are not here" in tracks.describe()
    shutil.rmtree(root / "fma_metadata")
    with pytest.raises(DataError, match=r"mere numbers \(000, 001, 002\): are they folders"):
        load_tracks([str(root)])


def test_doubtful_genres_are_asked_about_unless_they_are_named(tmp_path, sound):
    put(tmp_path / "one", sound, "blues/a.wav", "blues/b.wav")
    with pytest.raises(DataError, match=r"one genre only, 'blues': are the others missing\? .* --genres blues\."):
        load_tracks([str(tmp_path / "one")])
    assert counts(tmp_path / "one", genres=["Blues"]) == {"blues": 2}
    put(tmp_path / "flat", sound, "a.wav", "b.wav")
    with pytest.raises(DataError, match="one genre only, 'flat': is that a genre, or does the folder lie one level too deep"):
        load_tracks([str(tmp_path / "flat")])
    root = put(by_genre(tmp_path / "few", sound), sound, "polka/a.wav")
    with pytest.raises(DataError, match=r"fewer than 2 tracks of polka: .* --genres blues metal\."):
        load_tracks([str(root)])
    assert counts(root, genres=["blues", "polka"]) == {"blues": 2, "polka": 1}


def test_the_working_folder_has_a_name_too_and_archives_left_packed_are_told(tmp_path, sound, monkeypatch):
    root = put(tmp_path / "blues", sound, "a.wav", "b.wav", "more.zip")
    monkeypatch.chdir(root)
    tracks = load_tracks(["."], ["blues"])
    assert len(tracks) == 2 and "1 archives beside the sound were left packed: more.zip" in tracks.describe()


def test_what_is_there_instead_of_music_is_said(tmp_path, sound):
    put(tmp_path / "d", b"x", "a.txt", "b.txt", "pictures/c.png")
    (tmp_path / "d" / "list.csv").write_text("title,year\na,1\n")
    with pytest.raises(DataError, match=r"found 1 table files, 2 \.txt files, 1 \.png files, the folders pictures"):
        load_tracks([str(tmp_path / "d")])
    with pytest.raises(DataError, match=r"needs two columns, one of files, .* and one of genres, .*: title, year"):
        load_tracks([str(tmp_path / "d" / "list.csv")])
    with pytest.raises(DataError, match=r"nor an archive"):
        load_tracks([str(tmp_path / "d" / "a.txt")])
    with pytest.raises(DataError, match="no data named"):
        load_tracks([""])
    with pytest.raises(DataError, match="genres must name at least one"):
        load_tracks([str(tmp_path)], [])
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="found nothing"):
        load_tracks([str(tmp_path / "void")])
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    by_genre(tmp_path / "lfs", pointer)
    with pytest.raises(DataError, match=r"none of the 4 audio files .*blues\.00000\.wav is a pointer of Git LFS.*git lfs pull"):
        load_tracks([str(tmp_path / "lfs")])
    for name in ("tracks.csv", "train.parquet"):
        put(tmp_path / name[:5], pointer, name)
        with pytest.raises(DataError, match=rf"{name} is a pointer of Git LFS"):
            load_tracks([str(tmp_path / name[:5])])


def audio_rows(sound: bytes, genres) -> list[dict]:
    return [{"audio": {"bytes": sound, "path": f"{genre}{i}.wav"}, "genre": genre} for i, genre in enumerate(genres)]


def features(genre=None):
    from datasets import Features, Value

    return Features({"audio": {"bytes": Value("binary"), "path": Value("string")}, "genre": genre or Value("string")})


def test_parquet_of_several_splits_is_read_with_them_and_bad_rows_are_listed(tmp_path, sound):
    from datasets import Dataset

    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        rows = audio_rows(sound, ["blues", "blues", "Metal", "Metal", None, "", "-1"])
        rows.append({"audio": {"bytes": None, "path": None}, "genre": "blues"})
        rows.append({"audio": {"bytes": b"", "path": None}, "genre": "blues"})
        Dataset.from_list(rows, features=features()).to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text("text")
    tracks = load_tracks([str(tmp_path)])
    assert sorted(tracks.splits) == ["test"] * 4 + ["train"] * 4 and tracks.genres == TWO_GENRES
    assert tracks[0].audio == sound and len(tracks.skipped) == 10
    assert "train-00000-of-00001.parquet row 5: no genre" in {item.reason for item in tracks.skipped}
    assert "test-00000-of-00001.parquet row 9: no sound" in {item.reason for item in tracks.skipped}


def test_classes_of_minus_one_lists_and_arrays_in_parquet(tmp_path, sound):
    from datasets import ClassLabel, Dataset, Features, Value

    genre = ClassLabel(names=["metal", "blues"])
    rows = audio_rows(sound, [0, 0, 1, 1, -1])
    Dataset.from_list(rows, features=features(genre)).to_parquet(tmp_path / "classes.parquet")
    assert counts(tmp_path / "classes.parquet") == PAIR
    Dataset.from_list(audio_rows(sound, [["metal"], ["metal"], ["blues"], ["blues"], ["blues", "metal"], []]),
                      features=features([Value("string")])).to_parquet(tmp_path / "lists.parquet")
    assert counts(tmp_path / "lists.parquet") == PAIR
    samples, rate_hz = soundfile.read(io.BytesIO(sound), dtype="float32")
    audio = {"array": samples.tolist(), "sampling_rate": rate_hz}
    array = {"array": [Value("float32")], "sampling_rate": Value("int64")}
    Dataset.from_list([{"audio": audio, "label": name} for name in ("blues", "metal") * 2] + [{"audio": None, "label": "blues"}],
                      features=Features({"audio": array, "label": Value("string")})).to_parquet(tmp_path / "arrays.parquet")
    tracks = load_tracks([str(tmp_path / "arrays.parquet")])
    assert len(tracks) == 4 and np.array_equal(load_audio(tracks[1].audio).samples, samples)


def test_parquet_that_names_files_is_read_with_them(tmp_path, sound):
    from datasets import Dataset

    put(tmp_path, sound, *(f"audio/{i}.wav" for i in range(4)))
    rows = [{"audio": {"bytes": None, "path": f"audio/{i}.wav"}, "genre": TWO_GENRES[i % 2]} for i in range(5)]
    Dataset.from_list(rows, features=features()).to_parquet(tmp_path / "train.parquet")
    tracks = load_tracks([str(tmp_path)])
    assert tracks.genres == TWO_GENRES and tracks[0].audio == str(tmp_path / "audio" / "0.wav")
    assert "no such file" in tracks.skipped[0].reason


def test_loading_parquet_does_not_copy_its_sound_twice(tmp_path, monkeypatch):
    import datasets
    from datasets import Dataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    noise = np.random.default_rng(0).bytes(500_000)
    Dataset.from_list(audio_rows(noise, TWO_GENRES * 4), features=features()).to_parquet(tmp_path / "train.parquet")
    tracks = load_tracks([str(tmp_path / "train.parquet")])
    assert tracks[3].audio == noise
    written = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert written < 1.1 * 8 * len(noise)


def test_what_datasets_saved_to_disk_is_read(tmp_path, sound):
    from datasets import Dataset, DatasetDict

    part = Dataset.from_list(audio_rows(sound, TWO_GENRES * 2), features=features())
    part.save_to_disk(tmp_path / "one")
    assert counts(tmp_path / "one") == PAIR
    DatasetDict({"train": part, "validation": part}).save_to_disk(tmp_path / "two")
    tracks = load_tracks([str(tmp_path / "two")])
    assert sorted(set(tracks.splits)) == ["train", "valid"] and len(tracks) == 8 and tracks[5].audio == sound


def by_names(*names: str) -> list[str]:
    return [f"{genre}/{name}" for genre in TWO_GENRES for name in names]


def test_names_that_steer_terminals_or_cannot_be_printed_are_tamed(tmp_path, sound):
    root = by_genre(tmp_path / "d", sound)
    odd = ["\x1b[31mred\x07.wav", "a\nb.wav", "\u202egnp.wav"] + ["\udcff.wav"] * (os.name == "posix")
    put(root / "blues", sound, *odd)
    (root / "metal" / "\x1b[2J.wav").symlink_to("nowhere")
    tracks = load_tracks([str(root)])
    assert len(tracks) == 4 + len(odd) and all(name.isprintable() for name in tracks.ids)
    assert all(line.isprintable() for line in tracks.describe().splitlines()) and tracks.describe().encode()
    assert all(len(load_audio(track.audio).samples) for track in tracks)
