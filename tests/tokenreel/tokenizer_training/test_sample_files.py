from __future__ import annotations

import pathlib
import random

from tests.tokenreel.tokenizer_training.samples import documents, sample


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


def test_the_whole_text_leaves_only_documents_to_measure_on(tmp_path: pathlib.Path) -> None:
    found = sample(tmp_path, [(0, documents([b"abcd"] * 50))], None, held_out=20)
    assert list(found) == [] and found.held_out(0) == [b"abcd"] * 5
    assert found.measured_on == ["sample"]
