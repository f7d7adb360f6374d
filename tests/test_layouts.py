"""Folders, tables and archives that are easily taken for something else than they are."""

import io
import json
import os
import shutil
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import pytest

from genre_gan.data import archives
from genre_gan.data.sources import DataError, load_tracks
from tests.conftest import TWO_GENRES
from tests.test_sources import PAIR, by_genre, by_names, counts, put

SOUND = b"RIFF not read by these tests"
FOUR = {"blues": 4, "metal": 4}


def listed(root: Path, name: str, head: str, row: str, suffix: str = ".wav") -> Path:
    """Four files in `root`, and a table of them, of which `row` makes each line from {i} and {genre}."""
    put(root, SOUND, *(f"{i}{suffix}" for i in range(4)))
    (root / name).write_text(head + "".join(row.format(i=i, genre=TWO_GENRES[i % 2]) for i in range(4)), encoding="utf-8")
    return root


@pytest.mark.parametrize(
    "parts", [("train_audio", "Test songs"), ("fold1", "fold2"), ("mine/genres", "yours"), ("train", "test", "unlabelled")]
)
def test_folders_that_hold_the_same_genres_are_parts_of_one_set(tmp_path, parts):
    for part in parts:
        by_genre(tmp_path / "d", SOUND, f"{part}/")
    tracks = load_tracks([str(tmp_path / "d")])
    assert tracks.genres == TWO_GENRES and len(tracks) == 4 * len(parts)
    named = {split for part in parts for split in ("train", "test") if split in part.lower()}
    assert set(tracks.splits) - {""} == named


def test_parts_need_not_have_known_genres_but_albums_are_no_genres(tmp_path):
    put(tmp_path / "folds", SOUND, *(f"fold{i}/{genre}/{i}.wav" for i in range(3) for genre in ("polka", "shoegaze")))
    assert counts(tmp_path / "folds") == {"polka": 3, "shoegaze": 3}
    put(tmp_path / "albums", SOUND, *(f"{genre}/CD{i}/{i}.wav" for i in range(3) for genre in ("polka", "shoegaze")))
    assert counts(tmp_path / "albums") == {"polka": 3, "shoegaze": 3}


def test_the_part_of_a_contest_without_genres_is_left_out(tmp_path):
    put(by_genre(tmp_path / "d", SOUND, "train/"), SOUND, "test/0.wav", "test/1.wav")
    assert counts(tmp_path / "d") == PAIR
    assert "2 audio files in" in load_tracks([str(tmp_path / "d")]).describe()
    put(tmp_path / "doubtful", SOUND, "train/a/0.wav", "train/b/1.wav", "other/c/0.wav", "other/d/1.wav")
    with pytest.raises(DataError, match=r"train look like parts of a data set.*--genres other\."):
        load_tracks([str(tmp_path / "doubtful")])


def test_what_lies_beside_genres_is_told(tmp_path):
    put(by_genre(tmp_path / "d", SOUND, "genres/"), SOUND, "demo/a.wav")
    assert counts(tmp_path / "d") == PAIR
    assert "beside genres/ the folders demo hold sound too: left out" in load_tracks([str(tmp_path / "d")]).describe()


def test_of_a_hub_cache_the_newest_snapshot_counts(tmp_path):
    for i, sha in enumerate(("b" * 40, "a" * 40)):
        by_genre(tmp_path / "d", SOUND, f"datasets--x--y/snapshots/{sha}/")
        os.utime(tmp_path / "d" / "datasets--x--y" / "snapshots" / sha, (i, i))
    assert counts(tmp_path / "d") == PAIR


def test_files_of_one_folder_may_name_their_genres(tmp_path):
    put(tmp_path / "d", SOUND, *(f"{genre}.{i:05d}.wav" for genre in TWO_GENRES for i in range(2)))
    assert counts(tmp_path / "d") == PAIR


def test_a_recording_in_two_formats_counts_once(tmp_path):
    by_genre(by_genre(tmp_path / "d", SOUND), SOUND, suffix=".mp3")
    tracks = load_tracks([str(tmp_path / "d")])
    assert len(tracks) == 4 and all(tracks.sound(i).endswith(".wav") for i in range(4))
    assert "4 audio files differ from others in their suffix alone" in tracks.describe()
    tracks = load_tracks([str(tmp_path / "d")] * 2)
    assert len(tracks) == 4 and "4 tracks of one source stand in another too" in tracks.describe()


