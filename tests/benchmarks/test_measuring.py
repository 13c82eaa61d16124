"""The benchmarks measure what they say: all processes of a job, the same model in another format, the same lines in other files."""

from __future__ import annotations

import itertools
import json
import pathlib
import sys

import pytest

from benchmarks import build, gigatoken_race, packing, processes, tokenization
from tests.conftest import train_model
from tokenreel.layouts import bin_packing, wrapping

_TWO = """
import subprocess, sys, time
held = bytearray(b"x" * 60_000_000)
child = "import time; held = bytearray(b'x' * 60_000_000); sum(range(3_000_000)); time.sleep(1.2)"
subprocess.run([sys.executable, "-c", child], check=True)
"""


def test_the_memory_of_all_processes_counts() -> None:
    cost = processes.measure([sys.executable, "-c", _TWO])
    assert cost.processes == 2
    assert cost.resident > 120
    assert cost.proportional is None or 110 < cost.proportional <= 1.05 * cost.resident  # each is a peak of its own, sampled in turns
    assert cost.wall >= 1.2 and cost.cpu > 0


def test_a_job_that_fails_says_why() -> None:
    with pytest.raises(SystemExit, match="the reason"):
        processes.measure([sys.executable, "-c", "raise SystemExit('the reason')"])


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_converted_model_gives_the_same_ids(texts: list[str], tmp_path: pathlib.Path, kind: str) -> None:
    import sentencepiece

    model = train_model(texts[:400], tmp_path, kind, 500)
    processor = sentencepiece.SentencePieceProcessor(model_file=model)
    documents = [*texts[400:500], "  two  spaces ", "ﬁne ½", "日本", "a\n\nb\tc", ""]
    converted = tokenization.convert(model).encode_batch(documents, add_special_tokens=False)
    assert [encoding.ids for encoding in converted] == [processor.encode(text) for text in documents]


def test_texts_are_mixed_evenly_and_scattered_whole(tmp_path: pathlib.Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, count in (("a", 300), ("b", 100)):
        (corpus / f"{name}.jsonl").write_text("".join(json.dumps({"text": f"{name} {i:05}"}) + "\n" for i in range(count)))
    beginning = [json.loads(line)["text"][0] for line in itertools.islice(build.lines(corpus), 40)]
    assert abs(beginning.count("a") - 30) <= 1
    again = list(itertools.islice(build.lines(corpus), 800))
    assert again[:400] == again[400:] and len(set(again)) == 400
    paths = build.select(corpus, tmp_path / "text", 0.005)
    found = [line for path in paths for line in pathlib.Path(path).read_bytes().splitlines()]
    scattered = build.scatter(paths, tmp_path / "scattered", 30)
    assert len(scattered) == 30
    assert sorted(line for path in scattered for line in pathlib.Path(path).read_bytes().splitlines()) == sorted(found)


def test_what_layouts_do_to_documents_adds_up():
    lengths = [14, 0, 7, 5, 2, 3]
    counts = packing.statistics(bin_packing.best_fit(lengths, 8), lengths, 8)
    assert (counts["examples"], counts["positions"], counts["tokens"], counts["segments"]) == (4, 32, 31, 6)
    assert (counts["documents"], counts["cut_documents"], counts["cut_documents_that_fit"]) == (5, 1, 0)
    assert counts["segments_per_example"][:3].tolist() == [0, 2, 2] and counts["segment_lengths"][:5].tolist() == [0, 0, 2, 3, 1]
    wrapped = packing.statistics(wrapping.wrap(lengths, 8, 1), lengths, 8)
    assert (wrapped["cut_documents_that_fit"], wrapped["dropped_documents"]) == (2, 2)
    assert wrapped["dropped"] == {"last_example": 6} and wrapped["repeated_tokens"] == 2


def test_the_interval_of_a_median_holds_it_and_narrows() -> None:
    ratios = [1.0 + i / 100 for i in range(9)]
    median, low, high = gigatoken_race.interval(ratios)
    assert low < median == 1.04 < high and low >= 1.0 and high <= 1.08
    _, narrow_low, narrow_high = gigatoken_race.interval(ratios * 50)
    assert narrow_high - narrow_low < (high - low) / 2


def test_what_falls_short_of_gigatoken_or_differs_is_kept() -> None:
    table = gigatoken_race.Table()
    taken = {"ours cold": [1.0] * 3, "ours warm": [2.0] * 3, "gigatoken cold": [2.0] * 3, "gigatoken warm": [1.0] * 3, "library": [9.0] * 3}
    table.add("model", "english", ["a"], taken, [], 0)
    assert [each.partition(": ")[0] for each in table.missed] == ["model, english, warm"] * 2
    table.add("model", "digits", ["a"], taken, ["a"], 0)  # gigatoken does not count there
    assert table.missed[2:] == ["model, digits: 1 documents differ"]
