"""The loader on a dataset that a build made: every token of every batch is traced back to the text it came from."""

import json

import numpy as np
import pytest

from pipelines import cli
from tests.buckets import storage, upload
from tokenreel.loaders import Lanes, Mixture, load, trace


def build(write_config, **settings):
    assert cli.main(["build", write_config(**settings), "--direct_num_workers=1"]) == 0


@pytest.mark.parametrize("mode", ["wrap", "best_fit"])
def test_every_token_is_where_the_trace_says(write_config, tmp_path, corpus, mode):
    packing = {"seq_len": 64, "overlap": 1} if mode == "wrap" else {"seq_len": 64, "mode": "best_fit"}
    build(write_config, packing=packing)
    dataset = load(tmp_path / "dataset", verify="full")
    vocabulary = dataset.vocabulary()
    texts = {}
    for path in corpus.glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                found = json.loads(line)
                texts[found["number"]] = found["text"]
    checked = 0
    batches = dataset.batches(16, seed=3, epochs=1, drop_remainder=False)
    for step, batch in enumerate(batches):
        if step % 5:
            continue
        for row, entry in enumerate(batches.where(step, vocabulary=vocabulary)):
            assert entry["example"] == batch["example_id"][row]
            start = 0
            for document in entry["documents"]:
                own = batch["tokens"][row, start : start + document["length"]]
                assert document["text"] == vocabulary.decode(own.tolist())
                number = int(document["metadata"]["number"])
                if number in texts:
                    whole = [*vocabulary.encode(texts[number]), vocabulary.eos_id]
                    first = document["doc_token_start"]
                    assert own.tolist() == whole[first : first + document["length"]]
                    checked += 1
                start += document["length"]
            end = int(batch["num_tokens"][row]) if "num_tokens" in batch else batch["tokens"].shape[1]
            assert start == end
        again = batches.when(int(batch["example_id"][0]))
        assert {"epoch": 0, "sample": step * 16, "step": step, "row": 0} in again
    assert checked > 50
    document = dataset.documents([7])[0][0]
    assert 7 in trace.examples_of(dataset, document["doc_id"])


def test_a_built_dataset_in_a_bucket_with_mixture_and_lanes(write_config, tmp_path):
    build(write_config)
    local = {split: load(tmp_path / "dataset", split) for split in ("train", "validation")}
    lanes = Lanes(lanes=4, mix=2, block=16)
    with storage() as bucket:
        upload(tmp_path / "dataset", f"{bucket}/d")
        for options in ({}, {"cache": tmp_path / "cache"}):
            remote = {split: load(f"{bucket}/d", split, **options) for split in local}
            pairs = zip(
                Mixture(local, {"train": 3, "validation": 1}, stop="all_used").batches(32, shuffle=lanes, seed=1),
                Mixture(remote, {"train": 3, "validation": 1}, stop="all_used").batches(32, shuffle=lanes, seed=1),
                strict=True,
            )
            for ours, theirs in pairs:
                assert all(np.array_equal(values, theirs[name]) for name, values in ours.items())
        assert remote["train"].documents([3]) == local["train"].documents([3])
