import pytest

from tokenreel.assembly.split_range import SplitRange


@pytest.mark.parametrize(("total", "size"), [(0, 3), (1, 3), (3, 3), (7, 3), (9, 1)])
def test_ranges_hold_everything_once(total: int, size: int) -> None:
    found = list(SplitRange.cut(4, total, size))
    assert [number for each in found for number in range(each.first, each.last)] == list(range(total))
    assert [(each.split, each.index, each.count) for each in found] == [(4, index, len(found)) for index in range(len(found))]
    assert all(each.last - each.first == size for each in found[:-1])