OBJECT = '{{"audio": {{"path": "{i}.wav"}}, "genre": {{"name": "{genre}"}}}}\n'
FMA_RAW = "{i},x,\"[{{'genre_id': '21', 'genre_title': '{genre}', 'genre_url': 'http://x'}}]\"\n"


@pytest.mark.parametrize(
    ("name", "head", "row"),
    [
        ("t.csv", "sep=;\nfile;genre\n", "{i}.wav;{genre}\n"),
        ("t.csv", "", "{i}.wav,{genre}\n"),
        ("t.tsv", "", "{genre}\tmusic/{i}.wav\n"),
        ("t.csv", "id,title,genre\n", "{i},x,{genre},\n"),
        ("t.csv", "# my songs\n# of 2026\nfile,genre\n", "{i}.wav,{genre}\n"),
        ("t.csv", "file,genre,genre\n", "{i}.wav,{genre},x\n"),
        ("t.csv", "file,genre\n", "C:\\music\\{i}.WAV,{genre}\n"),
        ("metadata.jsonl", "", OBJECT),
        ("raw_tracks.csv", "track_id,track_title,track_genres\n", FMA_RAW),
    ],
)
def test_more_tables_as_people_make_them(tmp_path, name, head, row):
    assert counts(listed(tmp_path, name, head, row)) == PAIR


@pytest.mark.parametrize(
    "document",
    [
        [{"file": f"{i}.wav", "genre": TWO_GENRES[i % 2]} for i in range(4)],
        {"version": 1, "tracks": [{"file": f"{i}.wav", "genre": TWO_GENRES[i % 2]} for i in range(4)]},
        {f"{i}.wav": TWO_GENRES[i % 2] for i in range(4)},
        {f"{i}": {"genre": [TWO_GENRES[i % 2]], "bpm": 120} for i in range(4)},
    ],
)
def test_json_documents_are_tables_too(tmp_path, document):
    root = put(tmp_path, SOUND, *(f"{i}.wav" for i in range(4)))
    (root / "labels.json").write_text(json.dumps(document))
    assert counts(root) == counts(root / "labels.json") == PAIR


def test_rows_that_shift_run_on_or_contradict_are_left_out(tmp_path):
    root = put(tmp_path, SOUND, *(f"{i}.wav" for i in range(11)))
    rows = ["0.wav,a,blues", "1.wav,b,blues", "2.wav,c,metal", "3.wav,d,metal", "3.wav,d,metal", "4.wav,Hello, World,blues",
            "5.wav,e,blues", "5.wav,e,metal", '6.wav,f,"blues, metal"', '7.wav,g,"Folk, World, & Country"', 
            "8.wav,h," + "x" * 200, '9.wav,i,"blues', "10.wav,j,blues"]
    (root / "tracks.csv").write_text("file_name,title,genre\n" + "\n".join(rows))
    tracks = load_tracks([str(root)], ["blues", "metal"])
    assert sorted(tracks.ids) == ["0", "1", "2", "3"]
    text = tracks.describe()
    for reason in ("4: tracks.csv row 7: 4 cells for 3 headings", "5: 2 genres (blues, metal) in several rows",
                   "row 10: 2 genres (blues, metal)", "a text of 200 letters", "row 14: a line break within a cell",
                   "2 rows name a file that another row names too"):
        assert reason in text, reason
    assert load_tracks([str(root)], ["folkworldncountry"]).ids == ["7"]


def test_a_broken_line_costs_its_row_alone(tmp_path):
    root = listed(tmp_path, "metadata.jsonl", '{"file_name": "x.wav", \n[]\n', '{{"file_name": "{i}.wav", "genre": "{genre}"}}\n')
    tracks = load_tracks([str(root)])
    assert len(tracks) == 4 and "metadata.jsonl row 1: no JSON: " in tracks.describe()


