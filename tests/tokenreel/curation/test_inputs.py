from __future__ import annotations

import pathlib
from typing import Any

from tests.tokenreel.config.jobs import job
from tokenreel.curation.inputs import list_inputs


def listed(folder: pathlib.Path, **source: Any) -> dict[str, Any]:
    return dict(list_inputs(job({"files": [str(folder)], **source}))["s0"])


def test_inputs_are_known_by_names_and_sizes_wherever_they_lie(tmp_path: pathlib.Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place / "deep").mkdir(parents=True)
        (tmp_path / place / "a.jsonl").write_text("12345")
        (tmp_path / place / "deep/b.jsonl").write_text("1")
    here = listed(tmp_path / "here")
    assert here == listed(tmp_path / "there") and (here["files"], here["bytes"]) == (2, 6)
    (tmp_path / "there/a.jsonl").write_text("1234")
    assert listed(tmp_path / "there")["digest"] != here["digest"]
    (tmp_path / "there/a.jsonl").rename(tmp_path / "there/c.jsonl")
    (tmp_path / "there/c.jsonl").write_text("12345")
    assert listed(tmp_path / "there")["digest"] != here["digest"]


def test_a_list_of_words_counts_by_what_it_says(tmp_path: pathlib.Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.jsonl").write_text("12345")
    for name, words in (("one", "bad\nworse"), ("same", "worse\n\nBAD"), ("other", "bad")):
        (tmp_path / name).write_text(words)
    plain = listed(tmp_path / "text")
    one, same, other = (listed(tmp_path / "text", filters={"bad_words": str(tmp_path / name)}) for name in ("one", "same", "other"))
    assert one == same
    assert len({found["digest"] for found in (plain, one, other)}) == 3
    assert {found["bytes"] for found in (plain, one, other)} == {5}
