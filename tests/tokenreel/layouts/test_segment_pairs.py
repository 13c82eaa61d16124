import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import SENTENCE_LENGTHS
from tokenreel.errors import BuildError, ConfigError
from tokenreel.layouts import segment_pairs


def plan(documents, seq_len=24, ids=None, **settings):
    flat = [n for document in documents for n in document]
    ids = np.arange(len(documents)) if ids is None else ids
    return segment_pairs.plan(flat, [len(d) for d in documents], ids, seq_len, **{"seed": 0, **settings})


@given(SENTENCE_LENGTHS, st.integers(5, 30), st.sampled_from(["next_sentence", "sentence_order"]), st.integers(0, 100))
def test_laws(documents, seq_len, task, seed):
    pairs = plan(documents, seq_len, task=task, seed=seed)
    lengths = [sum(d) for d in documents]
    assert (pairs.length >= 1).all() and (pairs.length.sum(axis=1) <= seq_len - 3).all() and (pairs.start >= 0).all()
    assert (pairs.start + pairs.length <= np.array([*lengths, 0])[pairs.document]).all()
    assert (len(pairs) > 0) == (sum(lengths) > 0)
    filled = [d for d, n in enumerate(lengths) if n]
    assert set(filled) <= set(pairs.document.ravel().tolist())
    same = pairs.document[:, 0] == pairs.document[:, 1]
    if task == "next_sentence" and len(filled) > 1:
        np.testing.assert_array_equal(pairs.label == 1, ~same)
    if task == "sentence_order" and len(filled) > 1:
        ordered = pairs.start[:, 0] < pairs.start[:, 1]
        np.testing.assert_array_equal(pairs.label[same] == 1, ~ordered[same])
        assert (pairs.label[~same] == 1).all()

    tokens = np.arange(10, 10 + sum(lengths))
    offsets = np.cumsum([0, *lengths])[:-1]
    made = segment_pairs.fill(tokens, offsets, pairs, seq_len, first_id=1, separator_id=2, pad_id=0)
    for row in range(len(pairs)):
        a, b = (
            list(range(10 + offsets[d] + s, 10 + offsets[d] + s + n))
            for d, s, n in zip(pairs.document[row], pairs.start[row], pairs.length[row], strict=True)
        )
        expected = [1, *a, 2, *b, 2]
        assert made["tokens"][row].tolist() == expected + [0] * (seq_len - len(expected))
        assert made["num_tokens"][row] == len(expected)
        assert made["segment_ids"][row].tolist() == [0] * (len(a) + 2) + [1] * (len(b) + 1) + [0] * (seq_len - len(expected))


@given(SENTENCE_LENGTHS, st.integers(5, 30), st.sampled_from(["next_sentence", "sentence_order"]), st.integers(0, 100))
def test_a_token_counts_once_however_many_pairs_hold_it(documents, seq_len, task, seed):
    pairs = plan(documents, seq_len, task=task, seed=seed)
    held = [set(range(s, s + n)) for s, n in zip(pairs.start.ravel().tolist(), pairs.length.ravel().tolist(), strict=True)]
    places = {(document, at) for document, some in zip(pairs.document.ravel().tolist(), held, strict=True) for at in some}
    assert len(places) == pairs.length.sum() - pairs.repeated.sum()
    assert (pairs.repeated >= 0).all() and (pairs.repeated <= pairs.length.sum(axis=1)).all()
    lengths = [sum(document) for document in documents]
    whole = [any(d == document and len(some) == n for d, some in zip(pairs.document.ravel().tolist(), held, strict=True))
             for document, n in enumerate(lengths)]  # fmt: skip
    assert pairs.whole(lengths).tolist() == [found and n > 0 for found, n in zip(whole, lengths, strict=True)]


def test_select_and_segments():
    pairs = plan([[4] * 40 for _ in range(20)])
    some = pairs.select([5, 2])
    assert some.start.tolist() == pairs.start[[5, 2]].tolist() and len(some) == 2
    table = some.layout()
    assert table.example.tolist() == [0, 0, 1, 1] and table.document.tolist() == pairs.document[[5, 2]].ravel().tolist()
    assert table.num_examples == 2