def test_a_table_that_cannot_be_read_stops_nothing_that_does_not_need_it(tmp_path):
    root = by_genre(tmp_path / "d", SOUND)
    (root / "features.csv").write_text("file,genre\n" + "a" * 200_000 + ",rock\n")
    (root / "pointer.csv").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert counts(root) == PAIR and "pointer of Git LFS" in load_tracks([str(root)]).describe()
    shutil.move(root / "pointer.csv", root / "tracks.csv")
    with pytest.raises(DataError, match=r"tracks\.csv is a pointer of Git LFS"):
        load_tracks([str(root)])
    half = listed(tmp_path / "half", "t.csv", 'file,genre\n0.wav,"blues\n', "{i}.wav,{genre}\n")
    with pytest.raises(DataError, match=r"t\.csv tells no genres"):
        load_tracks([str(half)])


def test_names_are_found_in_any_case_and_form(tmp_path):
    names = {unicodedata.normalize("NFD", "Caf\u00e9 1"): "caf\u00e9 1", "M\u00e5ne": unicodedata.normalize("NFD", "M\u00e5ne"),
             "SONG": "song", "\u00dcber": "\u00fcber"}
    root = put(tmp_path, SOUND, *(f"a/{name}.WAV" for name in names))
    (root / "t.csv").write_text("file,genre\n" + "".join(
        f"{name}.wav,{TWO_GENRES[i % 2]}\n" for i, name in enumerate(names.values())), encoding="utf-8")
    assert counts(root) == PAIR


def test_artists_that_are_missing_are_no_artist(tmp_path):
    root = listed(tmp_path, "t.csv", "file,genre,artist\n", "{i}.wav,{genre},nan\n")
    assert set(load_tracks([str(root)]).artists) == {""}


