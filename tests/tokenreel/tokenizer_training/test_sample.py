from __future__ import annotations

import pathlib
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel import ragged
from tokenreel.config.tokenizer import Shares
from tokenreel.errors import BuildError
from tokenreel.tokenizer_training import output, sample_files, sample_plan
from tokenreel.tokenizer_training.sample import hash_documents, measure
from tokenreel.tokenizer_training.sample_files import Sample
from tokenreel.tokenizer_training.sample_plan import BUCKETS, Totals
from tokenreel.tokenizer_training.texts import Texts


def documents(texts: list[bytes], keys: list[int] | None = None) -> Texts:
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    key = np.array(range(len(texts)) if keys is None else keys, dtype=np.uint64)
    return Texts(np.frombuffer(b"".join(texts), dtype=np.uint8), ragged.offsets_of(lengths), key, [], {})


def sample(
    directory: pathlib.Path,
    parts: list[tuple[int, Texts]],
    budget: int | None,
    *,
    held_out: int = 1,
    shares: Shares | None = None,
    limit: int = 1000,
    sources: int = 1,
    seed: int = 5,
) -> Sample:
    totals, written = Totals(sources), []
    for number, (source, part) in enumerate(parts):
        measured, candidates = measure(part, source, seed, limit, BUCKETS)
        totals.add(measured)
        written.append((source, str(directory / str(number))))
        sample_files.write_candidates(written[-1][1], candidates)
    return Sample(sample_plan.plan(totals, budget, held_out, shares or Shares((1.0,) * sources, by_text=True), limit), written)


def test_the_smallest_hashes_fill_the_budget(tmp_path: pathlib.Path) -> None:
    texts = [b"%04d" % i for i in range(500)]
    found = list(sample(tmp_path, [(0, documents(texts))], 402))
    hashes = hash_documents(5, np.arange(500, dtype=np.uint64))
    expected = [texts[i] for i in np.argsort(hashes)]
    assert [one.text for one in found] == [*expected[:100], expected[100][:2]]
    assert [one.hash for one in found] == sorted(int(h) for h in hashes)[:101]


def test_how_documents_are_cut_into_parts_does_not_matter(tmp_path: pathlib.Path) -> None:
    random_ = random.Random(1)
    texts = ["é".encode() * random_.randrange(40) + b"%d" % i for i in range(400)]
    keys = [i // 2 for i in range(400)]  # every name twice
    folders = [tmp_path / str(i) for i in range(3)]
    for folder in folders:
        folder.mkdir()
    whole = sample(folders[0], [(0, documents(texts, keys))], 5000, limit=31)
    expected = list(whole)
    order = random_.sample(range(400), 400)
    parts = [order[i : i + 37] for i in range(0, 400, 37)]
    cut = [(0, documents([texts[i] for i in part], [keys[i] for i in part])) for part in parts]
    assert list(sample(folders[1], cut, 5000, limit=31)) == expected
    again = sample(folders[2], cut[::-1], 5000, limit=31)
    assert list(again) == expected
    assert again.held_out(0) == whole.held_out(0)
    assert sum(len(one.text) for one in expected) == whole.bytes[0] and 4997 <= whole.bytes[0] <= 5000
    assert max(len(one.text) for one in expected) <= 31


def test_held_out_documents_follow_the_sample(tmp_path: pathlib.Path) -> None:
    texts = [b"%04d" % i for i in range(300)]
    found = sample(tmp_path, [(0, documents(texts))], 400, held_out=100)
    assert found.measured_on == ["held_out"]
    assert len(found.held_out(0)) == 25
    assert not set(found.held_out(0)) & {one.text for one in found}
    everything = sample(tmp_path, [(0, documents(texts))], 10_000, held_out=100)
    assert everything.measured_on == ["sample"]
    assert everything.documents == [300] and everything.bytes == [1200]
    assert everything.held_out(0) == [one.text for one in everything][:25]


def test_weights_and_what_a_source_lacks(tmp_path: pathlib.Path) -> None:
    parts = [(source, documents([b"%d%07d" % (source, i) for i in range(count)])) for source, count in enumerate((1000, 1000, 10))]
    by_text = sample(tmp_path, parts, 2010, sources=3)
    assert by_text.bytes == [1000, 1000, 10]
    epochs = sample(tmp_path, parts, 1608, sources=3, shares=Shares((0.5, 1.0, 2.0), by_text=True))
    assert epochs.bytes == [528, 1057, 21]
    weighted = sample(tmp_path, parts, 1600, sources=3, shares=Shares((1.0, 2.0, 3.0), by_text=False))
    assert weighted.bytes == [506, 1013, 80]  # 80 are all there is
    assert weighted.measured_on == ["held_out", "held_out", "sample"]
    found = list(weighted)
    assert [one.hash for one in found] == sorted(one.hash for one in found), "the sources are mixed"
    counts = np.bincount([one.source for one in found])
    assert counts.tolist() == weighted.documents == [64, 127, 10]


def test_the_whole_text_leaves_only_documents_to_measure_on(tmp_path: pathlib.Path) -> None:
    found = sample(tmp_path, [(0, documents([b"abcd"] * 50))], None, held_out=20)
    assert list(found) == [] and found.held_out(0) == [b"abcd"] * 5
    assert found.measured_on == ["sample"]


def test_a_sample_is_a_part_of_a_larger_one(tmp_path: pathlib.Path) -> None:
    part = [(0, documents([b"%05d" % i for i in range(1000)]))]
    small, large = ([one.text for one in sample(tmp_path, part, budget)] for budget in (500, 2500))
    assert large[:100] == small
    other = [one.text for one in sample(tmp_path, part, 500, seed=6)]
    assert len(set(other) & set(small)) < 30


def test_empty_documents_are_not_sampled(tmp_path: pathlib.Path) -> None:
    found = sample(tmp_path, [(0, documents([b"", b"a", b"", b"b"]))], 100)
    assert sorted(one.text for one in found) == [b"a", b"b"]
    assert found.documents == [2]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6), st.integers(0, 4000), st.data())
