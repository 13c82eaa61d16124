import functools
import operator

import numpy as np
import pytest

from tests.tokenreel.loaders.conftest import RUN_COUNT as COUNT
from tests.tokenreel.loaders.conftest import RUN_LENGTH as LENGTH
from tests.tokenreel.loaders.conftest import ids
from tokenreel.loaders import Lanes


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
