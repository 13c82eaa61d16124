from __future__ import annotations

import glob
import os
import pathlib
import re
from typing import Any

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from tests import buckets
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources.listing import list_files, list_source
from tokenreel.storage import gcs


def make(root: pathlib.Path, *names: str, size: int = 10) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)


def names(root: pathlib.Path, *patterns: str) -> list[str]:
    return [file.name for file in list_files(SourceConfig(files=tuple(str(root / pattern) for pattern in patterns)))]


def test_patterns(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "a/1.txt", "a/2.txt", "a/deep/3.txt", "b/1.txt", "a/.hidden", "a/_SUCCESS", "a/what?.txt", "a/[x].txt")
    assert names(tmp_path, "a") == ["1.txt", "2.txt", "[x].txt", "deep/3.txt", "what?.txt"]
    assert names(tmp_path, "a/*.txt") == ["1.txt", "2.txt", "[x].txt", "what?.txt"]
    assert names(tmp_path, "**/*.txt") == ["a/1.txt", "a/2.txt", "a/[x].txt", "a/deep/3.txt", "a/what?.txt", "b/1.txt"]
    assert names(tmp_path, "a/[x].txt") == ["[x].txt"], "a file that exists is no pattern"
    assert names(tmp_path, "a/1.txt", "b/1.txt", "a/*1.txt") == ["a/1.txt", "b/1.txt"], "names tell equal files of two folders apart"


def test_links_to_folders_are_followed_and_links_to_nothing_refused(tmp_path: pathlib.Path) -> None:
    make(tmp_path / "elsewhere", "2.txt", "deep/3.txt")
    make(tmp_path / "data", "1.txt")
    (tmp_path / "data/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/deep/loop").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/self").symlink_to(".")
    assert names(tmp_path, "data") == ["1.txt", "link/2.txt", "link/deep/3.txt"]
    (tmp_path / "data/gone.txt").symlink_to("nowhere")
    for pattern in ("data", "data/*.txt"):
        with pytest.raises(SourceError, match="a symbolic link to nothing"):
            names(tmp_path, pattern)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "data/1.txt", "data/locked/2.txt")
    scan = os.scandir

    def refuse(folder: str) -> Any:  # permissions do not stop the tests where they run as root
        if str(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"locked: cannot be listed \(Permission denied\)"):
        names(tmp_path, "data")


def test_a_pattern_matches_the_same_names_in_a_bucket(tmp_path: pathlib.Path) -> None:
    made = ["1.txt", ".2.txt", "_3.txt", "a/1.txt", "a/.b/1.txt", "a/b/c/1.txt", ".d/1.txt", "a/x1.txt", "a/[1.txt", "e"]
    make(tmp_path, *made)
    for pattern in (
        "*",
        "*.txt",
        "?.txt",
        "[!x]*",
        "[.]2.txt",
        ".*",
        "**",
        "**/*.txt",
        "a/**",
        "a/**/1.txt",
        "*/*.txt",
        "**/.b/*",
        "a/?1.txt",
        "a/[*",
    ):
        local = {path for path in glob.glob(pattern, root_dir=tmp_path, recursive=True) if (tmp_path / path).is_file()}
        assert {name for name in made if re.fullmatch(gcs._glob_expression(pattern), name)} == local, pattern


def test_a_corpus_can_move(tmp_path: pathlib.Path) -> None:
    for place in ("here", "elsewhere/far"):
        make(tmp_path / place, "1.txt", "sub/2.txt")
    assert names(tmp_path / "here", "**/*.txt") == names(tmp_path / "elsewhere/far", "**/*.txt") == ["1.txt", "sub/2.txt"]


def test_a_pattern_without_files_is_an_error(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "a.txt")
    with pytest.raises(SourceError, match=r"b\*\.txt: no file matches \(source 'text'\)"):
        names(tmp_path, "a.txt", "b*.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty: no file matches"):
        names(tmp_path, "empty")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("$DATA/a.txt", "$DATA stands for itself: variables of the environment are not looked up."),
        ("a.{txt,log}", "{txt,log} stands for itself. Give each path as an item of its own."),
        ("b.txt", "Check its spelling."),
    ],
)
def test_what_a_pattern_without_files_seems_to_mean_is_said(tmp_path: pathlib.Path, pattern: str, message: str) -> None:
    make(tmp_path, "a.txt")
    with pytest.raises(SourceError) as caught:
        names(tmp_path, pattern)
    assert f"no file matches (source 'text'). {message}" in str(caught.value)
    make(tmp_path, "{a,b}", "$x")
    assert names(tmp_path, "{a,b}", "$x") == ["$x", "{a,b}"], "names that hold such marks are names"