def test_shares_use_the_budget_up(available: list[int], budget: int, data: st.DataObject) -> None:
    weights = [Fraction(data.draw(st.floats(0.001, 1000))) for _ in available]
    quotas = sample_plan.share(budget, weights, available)
    assert all(0 <= quota <= most for quota, most in zip(quotas, available, strict=True))
    wanted = min(budget, sum(available))
    assert wanted - len(available) < sum(quotas) <= wanted


@given(st.text(), st.integers(1, 20))
def test_documents_are_cut_at_characters(text: str, limit: int) -> None:
    data = text.encode()
    (length,) = sample_plan.cut_lengths(np.frombuffer(data, dtype=np.uint8), np.array([0, len(data)]), limit)
    assert length <= limit
    assert data[:length].decode() == text[: len(data[:length].decode())]
    assert len(data) <= limit or length > limit - 4


def test_sums_do_not_depend_on_order() -> None:
    parts = [measure(documents([b"x" * i], [i]), 0, 1, 50, 0)[0] for i in range(1, 100)]
    one, other, rest = Totals(1), Totals(1), Totals(1)
    for part in parts:
        one.add(part)
    for part in parts[50:]:
        rest.add(part)
    other.merge(rest)
    for part in reversed(parts[:50]):
        other.add(part)
    assert (one.bytes == other.bytes).all() and one.bytes.sum() == sum(min(i, 50) for i in range(1, 100))
    assert (one.documents, one.text_bytes, one.cut_documents) == (99, 4950, 49) == (other.documents, other.text_bytes, other.cut_documents)


def test_hashes_stay_as_they_are() -> None:
    """Whoever trains a tokenizer again from the same text relies on them: a change needs another version in `tokenizer_output`."""
    assert output.VERSION == "tokenizer-sample-1"
    assert [hex(h) for h in hash_documents(5, np.array([0, 1, 2**63], dtype=np.uint64)).tolist()] == [
        "0x8731fcc276c59ba5",
        "0x5d0e68940830e226",
        "0x8f5a7270b9f75f5a",
    ]


def test_guesses_take_most_samples_at_once() -> None:
    (limit,) = sample_plan.guess_limits(1 << 20, 1 << 10, Shares((1.0,), by_text=True), 1000, [1 << 30])
    assert BUCKETS / 1024 < limit < BUCKETS / 256
    assert sample_plan.guess_limits(1 << 30, 1, Shares((1.0, 1.0), by_text=True), 1000, [1 << 20, 0]) == (BUCKETS, BUCKETS)


def test_nothing_to_sample_is_an_error() -> None:
    with pytest.raises(BuildError, match=r"the sources a hold no text to train on"):
        sample_plan.check(Totals(1), ["a"], 0.1)
    totals = Totals(2)
    totals.left_out[0]["empty"], totals.left_out[1]["held_out_split"] = 1, 4
    with pytest.raises(BuildError, match=r"All 5 documents were left out: 4 held_out_split, 1 empty. Check sources, filters and splits"):
        sample_plan.check(totals, ["a", "b"], 0.1)


def test_too_much_that_cannot_be_read_is_an_error() -> None:
    totals = Totals(1)
    totals.documents[0] = 8
    totals.faults[0]["invalid_json"] = 2
    totals.examples = [(0, "b.jsonl", 17, "bad")]
    sample_plan.check(totals, ["a"], 0.2)
    with pytest.raises(BuildError, match=r"2 of 10 documents could not be read(.|\n)*a: b.jsonl byte 17: bad"):
        sample_plan.check(totals, ["a"], 0.19)
