import numpy as np
import pytest

from tokenreel.loaders.order.lanes import LaneOrder, Lanes
from tokenreel.loaders.order.plan import Plan, batch_rows


@pytest.mark.parametrize(
    ("n", "lanes", "mix", "block"), [(1000, 4, 3, 10), (997, 4, 2, 10), (50, 8, 2, 10), (7, 1, 1, 3), (640, 32, 4, 5), (1, 1, 1, 1)]
)
def test_lane_order_is_a_bijection_with_its_inverse(n, lanes, mix, block):
    lane_order = LaneOrder(n, 99, Lanes(lanes=lanes, mix=mix, block=block))
    values = lane_order(np.arange(n))
    assert np.array_equal(np.sort(values), np.arange(n))
    assert np.array_equal(lane_order.inverse(values), np.arange(n))


def test_a_lane_reads_each_of_its_blocks_once():
    lanes = Lanes(lanes=8, mix=3, block=16)
    n = 8 * 16 * 10 + 5
    lane_order = LaneOrder(n, 1, lanes)
    blocks = lane_order(np.arange(lane_order.main)) // lanes.block
    owners = {}
    for position, block in enumerate(blocks.tolist()):
        assert owners.setdefault(block, position % 8) == position % 8
    for lane in range(8):
        own = blocks[lane::8]
        runs = [np.flatnonzero(own == block) for block in np.unique(own)]
        assert all(run[-1] - run[0] < lanes.mix * lanes.block for run in runs)  # a block stays open no longer than its group


@pytest.mark.parametrize("hosts", [1, 2, 4, 8])
@pytest.mark.parametrize("batch_size", [8, 16, 64])
def test_hosts_share_no_block_of_the_lanes(hosts, batch_size):
    lanes = Lanes(lanes=16, mix=2, block=8)
    plan = Plan([""], [16 * 8 * 6], seed=1, shuffle=lanes)
    rows = batch_rows(batch_size, lanes)
    assert sorted(rows.tolist()) == list(range(batch_size))
    blocks = [set() for _ in range(hosts)]
    for start in range(0, 16 * 8 * 6, batch_size):
        located = plan.locate(start + rows)
        for host, own in enumerate(np.split(located.example // 8, hosts)):
            blocks[host].update(own.tolist())
    assert sum(map(len, blocks)) == 16 * 6  # read amplification 1