@given(SENTENCE_LENGTHS, st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_matter(documents, random):
    order = list(range(len(documents)))
    random.shuffle(order)

    def named(pairs, ids):
        rows = zip(
            np.array([*ids, 0])[pairs.document].tolist(), pairs.start.tolist(), pairs.length.tolist(), pairs.label.tolist(), strict=True
        )
        return sorted(map(repr, rows))

    straight = plan(documents, ids=np.arange(len(documents)) * 7)
    shuffled = plan([documents[i] for i in order], ids=np.array(order, int) * 7)
    assert named(straight, np.arange(len(documents)) * 7) == named(shuffled, np.array(order, int) * 7)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(0, 50))
def test_sentences_not_used_come_again(document, seed):
    """First segments and true second ones cover the document in order; what a random second displaced begins the next pair."""
    pairs = plan([document, [5, 5]], 24, seed=seed, short_rate=0)
    own = np.flatnonzero(pairs.document[:, 0] == 0)
    ends = np.append(0, np.cumsum(document))
    room = 21
    at = 0
    for row in own:
        first_sentence = int(np.searchsorted(ends, at))
        chunk_end = ends[min(max(np.searchsorted(ends, at + room), first_sentence + 1), len(document))]
        assert at <= pairs.start[row, 0] < chunk_end
        if pairs.label[row] == 0:
            assert pairs.start[row, 0] + pairs.length[row, 0] <= pairs.start[row, 1] < chunk_end
            at = chunk_end
        else:
            following = own[own > row]
            at = chunk_end if not len(following) else max(e for e in ends if e <= pairs.start[following[0], 0])
            assert at > pairs.start[row, 0] or not len(following)
    assert at == ends[-1] or pairs.label[own[-1]] == 1


def test_shares_of_random_pairs():
    documents = [[4] * 40 for _ in range(400)]
    pairs = plan(documents, 43, short_rate=0)
    n = len(pairs)
    # Where chunks have ten sentences, half are random; the last chunks of documents may be a single sentence, which forces it.
    assert 0.5 - 5 * np.sqrt(0.25 / n) < pairs.label.mean() < 0.58
    swapped = plan(documents, 43, short_rate=0, task="sentence_order")
    assert abs(swapped.label.mean() - 0.5) < 5 * np.sqrt(0.25 / len(swapped))


def test_short_targets_are_uniform():
    documents = [[1] * 400 for _ in range(3000)]
    pairs = plan(documents, 103, short_rate=1, task="sentence_order")
    heads = np.unique(pairs.document[:, 0], return_index=True)[1]
    total = pairs.length.sum(axis=1)[heads]
    assert total.min() == 2 and total.max() == 100
    assert abs(total.mean() - 51) < 5 * np.sqrt((99**2 - 1) / 12 / 3000)


def test_trimming_takes_from_the_longer_side_and_both_ends():
    pairs = plan([[50, 150]], 63, task="sentence_order", short_rate=0)
    assert pairs.length.tolist() == [[30, 30]] and pairs.trimmed.sum() == 140
    many = plan([[50, 150]] * 500, 63, task="sentence_order", short_rate=0)
    fronts = many.start.max(axis=1) - 50  # cut off in front of the long sentence: of 120 coins
    assert abs(fronts.mean() - 60) < 5 * np.sqrt(30 / 500) and abs(fronts.std() - np.sqrt(30)) < 1


def test_coins():
    states = segment_pairs.keys.streams(0, "coins", np.arange(2000))
    counts = np.tile([0, 1, 64, 65, 200], 400)
    heads = segment_pairs._coins(states, counts)
    assert (heads <= counts).all() and (heads[counts == 0] == 0).all()
    for count in (1, 64, 65, 200):
        assert abs(heads[counts == count].mean() - count / 2) < 5 * np.sqrt(count / 4 / 400)


def test_variants_differ():
    documents = [[4] * 40 for _ in range(20)]
    assert (plan(documents, variant=0).start[:20] != plan(documents, variant=1).start[:20]).any()


def test_impossible_settings():
    with pytest.raises(ConfigError, match="seq_len must be at least 5"):
        plan([[3]], 4)
    with pytest.raises(ConfigError, match="task must be next_sentence or sentence_order"):
        plan([[3]], 8, task="nsp")
    with pytest.raises(ConfigError, match="short_rate must lie"):
        plan([[3]], 8, short_rate=2)
    with pytest.raises(BuildError, match="2 documents of 3 sentences"):
        segment_pairs.plan([1, 2], [2, 1], [0, 1], 8, seed=0)