def test_parquet_of_features_hides_no_sound_beside_it(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = by_genre(tmp_path / "d", SOUND)
    pq.write_table(pa.table({"mfcc": [1.0], "label": ["rock"]}), root / "features.parquet")
    assert counts(root) == PAIR
    with pytest.raises(DataError, match=r"none of the 1 parquet files has a column of sound: .* has the columns mfcc, label"):
        load_tracks([str(root / "features.parquet")])


def archive(path: Path, folder: Path) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for file in sorted(folder.rglob("*.*")):
                packed.write(file, file.relative_to(folder))
    else:
        with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as packed:
            packed.add(folder, ".")
    return path


@pytest.mark.parametrize("name", ["genres.tar.gz", "genres.tgz", "genres.tar", "archive.zip"])
def test_archives_are_unpacked_once(tmp_path, name):
    packed = archive(tmp_path / name, by_genre(tmp_path / "raw", SOUND, "genres/"))
    (tmp_path / "alone").mkdir()
    shutil.move(packed, tmp_path / "alone" / name)
    assert counts(tmp_path / "alone" / name) == counts(tmp_path / "alone") == PAIR
    assert len(list((tmp_path / "cache" / "archives").iterdir())) == 1


@pytest.mark.parametrize("suffix", [".json", ".cls", ".txt"])
def test_a_webdataset_is_read(tmp_path, suffix):
    raw = put(tmp_path / "raw", SOUND, *(f"{i:06d}.wav" for i in range(4)))
    for i in range(4):
        text = json.dumps({"genre": TWO_GENRES[i % 2], "bpm": 120}) if suffix == ".json" else TWO_GENRES[i % 2]
        (raw / f"{i:06d}{suffix}").write_text(text)
    assert counts(archive(tmp_path / "shard-0000.tar", raw)) == PAIR


def test_an_archive_leads_nowhere_else_and_does_not_swell(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE_BYTES", 2**22)
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as packed:
        good, evil = by_names("a.wav", "b.wav"), ("../evil.wav", "/abs/evil.wav", "blues/x\n.wav", "C:/e.wav")
        for name in (*good, *evil):
            info = tarfile.TarInfo(name)
            info.size = len(SOUND)
            packed.addfile(info, io.BytesIO(SOUND))
        link = tarfile.TarInfo("metal/link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    assert counts(path) == PAIR
    assert not (tmp_path / "evil.wav").exists() and not Path("/abs/evil.wav").exists()
    assert not any(os.path.islink(file) for file in (tmp_path / "cache").rglob("*"))
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("blues/a.wav", "w", force_zip64=True) as file:
        file.write(bytes(2**24))
    with pytest.raises(DataError, match="unpacks to far more than its size"):
        load_tracks([str(bomb)])
    (tmp_path / "cut.zip").write_bytes(bomb.read_bytes()[:500])
    with pytest.raises(DataError, match="cannot be unpacked"):
        load_tracks([str(tmp_path / "cut.zip")])
    assert not [name for name in os.listdir(tmp_path / "cache" / "archives") if name.startswith(".unpacking")]


def test_neither_headers_nor_labels_fill_memory(tmp_path):
    with tarfile.open(tmp_path / "names.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as packed:
        info = tarfile.TarInfo("blues/a.wav")
        info.pax_headers = {"comment": "x" * 2**21}
        packed.addfile(info)
    with pytest.raises(DataError, match=r"names\.tar\.gz cannot be unpacked: a header has 20971\d\d bytes"):
        load_tracks([str(tmp_path / "names.tar.gz")])
    raw = put(tmp_path / "raw", SOUND, *(f"{i}.wav" for i in range(5)))
    for i in range(5):
        (raw / f"{i}.txt").write_text(TWO_GENRES[i % 2] if i < 4 else "blues" * 2**19)
    tracks = load_tracks([str(archive(tmp_path / "shard.tar", raw))])
    assert len(tracks) == 4 and "4.txt is too long for a label" in tracks.describe()


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.parametrize("names", [TWO_GENRES, ("train", "test")])
def test_an_archive_may_be_a_genre_or_a_split(tmp_path, suffix, names):
    (tmp_path / "d").mkdir()
    for name in names:
        files = ["0.wav", "1.wav"] if name in TWO_GENRES else [*by_names("0.wav", "1.wav")]
        archive(tmp_path / "d" / f"{name}{suffix}", put(tmp_path / name, SOUND, *files))
    tracks = load_tracks([str(tmp_path / "d")])
    assert counts(tmp_path / "d") == (PAIR if names == TWO_GENRES else FOUR)
    assert set(tracks.splits) == ({""} if names == TWO_GENRES else {"train", "test"})


def test_archives_belong_to_the_tables_beside_them(tmp_path):
    root = listed(tmp_path / "d", "train.csv", "file,genre\n", "songs/{i}.wav,{genre}\n")
    archive(root / "audio.zip", put(tmp_path / "raw", SOUND, *(f"songs/{i}.wav" for i in range(4))))
    for path in root.glob("*.wav"):
        path.unlink()
    assert counts(root) == PAIR
    (tmp_path / "meta").mkdir()
    shutil.move(root / "train.csv", tmp_path / "meta" / "tracks.csv")
    archive(root / "metadata.zip", tmp_path / "meta")
    assert counts(root) == PAIR


def test_archives_may_hold_archives_and_saved_sets_but_not_for_ever(tmp_path):
    from datasets import Dataset

    inner = archive(tmp_path / "inner.zip", by_genre(tmp_path / "raw", SOUND))
    (tmp_path / "outer").mkdir()
    shutil.move(inner, tmp_path / "outer")
    middle = archive(tmp_path / "middle.zip", tmp_path / "outer")
    assert counts(middle) == PAIR
    (tmp_path / "deeper").mkdir()
    shutil.move(middle, tmp_path / "deeper")
    with pytest.raises(DataError, match=r"in .*inner\.zip: archives within archives within archives are not unpacked"):
        load_tracks([str(archive(tmp_path / "deepest.zip", tmp_path / "deeper"))])
    rows = [{"audio": {"bytes": SOUND, "path": None}, "genre": genre} for genre in TWO_GENRES * 2]
    Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    assert counts(archive(tmp_path / "saved.tar.gz", tmp_path / "saved")) == PAIR


def test_tables_from_strangers_name_no_files_of_ones_own(tmp_path):
    put(tmp_path, SOUND, "private.wav")
    rows = [f"{name},{TWO_GENRES[i % 2]}" for i, name in enumerate(("0.wav", "1.wav", "2.wav", "3.wav"))]
    evil = [f"{tmp_path}/private.wav,blues", f"{'../' * 20}{tmp_path}/private.wav,metal"]
    raw = put(tmp_path / "raw", SOUND, *(f"{i}.wav" for i in range(4)))
    (raw / "tracks.csv").write_text("\n".join(["file_name,genre", *rows, *evil]))
    tracks = load_tracks([str(archive(tmp_path / "set.zip", raw))])
    assert len(tracks) == 4 and sum("no such file" in item.reason for item in tracks.skipped) == 2
