"""What a pointer holds, and how it moves: forward, and back only when told."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests import buckets
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format import pointer
from tokenreel.format.pointer import Target

A, B, C = (Target(f"/data/books/2026-11-0{day}-aaaaaaaa", f"f{day}", pointer.normal_date(f"2026-11-0{day}")) for day in (1, 2, 3))


def test_it_moves_forward_and_remembers(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "latest.json")
    assert pointer.move(path, A).previous == ()
    pointer.move(path, C)
    written = (tmp_path / "latest.json").read_bytes()
    assert pointer.move(path, B).current == C, "a backfill of an earlier date leaves it"
    assert pointer.move(path, C).current == C
    assert (tmp_path / "latest.json").read_bytes() == written
    assert pointer.read(path) == pointer.Pointer(path, C, (A,))
    assert pointer.read(path).find(lambda fingerprint: fingerprint == "f1") == A
    assert pointer.move(path, B, back=True) == pointer.Pointer(path, B, (C, A))
    assert pointer.move(path, C).previous == (B, A), "no dataset is remembered twice"


def test_another_build_of_the_same_date_takes_its_place(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "latest.json")
    pointer.move(path, A)
    again = Target(f"{A.dataset}b", "other", A.date)
    assert pointer.move(path, again).current == again


def test_datasets_below_its_folder_are_named_from_there(tmp_path: pathlib.Path) -> None:
    (tmp_path / "one").mkdir()
    target = Target(str(tmp_path / "one/2026-11-01-aaaaaaaa"), "f", A.date)
    pointer.move(str(tmp_path / "one/latest.json"), target)
    assert json.loads((tmp_path / "one/latest.json").read_text())["dataset"] == "2026-11-01-aaaaaaaa"
    (tmp_path / "one").rename(tmp_path / "two")
    assert pointer.follow(str(tmp_path / "two/latest.json")) == str(tmp_path / "two/2026-11-01-aaaaaaaa")
    assert pointer.follow(str(tmp_path / "two")) == str(tmp_path / "two")


def test_in_a_bucket() -> None:
    with buckets.server():
        path = f"gs://{buckets.BUCKET}/books/latest.json"
        target = Target(f"gs://{buckets.BUCKET}/books/2026-11-01-aaaaaaaa", "f", A.date)
        pointer.move(path, target)
        assert pointer.move(path, A).current == A
        assert pointer.read(path).previous == (target,)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "no pointer to a dataset"),
        ("[]", "no pointer to a dataset"),
        ('{"format_version": 1}', "no pointer to a dataset"),
        ('{"format": "tokenreel.pointer/9"}', "of format 'tokenreel.pointer/9', this version of tokenreel reads"),
        (f'{{"format": "{pointer.FORMAT}", "dataset": 3, "fingerprint": "f", "date": "d", "previous": []}}', "no pointer to a dataset"),
    ],
)
def test_what_is_no_pointer_is_refused_and_kept(tmp_path: pathlib.Path, content: str, says: str) -> None:
    path = tmp_path / "latest.json"
    path.write_text(content)
    for attempt in (lambda: pointer.read(str(path)), lambda: pointer.move(str(path), A)):
        with pytest.raises(ManifestError, match=says):
            attempt()
    assert path.read_text() == content


def test_where_a_pointer_may_lie(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        pointer.follow(str(tmp_path / "latest.json"))
    with pytest.raises(ConfigError, match=r"name ends with \.json"):
        pointer.move(str(tmp_path / "latest"), A)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match="lies in a dataset"):
        pointer.move(str(tmp_path / "latest.json"), A)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", ""])
def test_dates_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is no date such as 2026-11-29"):
        pointer.normal_date(text)
