"""Texts cut and joined, as T5 does it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.tasks import ExampleStream, Feature, map_seed_manager, t5_segments
from tokenreel.tasks.vocabularies import PassThroughVocabulary

FEATURES = {name: Feature(PassThroughVocabulary(100, eos_id=1)) for name in ("inputs", "targets")}


def stream(*texts, **more):
    return ExampleStream.from_examples([{"targets": np.array(text, np.int32), **more} for text in texts])


def targets(dataset):
    return [example["targets"].tolist() for example in dataset]


def joined(parts):
    return list(itertools.chain.from_iterable(parts))


def test_split_tokens() -> None:
    split = t5_segments.split_tokens
    for length, lengths in ((25, [25] * 4), (30, [30, 30, 30, 10]), (1000, [100])):
        made = targets(split(stream(range(100)), max_tokens_per_segment=length))
        assert [len(part) for part in made] == lengths and joined(made) == list(range(100))
    assert targets(split(stream([], [1, 2, 3], []), max_tokens_per_segment=2)) == [[1, 2], [3]]
    drawn = [len(targets(split(stream(range(1000), id=i), min_tokens_per_segment=8, max_tokens_per_segment=64))[0]) for i in range(2)]
    assert drawn[0] == drawn[1] and 8 <= drawn[0] < 64  # the seed is that of the example, which has the same place
    several = targets(split(stream(*[range(1000)] * 30), min_tokens_per_segment=8, max_tokens_per_segment=64))
    assert len({len(part) for part in several}) > 15
    with pytest.raises(ConfigError, match="split_tokens needs max_tokens_per_segment"):
        split(stream([1]))


def test_features_beside_the_tokens() -> None:
    dataset = stream([1, 2, 3], scores=np.array([0.1, 0.2, 0.3], np.float32), id=7, lost=8)
    more = {"additional_feature_keys": ["scores"], "passthrough_feature_keys": ["id"]}
    made = list(t5_segments.split_tokens(dataset, max_tokens_per_segment=2, **more))
    assert [sorted(example) for example in made] == [["id", "scores", "targets"]] * 2
    assert [example["scores"].tolist() for example in made] == [np.float32([0.1, 0.2]).tolist(), np.float32([0.3]).tolist()]
    (chunk,) = t5_segments.select_random_chunk(dataset, FEATURES, max_length=9, **more)
    assert sorted(chunk) == ["id", "scores", "targets"] and len(chunk["scores"]) == 3
    with pytest.raises(ConfigError, match=r"split keys \['targets'\] also included in passthrough keys"):
        t5_segments.split_tokens(dataset, max_tokens_per_segment=2, passthrough_feature_keys=["targets"])
    with pytest.raises(ConfigError, match="Additional feature scores is not the same size as targets"):
        list(t5_segments.split_tokens(stream([1, 2], scores=[1]), max_tokens_per_segment=2, additional_feature_keys=["scores"]))


def test_random_chunks() -> None:
    texts = [range(100)] * 60
    aligned = targets(t5_segments.select_random_chunk(stream([], *texts), FEATURES, max_length=16))
    assert len(aligned) == 60 and {chunk[0] % 16 for chunk in aligned} == {0} and {len(chunk) for chunk in aligned} == {16, 4}
    anywhere = targets(t5_segments.select_random_chunk(stream(*texts), FEATURES, max_length=16, uniform_random_start=True))
    assert len({chunk[0] for chunk in anywhere}) > 30 and all(chunk == list(range(chunk[0], chunk[-1] + 1)) for chunk in anywhere)
    lengths = {len(chunk) for chunk in targets(t5_segments.select_random_chunk(stream(*texts), FEATURES, max_length=16, min_length=8))}
    assert lengths <= {*range(8, 16), *range(1, 16)} and len(lengths) > 5
    by_length = t5_segments.select_random_chunk(stream(range(9)), FEATURES, sequence_length={"targets": 4})
    assert len(targets(by_length)[0]) == 3  # and EOS
    with pytest.raises(ConfigError, match=r"Must specify max_length or sequence_length\."):
        list(t5_segments.select_random_chunk(stream([1]), FEATURES))


def test_a_chunk_does_not_depend_on_what_else_is_read() -> None:
    texts = [range(start, start + 100) for start in range(0, 2000, 100)]

    def chunks(dataset):
        with map_seed_manager(5):
            return [chunk.tolist() for chunk in (example["targets"] for example in t5_segments.select_random_chunk(dataset, FEATURES, 8))]

    whole = chunks(stream(*texts))
    assert chunks(stream(*texts).shard(4, 1)) == whole[1::4] and chunks(stream(*texts).skip(7)) == whole[7:]


def test_joining() -> None:
    join = t5_segments.reduce_concat_tokens
    dataset = stream([1, 2], [], [3, 0, 4], [5], id=1)
    assert targets(join(dataset)) == [[1, 2, 3, 0, 4, 5]] and targets(join(dataset, batch_size=3)) == [[1, 2, 3, 0, 4], [5]]
    assert targets(join(dataset, batch_size=3, separator_id=9)) == [[1, 2, 9, 9, 3, 0, 4, 9], [5, 9]]
    assert targets(join(dataset, compat="seqio")) == [[1, 2, 3, 4, 5]]
    with map_seed_manager(0, compat="seqio"):
        assert targets(join(dataset)) == [[1, 2, 3, 4, 5]]
    assert [sorted(example) for example in join(dataset)] == [["targets"]] and next(iter(join(dataset)))["targets"].dtype == np.int32
    iterator = iter(join(dataset, batch_size=2))
    next(iterator)
    again = iter(join(dataset, batch_size=2))
    again.set_state(iterator.get_state())
    assert targets(again) == targets(iterator) == [[3, 0, 4, 5]]


def test_lengths_of_the_run() -> None:
    lengths = {"sequence_length": {"inputs": 4, "targets": 3}, "output_features": FEATURES}
    dataset = stream([1, 2, 3, 4, 5], [6], [7, 8])
    assert targets(t5_segments.split_tokens_to_inputs_length(dataset, **lengths)) == [[1, 2, 3], [4, 5], [6], [7, 8]]
    assert targets(t5_segments.split_tokens_to_targets_length(dataset, **lengths)) == [[1, 2], [3, 4], [5], [6], [7, 8]]
    assert targets(t5_segments.concatenate_and_split_to_fixed_length(dataset, **lengths)) == [[1, 2], [3, 4], [5, 6], [7, 8]]
    random = t5_segments.split_tokens_to_random_length(stream(range(99)), {"inputs": 20, "targets": 3}, FEATURES)
    assert joined(targets(random)) == list(range(99)) and 8 <= len(targets(random)[0]) < 20
    trim = t5_segments.trim_tokens_at_front
    assert targets(trim(stream([1, 2, 3]), {"targets": 3, "inputs": 4})) == [[2, 3]] and targets(trim(stream([1, 2]), {"targets": 1})) == [
        []
    ]


def test_lengths_of_texts() -> None:
    texts = ExampleStream.from_examples([{"targets": text} for text in ("", "a", "abc", "é")])
    assert [example["targets"] for example in t5_segments.filter_by_string_length(texts, max_length=2)] == [b"a", "é".encode()]


@pytest.mark.tensorflow
def test_steps_over_tf_data() -> None:
    dataset = stream([1, 2, 3], [4, 5]).to_tf_data()
    made = t5_segments.split_tokens(t5_segments.reduce_concat_tokens(dataset), max_tokens_per_segment=2)
    assert [example["targets"].tolist() for example in made.as_numpy_iterator()] == [[1, 2], [3, 4], [5]]
