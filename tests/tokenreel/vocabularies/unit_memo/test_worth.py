"""When the memo is asked, and when the library."""

from __future__ import annotations

from tokenreel.vocabularies.unit_memo.worth import Phase, Worth

LIBRARY, FAST, SLOW = 100e-9, 30e-9, 400e-9  # seconds a byte: the library, and memos beside it


def bytes_looked_up(seconds_of_memo: float, new: float, total: int = 200 << 20) -> int:
    """How much of a text is looked up if the library takes 100 ns a byte."""
    worth, done, looked_up = Worth(1e-6, 50e-9), 0, 0
    while done < total:
        size, use_memo = worth.next_slice()
        use_memo = use_memo and worth.report(int(size / 5), size, int(new * size / 5), int(new * size), 0)
        looked_up += size * use_memo
        worth.timed(use_memo, size * (seconds_of_memo if use_memo else 100e-9), size)
        done += size
    return looked_up


def test_the_memo_stays_out_of_the_way_where_it_is_slower():
    assert bytes_looked_up(30e-9, new=0.1) > 195 << 20
    assert bytes_looked_up(200e-9, new=0.3) < 6 << 20
    assert bytes_looked_up(400e-9, new=0.9) < 2 << 20


def measured() -> Worth:
    """One that has just measured the library."""
    worth = Worth(1e-6, 50e-9)
    while worth.phase is Phase.MEASURE:
        library_encodes(worth)
    return worth


def library_encodes(worth: Worth) -> int:
    size, use_memo = worth.next_slice()
    assert not use_memo
    worth.timed(False, size * LIBRARY, size)
    return size


def memo_encodes(worth: Worth, pace: float) -> int:
    size, use_memo = worth.next_slice()
    assert use_memo
    worth.timed(True, size * pace, size)
    return size


def encode(worth: Worth, memo_pace: float) -> int:
    """Encodes the next slice as it should be."""
    return memo_encodes(worth, memo_pace) if worth.phase is Phase.LOOK_UP else library_encodes(worth)


def rest(worth: Worth) -> int:
    """The bytes that the library encodes until the next trial."""
    size = 0
    while worth.phase is Phase.REST:
        size += library_encodes(worth)
    assert worth.phase is Phase.LOOK_UP
    return size


def test_the_library_is_measured_on_three_samples_first():
    worth = Worth(1e-6, 50e-9)
    for _ in range(3):
        assert worth.phase is Phase.MEASURE and library_encodes(worth) == Worth.SAMPLE_BYTES
    assert worth.phase is Phase.LOOK_UP


def test_a_faster_memo_gets_larger_slices_and_the_library_a_sample_now_and_then():
    worth = measured()
    assert [memo_encodes(worth, FAST)] == [256 << 10]
    assert worth.phase is Phase.SAMPLE, "nothing was known of its pace"
    assert library_encodes(worth) == Worth.SAMPLE_BYTES and worth.phase is Phase.LOOK_UP
    sizes = []
    while worth.phase is Phase.LOOK_UP:
        sizes.append(memo_encodes(worth, FAST))
    assert sizes[:3] == [512 << 10, 1 << 20, 2 << 20] and max(sizes) == 2 << 20
    assert worth.phase is Phase.SAMPLE and 64 << 20 < sum(sizes) <= 66 << 20
    library_encodes(worth)
    memo_encodes(worth, 1.5 * FAST)
    assert worth.phase is Phase.SAMPLE, "it became slower: the text may have changed"


def test_each_trial_lost_makes_the_rest_eight_times_as_long():
    worth, rests = measured(), []
    for _ in range(4):
        while worth.phase is not Phase.REST:
            encode(worth, SLOW)
        rests.append(rest(worth))
    assert rests == [2 << 20, 16 << 20, 16 << 20, 16 << 20]


def test_a_slice_that_would_lose_more_than_the_credit_is_not_begun():
    worth = measured()
    size, _ = worth.next_slice()
    assert worth.report(size // 5, size, size // 50, size // 10, 0) and worth.phase is Phase.LOOK_UP
    for _ in range(20):  # what an empty memo may lose is soon used up
        if worth.phase is Phase.LOOK_UP and not worth.report(size // 5, size, size // 5, size, 0):
            break
        encode(worth, 2 * LIBRARY)
    assert worth.phase is Phase.REST


def test_gains_shorten_the_rest_again():
    worth, rests = measured(), []
    for gain in (False, False, True):
        if gain:
            memo_encodes(worth, FAST)
        while worth.phase is not Phase.REST:
            encode(worth, 1.1 * LIBRARY)
        rests.append(rest(worth))
    assert rests == [2 << 20, 16 << 20, 2 << 20]
