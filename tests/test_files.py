import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_gan.files import file_names, write_bytes

NASTY = [
    "Old-Time / Historic", "../../../evil", "/tmp/abs", "C:\\Windows", "a\0b", "a\nb", "..", ".", "", " ", "~", "CON", "nul.txt",
    ".hidden", "-rf", "\u202egnp", "a" * 400, "\u97f3\u697d" * 100, "e\u0301", "\u00e9",
    "A", "a", "a/", "$HOME", "%2e%2e%2f", "\ud800", "x:y", "*?", "\uff0e\uff0e\uff0f",
]


def check(names, folder: Path):
    found = file_names(names)
    assert len(found) == len(names) and found == file_names(names)
    assert len({name.casefold() for name in found}) == len(found)
    for name in found:
        assert name and name[0] not in ".-" and len(name.encode()) <= 110 and name.casefold() not in ("con", "nul", "aux", "prn")
        assert (folder / f"{name}.wav").resolve().parent == folder.resolve() and "\\" not in name and name.isprintable()


def test_no_name_from_data_leads_out_of_a_folder_or_hides_another(tmp_path):
    check(NASTY, tmp_path)
    for name in file_names(NASTY):
        write_bytes(tmp_path / f"{name}.wav", b"sound")
    assert len(list(tmp_path.iterdir())) == len(NASTY)


@given(st.lists(st.one_of(st.text(max_size=40), st.sampled_from(NASTY), st.text("./\\-_aA~: \0", max_size=12)), max_size=12))
@settings(max_examples=500, deadline=None)
def test_any_names_give_safe_and_distinct_ones(names):
    check(names, Path("folder"))


def test_names_that_are_fine_stay():
    names = ["blues", "hiphop", "blues.00007", "AC_DC", "Gr\u00fc\u00df", "\u6f14\u6b4c"]
    assert file_names(names) == names
    assert file_names(["a/b", "a-b", "a:b"]) == ["a-b-2", "a-b", "a-b-3"]
    assert file_names(["Old-Time / Historic"]) == ["Old-Time-Historic"]


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match=r"^\S+taken cannot be written: Is a directory$"):
        write_bytes(tmp_path / "taken", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.skipif(os.name != "posix", reason="no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644)])
def test_who_may_read_a_file_is_what_the_umask_says(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "private", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "private").stat().st_mode & 0o777 == mode


def test_a_long_name_is_written(tmp_path):
    write_bytes(tmp_path / ("x" * 250), b"sound")
    assert [len(path.name) for path in tmp_path.iterdir()] == [250]
