import functools
import operator
import re

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tests.tokenreel.loaders.conftest import RUN_COUNT as COUNT
from tests.tokenreel.loaders.conftest import RUN_LENGTH as LENGTH
from tests.tokenreel.loaders.conftest import ids
from tokenreel.errors import ConfigError
from tokenreel.loaders import Lanes, Mixture, load


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_lanes_give_hosts_whole_blocks_and_all_the_same_batches(dataset, hosts):
    lanes = Lanes(lanes=4, mix=2, block=5)
    whole = ids(dataset.batches(8, shuffle=lanes, epochs=1, prefetch=0))
    parts = [ids(dataset.batches(8, shuffle=lanes, epochs=1, hosts=hosts, host=host, prefetch=0)) for host in range(hosts)]
    assert [functools.reduce(operator.iadd, rows, []) for rows in zip(*parts, strict=True)] == whole
    dealt = 103 // 5 // 4 * 4 * 5 // 8  # batches before the blocks that are left over
    blocks = [{example // 5 for batch in part[:dealt] for example in batch} for part in parts]
    assert sum(map(len, blocks)) == len(set().union(*blocks))


def test_hosts_of_a_short_last_batch_take_the_same_steps(dataset):
    parts = [list(dataset.batches(10, epochs=1, hosts=4, host=host, drop_remainder=False, prefetch=0)) for host in range(4)]
    assert [len(part) for part in parts] == [11] * 4
    assert sum(len(part[-1]["example_id"]) for part in parts) == 3
    assert parts[0][-1]["tokens"].shape == (0, LENGTH)


@pytest.mark.parametrize("hosts", [1, 4])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_the_last_batch_filled_up(dataset, hosts, prefetch):
    features = ["inputs", "example_id", "loss_weights", "document_starts"]
    plain = list(dataset.batches(20, epochs=1, features=features, drop_remainder=False))
    options = {"epochs": 1, "features": features, "pad_remainder": True, "prefetch": prefetch}
    parts = [list(dataset.batches(20, **options, hosts=hosts, host=host)) for host in range(hosts)]
    for step, batch in enumerate(plain):
        rows = [part[step] for part in parts]
        assert all(len(part["inputs"]) == 20 // hosts for part in rows)
        whole = {name: np.concatenate([part[name] for part in rows]) for name in features}
        real = len(batch["inputs"])
        assert all(np.array_equal(whole[name][:real], values) for name, values in batch.items())
        assert (whole["example_id"][real:] == -1).all() and not whole["loss_weights"][real:].any() and not whole["inputs"][real:].any()
    running = dataset.batches(20, **options)
    assert sum(1 for _ in running) == 6 == running.num_batches and running.cursor == COUNT


def test_given_rows(dataset):
    whole = ids(dataset.batches(12, epochs=1, prefetch=0))
    some = ids(dataset.batches(12, epochs=1, rows=[7, 0, 11], prefetch=0))
    assert some == [[batch[7], batch[0], batch[11]] for batch in whole]
    assert dataset.batches(12, rows=[2], prefetch=0).batch_at(24)["example_id"].tolist() == [whole[2][2]]
    assert dataset.batches(12).batch_at(24, rows=range(12))["example_id"].tolist() == whole[2]
    nothing = next(dataset.batches(12, rows=[]))
    assert nothing["tokens"].shape == (0, LENGTH)


def boundaries(ids, positions):
    """Where segments and padding begin, by a loop over the rows of fields that say it another way."""
    found = [0]
    for row, (numbers, places) in enumerate(zip(ids, positions, strict=True)):
        for column in range(1, len(numbers)):
            if numbers[column] != numbers[column - 1] or (numbers[column] and places[column] == 0):
                found.append(row * len(numbers) + column)
        found.append((row + 1) * len(numbers))
    return found


@pytest.fixture(scope="module", params=[0, 1], ids=["alone", "overlapping"])
def padded(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("padded") / "d"
    write_dataset(path, {"train": random_examples(50, 16, overlap=request.param, padded=True)}, overlap=request.param)
    return load(path)


@pytest.mark.parametrize("beside", [["tokens"], ["inputs", "targets"]], ids=["tokens", "inputs"])
def test_the_boundaries_of_a_batch(padded, beside):
    features = [*beside, "segment_ids", "positions", "cu_seqlens", "max_seqlen"]
    mixture = Mixture({"a": padded, "b": padded}, {"a": 1, "b": 2}, by="examples", stop="all_used")
    for batches in (
        padded.batches(8, seed=1, epochs=1, features=features, drop_remainder=False),
        padded.batches(8, seed=1, epochs=1, features=features, pad_remainder=True),
        padded.batches(8, seed=1, epochs=1, features=features, hosts=3, host=1),
        padded.batches(8, seed=1, epochs=1, features=features, rows=[]),
        mixture.batches(8, seed=1, features=features),
    ):
        for batch in batches:
            assert set(features) <= set(batch) <= {*features, "source"}
            assert batch["cu_seqlens"].tolist() == boundaries(batch["segment_ids"], batch["positions"])
            assert batch["cu_seqlens"][-1] == batch[beside[0]].size
            assert batch["max_seqlen"] == np.diff(batch["cu_seqlens"]).max(initial=0) and batch["max_seqlen"].shape == ()
            assert (batch["cu_seqlens"].dtype, batch["max_seqlen"].dtype) == (np.int32, np.int32)


def test_boundaries_of_a_declared_size(padded):
    plain = next(padded.batches(8, seed=1, features=["tokens", "cu_seqlens"], prefetch=0))["cu_seqlens"]
    sized = padded.batches(8, seed=1, features=["tokens", "cu_seqlens"], cu_seqlens_size=len(plain) + 40, prefetch=0)
    assert next(sized)["cu_seqlens"].tolist() == [*plain, *[plain[-1]] * 40]
    assert list(next(sized)) == ["tokens", "cu_seqlens"]
    with pytest.raises(ConfigError, match=f"cu_seqlens_size: a batch has {len(plain) - 1} segments.*give size {len(plain)}"):
        next(padded.batches(8, seed=1, features=["tokens", "cu_seqlens"], cu_seqlens_size=len(plain) - 1, prefetch=0))
    with pytest.raises(ConfigError, match="cu_seqlens is of a whole batch, not of an example"):
        padded.take([0], ["cu_seqlens"])


class Other:
    def apply(self, arrays, example_ids, *, seed, variant, epoch):
        return {"inputs": arrays["tokens"]}


def test_boundaries_that_nothing_tells(padded):
    with pytest.raises(ConfigError, match="derived from document_starts, and the objective makes inputs"):
        next(padded.batches(8, objective=Other(), features=["inputs", "cu_seqlens"], prefetch=0))


def test_what_cuts_batches_by_rows_refuses_boundaries(padded):
    options = {"features": ["tokens", "cu_seqlens", "max_seqlen"], "epochs": 1}
    from tokenreel.loaders.to_grain import BatchSource

    with pytest.raises(ConfigError, match="Grain needs shapes that do not change"):
        BatchSource(padded.batches(8, **options))
    assert BatchSource(padded.batches(8, cu_seqlens_size=99, **options))[2]["cu_seqlens"].shape == (99,)
    sized = padded.batches(8, cu_seqlens_size=99, **options).options
    sized.check_whole_batches("anything")
    with pytest.raises(ConfigError, match="cu_seqlens and max_seqlen have no axis of rows, and a mesh cuts batches by rows"):
        sized.check_whole_batches("anything", "a mesh")


@pytest.mark.torch
def test_torch_gets_the_boundaries_as_tensors(padded):
    import torch

    from tokenreel.loaders.to_torch import TorchBatches

    features = ["inputs", "cu_seqlens", "max_seqlen"]
    expected = list(padded.batches(8, seed=1, epochs=1, features=features))
    loader = TorchBatches(padded.batches(8, seed=1, epochs=1, features=features))
    for batch, tensors in zip(expected, loader, strict=True):
        assert tensors["cu_seqlens"].dtype == tensors["max_seqlen"].dtype == torch.int32 and tensors["max_seqlen"].ndim == 0
        assert all(np.array_equal(values, tensors[name].numpy()) for name, values in batch.items())


@pytest.mark.parametrize(
    ("batch_size", "options", "message"),
    [
        (COUNT + 1, {"epochs": 1}, f"no whole batch of {COUNT + 1}: it has {COUNT} samples. Make batches smaller or epochs more"),
        (2 * COUNT + 1, {"epochs": 2}, f"it has {2 * COUNT} samples"),
        (8, {"epochs": 1, "skip": [(0, COUNT - 7)]}, "no whole batch of 8: it has 7 samples"),
        (8, {"epochs": 1, "skip": [(0, COUNT)]}, "this run holds no sample: `skip` leaves out all"),
        (8, {"epochs": 1, "skip": [(0, COUNT)], "drop_remainder": False}, "this run holds no sample"),
        (4, {"hosts": 8, "host": 0}, "a batch of 4 rows is shared by 8 hosts, so that some get none: make batch_size at least 8"),
    ],
)
def test_batches_that_would_never_come_are_refused_when_they_are_made(dataset, batch_size, options, message):
    """They ended at once, or gave a host batches without rows for ever."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        dataset.batches(batch_size, **options)
    mixed = {name: value for name, value in options.items() if name not in ("epochs", "skip")}
    if "epochs" in options and "skip" not in options:
        with pytest.raises(ConfigError, match="no whole batch"):
            Mixture({"a": dataset}, stop="all_used", epochs=options["epochs"]).batches(batch_size, **mixed)


def test_a_short_batch_that_is_asked_for_comes(dataset):
    for options in ({"drop_remainder": False}, {"pad_remainder": True}):
        (batch,) = dataset.batches(COUNT + 1, epochs=1, **options)
        assert len(batch["tokens"]) == COUNT + ("pad_remainder" in options)
    assert len(next(dataset.batches(COUNT + 1))["tokens"]) == COUNT + 1  # a run without end goes on into the next epoch