def test_wildcards_enter_no_hidden_folder_unless_they_name_it(tmp_path: pathlib.Path) -> None:
    make(tmp_path / "_base", "a/1.txt", "a/_temporary/0/2.txt", "a/.cache/3.txt", "_b/4.txt", "a/_5.txt")
    assert names(tmp_path / "_base", "**/*.txt") == ["a/1.txt", "a/_5.txt"]
    assert names(tmp_path / "_base", "*/*.txt") == ["a/1.txt", "a/_5.txt"]
    assert names(tmp_path / "_base", "a/_temporary/*/*.txt") == ["0/2.txt"]
    assert names(tmp_path / "_base", "*/_temporary/*/*.txt") == ["a/_temporary/0/2.txt"]
    with buckets.storage() as bucket:
        buckets.upload(tmp_path, bucket)
        found = list_files(SourceConfig(files=(f"{bucket}/_base/**/*.txt",)))
        assert [file.name for file in found] == ["a/1.txt", "a/_5.txt"]


def test_each_real_file_counts_once_and_that_is_said(tmp_path: pathlib.Path) -> None:
    make(tmp_path / "blobs", "x")
    make(tmp_path / "data", "1.txt", "deep/2.txt")
    (tmp_path / "data/0.txt").symlink_to("1.txt")
    (tmp_path / "data/deep/loop").symlink_to(tmp_path / "data")
    os.link(tmp_path / "data/1.txt", tmp_path / "data/9.txt")
    for revision in ("abc", "def"):
        (tmp_path / "data/snapshots" / revision).mkdir(parents=True)
        (tmp_path / "data/snapshots" / revision / "a.txt").symlink_to(tmp_path / "blobs/x")
    for pattern in ("data", "data/**/*.txt"):
        listing = list_source(SourceConfig(files=(str(tmp_path / pattern),)))
        assert [file.name for file in listing.files] == ["1.txt", "deep/2.txt", "snapshots/abc/a.txt"]
        (said,) = listing.notes
        assert (
            said.startswith("source 'text': leaves out")
            and "listed already under another name: " in said
            and f"{tmp_path}/data/0.txt" in said
        )


def test_files_that_are_left_out_of_a_folder_of_tables_are_told(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "README.md", "notes.txt")
    for name in ("a.parquet", "b.parq", "c", "d.PARQUET", "e.snappy"):
        pq.write_table(pa.table({"text": ["a"]}), tmp_path / name)
    with buckets.storage() as bucket:
        buckets.upload(tmp_path, bucket)
        for place in (str(tmp_path), bucket):
            listing = list_source(SourceConfig(files=(place,), format="parquet"))
            assert [file.name for file in listing.files] == ["a.parquet", "b.parq", "c", "d.PARQUET", "e.snappy"]
            assert listing.notes == [f"source 'text': leaves out 2 files, not of format parquet: {place}/README.md, {place}/notes.txt."]


def test_a_delta_table_is_told(tmp_path: pathlib.Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    make(tmp_path, "_delta_log/00000000000000000000.json")
    (said,) = list_source(SourceConfig(files=(str(tmp_path),), format="parquet")).notes
    assert said.startswith(f"source 'text': {tmp_path} is a Delta table, of which rows that were changed or deleted may be read too")


def test_a_folder_without_a_file_of_the_format_says_what_it_holds(tmp_path: pathlib.Path) -> None:
    pyarrow.orc.write_table(pa.table({"text": ["a"]}), tmp_path / "a.orc")
    with pytest.raises(SourceError) as caught:
        list_files(SourceConfig(files=(str(tmp_path),), format="parquet"))
    assert f"{tmp_path}: no file matches (source 'text'): it holds 1 file, none of format parquet;" in str(caught.value)
    assert f"{tmp_path}/a.orc is an ORC file. Write it as Parquet" in str(caught.value)
