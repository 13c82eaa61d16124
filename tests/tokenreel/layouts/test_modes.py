import bisect
import itertools
import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenreel import keys
from tokenreel.config.build import JobConfig, PackingConfig, VocabularyConfig
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import BuildError, ConfigError
from tokenreel.layouts import bin_packing, filling, modes, one_document, segment_pairs, table, whole_sentences, wrapping
from tokenreel.planning import stream
from tokenreel.planning.recipe import make_recipe
from tokenreel.vocabularies.byte_level import ByteVocabulary

GOLDEN = pathlib.Path(__file__).parents[2] / "golden/packing.json"
LENGTHS = st.lists(st.integers(0, 40), max_size=40)


def rows(segments: table.Layout) -> list[list[tuple[int, int, int]]]:
    """[(document, start, length), ...] of each example."""
    result: list[list[tuple[int, int, int]]] = [[] for _ in range(segments.num_examples)]
    for e, d, s, n in zip(segments.example, segments.document, segments.start, segments.length, strict=True):
        result[e].append((int(d), int(s), int(n)))
    return result


def lengths_of(segments: table.Layout) -> list[list[int]]:
    return [[n for _, _, n in row] for row in rows(segments)]


def documents(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """A token stream in which each token is unlike all others, and where each document begins in it."""
    return np.arange(1, sum(lengths) + 1, dtype=np.int32), np.cumsum([0, *lengths])[:-1]


def check_conservation(lengths: list[int], segments: table.Layout, seq_len: int, *, in_order: bool = False) -> None:
    """Invariants of every layout: nothing lost uncounted, nothing twice uncounted, nothing out of order, nothing too long."""
    assert (segments.length > 0).all()
    seen = [np.zeros(n, int) for n in lengths]
    for d, s, n in zip(segments.document, segments.start, segments.length, strict=True):
        assert s + n <= lengths[d]
        seen[d][s : s + n] += 1
    times = np.concatenate([*seen, np.zeros(0, int)])
    assert (times == 0).sum() == sum(segments.dropped.values())
    assert times.sum() - (times > 0).sum() == segments.repeated
    assert segments.num_tokens().max(initial=0) <= seq_len
    if len(segments):
        assert (np.diff(segments.example) >= 0).all() and segments.example[-1] < segments.num_examples
        assert (segments.place % segments.align == 0).all()
    if in_order:  # the stream itself
        places = list(zip(segments.document.tolist(), segments.start.tolist(), strict=True))
        assert places == sorted(places)


def check_fill(lengths: list[int], segments: table.Layout, seq_len: int) -> None:
    """What `fill` writes is what the table says, position by position."""
    tokens, offsets = documents(lengths)
    filled, starts, num_tokens = filling.fill(tokens, offsets, segments, seq_len, pad_id=0)
    expected = np.zeros((segments.num_examples, seq_len), np.int32)
    expected_starts = np.zeros((segments.num_examples, seq_len), bool)
    for e, row in enumerate(rows(segments)):
        at = 0
        for d, s, n in row:
            expected[e, at : at + n] = tokens[offsets[d] + s : offsets[d] + s + n]
            expected_starts[e, at] = at > 0 or s == 0
            end = at + n
            at += -(-n // segments.align) * segments.align
            if end < at and (d, s, n) != row[-1]:
                expected_starts[e, end] = True
        assert num_tokens[e] == (end if row else 0)
    np.testing.assert_array_equal(filled, expected)
    np.testing.assert_array_equal(starts, expected_starts)


def best_fit_by_item(lengths: list[int], seq_len: int, max_segments: int | None = None, align: int = 1) -> list[list[tuple[int, int, int]]]:
    """The published rule, a piece at a time."""
    pieces = [(d, s, min(seq_len, n - s)) for d, n in enumerate(lengths) for s in range(0, n, seq_len)]
    pieces.sort(key=lambda piece: (seq_len - piece[2]) // align)  # stable: input order among equals
    examples: list[list[tuple[int, int, int]]] = []
    open_examples: list[tuple[int, int, int]] = []  # (room, time at which the example came to it, example)
    for time, piece in enumerate(pieces):
        cost = -(-piece[2] // align) * align
        at = bisect.bisect_left(open_examples, (cost, -1, -1))
        if at < len(open_examples):
            room, _, e = open_examples.pop(at)
        else:
            room, e = seq_len, len(examples)
            examples.append([])
        examples[e].append(piece)
        if room - cost and len(examples[e]) != max_segments:
            bisect.insort(open_examples, (room - cost, time, e))
    return examples


class TestWrap:
    def test_keras_hub_701(self):
        text = "With a running start the quick fox jumps over the lazy dog . </s> The lazy dog slept on and on and on . </s>"
        stream = text.split()
        ids = np.arange(25, dtype=np.uint16) + 1
        layout = wrapping.wrap([14, 11], 8)
        filled, starts, num_tokens = filling.fill(ids, [0, 14], layout, 8, pad_id=0)
        assert [[stream[i - 1] for i in row] for row in filled] == [stream[:8], stream[8:16], stream[16:24]]
        assert " ".join(stream[8:16]) == "over the lazy dog . </s> The lazy"
        assert np.argwhere(starts).tolist() == [[0, 0], [1, 6]]
        assert num_tokens.tolist() == [8, 8, 8] and layout.dropped == {"last_example": 1}

        kept = wrapping.wrap([14, 11], 8, last_example="pad")
        filled, _, num_tokens = filling.fill(ids, [0, 14], kept, 8, pad_id=0)
        assert filled[3].tolist() == [25] + [0] * 7 and num_tokens[3] == 1 and kept.dropped == {}

    def test_overlap_makes_every_token_a_target_once(self):
        layout = wrapping.wrap([14, 11], 8, overlap=1)
        filled, _, _ = filling.fill(np.arange(25), [0, 14], layout, 9, pad_id=-1)
        assert sorted(filled[:, 1:].ravel().tolist()) == list(range(1, 25))

    def test_megatron_worked_index(self):
        def first_tokens(lengths, extra=1):
            layout = wrapping.wrap(lengths, 6, extra)
            heads = layout.place == 0
            return list(zip(layout.document[heads].tolist(), layout.start[heads].tolist(), strict=True))

        assert first_tokens([5, 3, 8, 4]) == [(0, 0), (1, 1), (2, 4)]  # (3, 2) is where Megatron's last row ends
        assert first_tokens([8, 5, 4, 3]) == [(0, 0), (0, 6), (1, 4)]  # order 2, 0, 3, 1
        assert first_tokens([7, 6, 6]) == [(0, 0), (0, 6), (1, 5)]
        assert first_tokens([6, 6, 6], extra=0) == [(0, 0), (1, 0), (2, 0)]
        assert wrapping.wrap([5, 3, 8, 4], 6, 1, last_example="pad").num_examples == 4

    @given(LENGTHS, st.integers(1, 12), st.data(), st.sampled_from(["drop", "pad"]))
    def test_laws(self, lengths, seq_len, data, last_example):
        overlap = data.draw(st.integers(0, seq_len - 1))
        layout = wrapping.wrap(lengths, seq_len, overlap, last_example=last_example)
        total = sum(lengths)
        full = max(total - overlap, 0) // seq_len
        assert layout.num_examples - full in ((0,) if last_example == "drop" else (0, 1))
        check_conservation(lengths, layout, seq_len + overlap, in_order=overlap == 0)
        check_fill(lengths, layout, seq_len + overlap)

    @given(LENGTHS, st.integers(1, 12), st.integers(0, 3), st.data())
    def test_a_range_equals_that_part_of_the_whole(self, lengths, seq_len, overlap, data):
        overlap = min(overlap, seq_len - 1)
        whole = wrapping.wrap(lengths, seq_len, overlap, last_example="pad")
        a = data.draw(st.integers(0, whole.num_examples))
        b = data.draw(st.integers(a, whole.num_examples))
        part = whole.select(range(a, b))
        lo, hi = (part.document.min(), part.document.max() + 1) if len(part) else (0, 0)
        got = wrapping.wrap_range(lengths[lo:hi], sum(lengths[:lo]), seq_len, overlap, a, b - a)
        assert [[(d + lo, s, n) for d, s, n in row] for row in rows(got)] == rows(part)

    def test_a_range_refuses_documents_that_do_not_reach(self):
        with pytest.raises(BuildError, match="the documents hold 100 to 120"):
            wrapping.wrap_range([20], 100, 10, 0, 10, 3)
        with pytest.raises(BuildError, match="the documents hold 101 to 121"):
            wrapping.wrap_range([20], 101, 10, 0, 10, 1)


DENOISERS = st.lists(st.sampled_from([0.15, 0.3, 0.5]).map(lambda density: {"density": density, "mean_span": 2.0}), min_size=1, max_size=3)


class TestCuts:
    @settings(deadline=None)
    @given(st.integers(0, 300), st.integers(1, 7), st.integers(1, 20), DENOISERS, st.sampled_from(["drop", "pad"]), LENGTHS)
    def test_shards_of_a_stream_cut_at_will(self, seed, every, chunk, denoisers, last_example, lengths):
        config = JobConfig(
            output="x",
            sources=(SourceConfig(files=("x",)),),
            vocabulary=VocabularyConfig(kind="bytes", options={"extra_ids": 100}),
            packing=PackingConfig(seq_len=16, last_example=last_example),
            objective={"name": "ul2", "denoisers": denoisers},
            seed=seed,
        )
        recipe = make_recipe(config, ByteVocabulary(extra_ids=100))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stream, "_CHUNK", chunk)
            self.check(stream.Stream(recipe), every, last_example, lengths)

    def check(self, cut, every, last_example, lengths):
        def raw_lengths(ids):
            return cut.recipe.objective.raw_lengths(ids, seed=cut.recipe.config.seed)

        total = sum(lengths)
        number = cut.count(total)
        begins = [cut.begin(example) for example in range(0, number, every)]
        cuts = np.append(0, np.cumsum(raw_lengths(np.arange(number))))
        following = cuts[-1] + raw_lengths(np.array([number]))[0]
        assert begins == cuts[:-1][::every].tolist()
        assert cuts[-1] <= total < following if last_example == "drop" else cuts[-2:].min() <= total <= cuts[-1]
        whole = wrapping.wrap_cuts(lengths, 0, cuts)
        used = min(int(cuts[-1]), total)
        assert whole.length.sum() == used and whole.num_tokens().max(initial=0) <= cut.recipe.objective.raw_length()
        for first in range(0, number, every):
            ids = np.arange(first, min(number, first + every))
            assert rows(cut.lay_out(lengths, 0, first, len(ids))) == rows(whole.select(ids))


class TestBestFit:
    def test_figure_1_of_the_paper(self):
        assert lengths_of(bin_packing.best_fit([14, 7, 5, 2, 3], 8)) == [[8], [7], [6, 2], [5, 3]]

    def test_trl_docstring(self):
        tokens = np.arange(1, 12)
        for long_documents, expected in [
            ("truncate", [[1, 2, 3, 4], [8, 9, 10, 11], [6, 7, 0, 0]]),
            ("split", [[1, 2, 3, 4], [8, 9, 10, 5], [6, 7, 11, 0]]),
        ]:
            layout = bin_packing.best_fit([5, 2, 3, 1], 4, long_documents=long_documents)
            filled, _, _ = filling.fill(tokens, [0, 5, 7, 10], layout, 4, pad_id=0)
            assert filled.tolist() == expected
        assert bin_packing.best_fit([5, 2, 3, 1], 4, long_documents="truncate").dropped == {"truncated": 1}
        assert bin_packing.best_fit([5, 2, 3, 1], 4, long_documents="drop").dropped == {"too_long": 5}

    def test_tells_best_fit_from_first_fit(self):
        layout = bin_packing.best_fit([7, 10, 10, 4, 1, 11, 1], 12)
        assert [[d for d, _, _ in row] for row in rows(layout)] == [[5, 4], [1], [2], [0, 3, 6]]

    def test_volume_bound_is_not_always_reached(self):
        assert bin_packing.best_fit([12, 5, 5, 8, 6, 10, 11, 3], 12).num_examples == 6

    @settings(max_examples=400)
    @given(LENGTHS, st.integers(1, 30), st.one_of(st.none(), st.integers(1, 4)))
    def test_equals_the_rule_item_by_item(self, lengths, seq_len, max_segments):
        layout = bin_packing.best_fit(lengths, seq_len, max_segments)
        assert rows(layout) == best_fit_by_item(lengths, seq_len, max_segments)
        check_conservation(lengths, layout, seq_len)
        check_fill(lengths, layout, seq_len)
        if max_segments is None:
            assert sum(2 * sum(row) <= seq_len for row in lengths_of(layout)) <= 1
        assert layout.num_segments().max(initial=0) <= (max_segments or len(lengths) + 1)
        whole = {d for d, n in enumerate(lengths) if 0 < n <= seq_len}
        assert sorted(d for row in rows(layout) for d, _, n in row if d in whole and n == lengths[d]) == sorted(whole)

    @pytest.mark.parametrize("seed", range(30))
    def test_equals_the_rule_on_large_sets(self, seed):
        rng = np.random.default_rng(seed)
        lengths = np.minimum(rng.lognormal(4, 1.5, 1500), 3000).astype(int).tolist()
        for max_segments in (None, 3):
            assert rows(bin_packing.best_fit(lengths, 512, max_segments)) == best_fit_by_item(lengths, 512, max_segments)

    @given(LENGTHS, st.integers(1, 8), st.integers(1, 5), st.one_of(st.none(), st.integers(1, 4)))
    def test_align(self, lengths, units, align, max_segments):
        layout = bin_packing.best_fit(lengths, units * align, max_segments, align)
        assert rows(layout) == best_fit_by_item(lengths, units * align, max_segments, align)
        check_conservation(lengths, layout, units * align)
        check_fill(lengths, layout, units * align)

    @given(st.permutations([3, 3, 9, 1, 4, 4, 4, 12, 20, 2]))
    def test_patterns_follow_from_the_histogram(self, lengths):
        assert lengths_of(bin_packing.best_fit(lengths, 12)) == lengths_of(bin_packing.best_fit(sorted(lengths), 12))


class TestWithinDocuments:
    @given(LENGTHS, st.integers(1, 12), st.data(), st.sampled_from(["drop", "pad"]), st.integers(1, 5))
    def test_laws(self, lengths, seq_len, data, last_example, min_tokens):
        overlap = data.draw(st.integers(0, seq_len - 1))
        layout = wrapping.wrap_within_document(lengths, seq_len, overlap, last_example=last_example, min_tokens=min_tokens)
        check_conservation(lengths, layout, seq_len + overlap, in_order=True)
        check_fill(lengths, layout, seq_len + overlap)
        alone = [wrapping.wrap([n], seq_len, overlap, last_example=last_example) for n in lengths]
        expected = [(d, s, n) for d, own in enumerate(alone) for ((_, s, n),) in rows(own) if n >= min_tokens]
        assert [row[0] for row in rows(layout)] == expected and (layout.num_segments() == 1).all()

    def test_t5_split_tokens(self):
        for seq_len, expected in [(25, [25] * 4), (30, [30, 30, 30, 10]), (1000, [100])]:
            assert wrapping.wrap_within_document([100], seq_len).length.tolist() == expected


class TestFullSentences:
    SENTENCES = (4, 3, 1, 6, 2, 1, 5, 9, 1, 2)  # fairseq's own example; a lone 1 is a blank line between documents

    def test_fairseq_complete(self):
        heads = table.greedy(np.array(self.SENTENCES), 8)
        tokens = np.append(0, np.cumsum(self.SENTENCES))
        assert tokens[heads].tolist() == [0, 8, 16, 22, 31]  # the 9-token sentence makes a longer block

    def test_ours_keeps_to_the_block(self):
        layout = whole_sentences.full_sentences(self.SENTENCES, [3, 3, 3, 1], 8)
        assert [sum(row) for row in lengths_of(layout)] == [8, 8, 6, 8, 4]
        assert rows(layout)[2] == [(1, 8, 1), (2, 0, 5)] and rows(layout)[4] == [(2, 13, 2), (3, 0, 2)]

    def test_fairseq_complete_doc(self):
        # Blank lines belong to no document there; ranges (0,7) (8,16) (17,22) (22,31) (32,34), with a block of 9 to keep its long one.
        layout = whole_sentences.full_sentences([4, 3, 6, 2, 5, 9, 2], [2, 2, 2, 1], 9, cross_documents=False, min_tokens=2)
        assert [sum(row) for row in lengths_of(layout)] == [7, 8, 5, 9, 2]

    @given(st.lists(st.lists(st.integers(0, 15), max_size=6), max_size=8), st.integers(1, 12), st.booleans(), st.integers(1, 4))
    def test_laws(self, sentences, seq_len, cross_documents, min_tokens):
        flat = [n for document in sentences for n in document]
        counts = [len(document) for document in sentences]
        lengths = [sum(document) for document in sentences]
        layout = whole_sentences.full_sentences(flat, counts, seq_len, cross_documents=cross_documents, min_tokens=min_tokens)
        check_conservation(lengths, layout, seq_len, in_order=True)
        check_fill(lengths, layout, seq_len)
        ends = [set(np.cumsum([0, *document]).tolist()) for document in sentences]
        long = [d for d, document in enumerate(sentences) if max(document, default=0) > seq_len]
        for row in rows(layout):
            assert sum(n for *_, n in row) >= min_tokens
            assert cross_documents or len(row) == 1
            for d, s, n in row:
                assert d in long or {s, s + n} <= ends[d]

    @given(st.lists(st.integers(1, 8), max_size=30))
    def test_each_example_takes_all_it_can(self, sentences):
        layout = whole_sentences.full_sentences(sentences, [1] * len(sentences), 8)
        examples = lengths_of(layout)
        for this, following in itertools.pairwise(examples):
            assert sum(this) + following[0] > 8

    def test_counts_must_agree(self):
        with pytest.raises(BuildError, match="the documents have 3 sentences, 2 lengths"):
            whole_sentences.full_sentences([1, 2], [3], 8)


class TestNextAndFirstFit:
    SETTINGS = (LENGTHS, st.integers(1, 8), st.integers(1, 4), st.one_of(st.none(), st.integers(1, 4)))

    @given(*SETTINGS, st.integers(1, 4))
    def test_first_fit_equals_the_rule_item_by_item(self, lengths, units, align, max_segments, open_examples):
        seq_len = units * align
        layout = bin_packing.first_fit(lengths, seq_len, open_examples, max_segments, align)
        examples: list[list[tuple[int, int, int]]] = []
        opened: list[int] = []

        def used(e):
            return sum(-(-n // align) * align for *_, n in examples[e])

        for d, length in enumerate(lengths):
            for s in range(0, length, seq_len):
                n = min(seq_len, length - s)
                fitting = [e for e in opened if used(e) + -(-n // align) * align <= seq_len]
                if not fitting:
                    opened = opened[1:] if len(opened) == open_examples else opened
                    examples.append([])
                    fitting = [len(examples) - 1]
                    opened = opened + fitting
                examples[fitting[0]].append((d, s, n))
                opened = [e for e in opened if used(e) < seq_len and len(examples[e]) != max_segments]
        assert rows(layout) == examples
        check_conservation(lengths, layout, seq_len)
        check_fill(lengths, layout, seq_len)

    @given(*SETTINGS)
    def test_next_fit_is_first_fit_with_one_open(self, lengths, units, align, max_segments):
        seq_len = units * align
        assert rows(bin_packing.next_fit(lengths, seq_len, max_segments, align)) == rows(
            bin_packing.first_fit(lengths, seq_len, 1, max_segments, align)
        )

    @given(LENGTHS, st.integers(1, 12))
    def test_seqio_packs_batches_apart(self, lengths, seq_len):
        layout = bin_packing.next_fit(lengths, seq_len, flush_every=seq_len, long_documents="truncate")
        expected = []
        for at in range(0, len(lengths), seq_len):
            part = bin_packing.next_fit(lengths[at : at + seq_len], seq_len, long_documents="truncate")
            expected += [[(d + at, s, n) for d, s, n in row] for row in rows(part)]
        assert rows(layout) == expected
        check_conservation(lengths, layout, seq_len, in_order=True)


class TestPadAndBuckets:
    @given(LENGTHS, st.integers(1, 12), st.sampled_from(["truncate", "split", "drop"]))
    def test_pad(self, lengths, seq_len, long_documents):
        layout = one_document.pad(lengths, seq_len, long_documents=long_documents)
        check_conservation(lengths, layout, seq_len, in_order=True)
        check_fill(lengths, layout, seq_len)
        assert (layout.num_segments() == 1).all()

    @pytest.mark.parametrize(
        ("length", "pieces", "dropped"),
        [
            (257, [257], 0),
            (258, [257], 1),
            (1000, [513, 257], 230),
            (1024, [513, 257], 254),
            (3000, [2049, 513, 257], 181),
            (10000, [8193, 1025, 513, 257], 12),
        ],
    )
    def test_dataset_decomposition(self, length, pieces, dropped):
        layouts = one_document.buckets([length], 8, 13)
        assert sorted((int(n) for layout in layouts.values() for n in layout.length), reverse=True) == pieces
        assert sum(sum(layout.dropped.values()) for layout in layouts.values()) == dropped

    @pytest.mark.parametrize(("minimum", "pieces", "dropped"), [(8, [512, 256], 232), (0, [512, 256, 128, 64, 32, 8], 0)])
    def test_olmo_variable_lengths(self, minimum, pieces, dropped):
        layouts = one_document.buckets([1000], minimum, 13, extra=0)
        assert sorted((int(n) for layout in layouts.values() for n in layout.length), reverse=True) == pieces
        assert sum(sum(layout.dropped.values()) for layout in layouts.values()) == dropped

    @given(LENGTHS, st.integers(0, 1))
    def test_one_bucket(self, lengths, overlap):
        layouts = one_document.buckets(lengths, 2, 4, overlap)
        for exponent in (2, 3, 4):
            layout = one_document.bucket(lengths, 2**exponent, overlap, min_exponent=2, max_exponent=4)
            assert rows(layout) == rows(layouts[2**exponent + overlap])
            check_conservation(lengths, layout, 2**exponent + overlap, in_order=True)
        with pytest.raises(ConfigError, match=r"packing.seq_len must be one of 4, 8, 16 for .* got 5"):
            one_document.bucket(lengths, 5, overlap, min_exponent=2, max_exponent=4)

    @given(LENGTHS, st.integers(0, 2), st.integers(0, 2), st.integers(0, 1))
    def test_bucket_laws(self, lengths, minimum, more, extra):
        layouts = one_document.buckets(lengths, minimum, minimum + more, extra)
        seen = [np.zeros(n, int) for n in lengths]
        for length, layout in layouts.items():
            assert (layout.length == length).all() and (layout.num_segments() == 1).all()
            for d, s, n in zip(layout.document, layout.start, layout.length, strict=True):
                seen[d][s : s + n] += 1
        times = np.concatenate([*seen, np.zeros(0, int)])
        assert times.max(initial=0) <= 1 and (times == 0).sum() == sum(layouts[2**minimum + extra].dropped.values())
        for d, n in enumerate(lengths):  # what is dropped is the end, and could not fill a piece
            assert (np.diff(seen[d]) <= 0).all() and n - seen[d].sum() < 2**minimum + extra


class TestLayOut:
    def test_by_name(self):
        assert rows(modes.lay_out([14, 11], mode="wrap", seq_len=8, overlap=None)) == rows(wrapping.wrap([14, 11], 8))
        layout = modes.lay_out([2, 1], mode="full_sentences", seq_len=8, sentences=[4, 3, 2], cross_documents=False)
        assert rows(layout) == [[(0, 0, 7)], [(1, 0, 2)]]

    def test_every_mode_takes_an_empty_group(self):
        for mode in modes.MODES:
            assert modes.lay_out([], mode=mode, seq_len=256, sentences=[]).num_examples == 0

    @pytest.mark.parametrize(
        ("settings_", "message"),
        [
            ({"mode": "worst_fit", "seq_len": 8}, "must be one of wrap, wrap_within_document, .* got 'worst_fit'"),
            ({"mode": "best_fit", "seq_len": 8, "overlap": 1}, "packing.overlap is not a setting of mode best_fit, which has max_segments"),
            ({"mode": "next_fit", "seq_len": 8, "flush_every": 0}, "flush_every must be at least 1"),
            ({"mode": "first_fit", "seq_len": 8, "open_examples": 0}, "open_examples must be at least 1"),
            ({"mode": "pad", "seq_len": 8, "long_documents": "cut"}, "'split', 'truncate' or 'drop'"),
            ({"mode": "wrap_within_document", "seq_len": 8, "last_example": "cut"}, "'drop' or 'pad'"),
            ({"mode": "best_fit", "seq_len": 9, "align": 2}, "seq_len 8 would work"),
        ],
    )
    def test_impossible_settings_fail_before_there_are_documents(self, settings_, message):
        with pytest.raises(ConfigError, match=message):
            modes.check(**settings_)

    def test_buckets_settings(self):
        with pytest.raises(ConfigError, match="0 <= min <= max"):
            one_document.buckets([3], 5, 4)
        with pytest.raises(ConfigError, match="extra must be 0 or 1"):
            one_document.buckets([3], 5, 6, 2)

    def test_sentences_are_needed(self):
        with pytest.raises(ConfigError, match="needs the lengths of the sentences"):
            modes.lay_out([3], mode="full_sentences", seq_len=8)


def test_frame():
    tokens, starts, num_tokens = filling.fill(np.arange(1, 8), [0, 3], bin_packing.best_fit([3, 4], 5), 5, 0)
    framed, framed_starts, framed_tokens = filling.frame(tokens, starts, num_tokens, first_id=90, last_id=91)
    assert framed.tolist() == [[90, 4, 5, 6, 7, 91, 0], [90, 1, 2, 3, 91, 0, 0]]
    assert np.argwhere(framed_starts).tolist() == [[0, 0], [1, 0]] and framed_tokens.tolist() == [6, 5]
    kept = filling.frame(tokens, starts, num_tokens, first_id=None, last_id=None)
    np.testing.assert_array_equal(kept[0], tokens)
    np.testing.assert_array_equal(kept[1], starts)


def layout_digests():
    """Layouts of 300 fixed documents."""
    lengths = np.array([int(n) % 97 * (1 + 9 * (int(n) % 7 == 0)) for n in keys.bits(0, "test/lengths", np.arange(300), 1)[:, 0]])
    flat, per_document = [n for total in lengths for n in (total // 3, total - total // 3)], np.full(300, 2)
    layouts = {mode: modes.lay_out(lengths, mode=mode, seq_len=64) for mode in modes.MODES if mode not in ("full_sentences", "buckets")}
    layouts["full_sentences"] = modes.lay_out(per_document, mode="full_sentences", seq_len=64, sentences=flat)
    layouts["wrap_overlap"] = wrapping.wrap(lengths, 64, 1, last_example="pad")
    layouts["best_fit_align"] = bin_packing.best_fit(lengths, 64, 4, 8)
    layouts["next_fit_seqio"] = bin_packing.next_fit(lengths, 64, flush_every=64, long_documents="truncate")
    layouts |= {f"bucket_{length}": layout for length, layout in one_document.buckets(lengths, 3, 8).items()}
    tables = {name: (s.example, s.document, s.start, s.length) for name, s in layouts.items()}
    for task in ("next_sentence", "sentence_order"):
        pairs = segment_pairs.plan(flat, per_document, np.arange(300), 64, seed=1, variant=2, task=task)
        tables[f"pairs_{task}"] = (pairs.document, pairs.start, pairs.length, pairs.label)
    return {name: keys.digest(*(np.ascontiguousarray(column, "<i8").tobytes() for column in columns)) for name, columns in tables.items()}


def test_golden_layouts():
    """A change here moves the tokens of every dataset that is built again: raise `packing.VERSION` or `segment_pairs.VERSION` with it."""
    golden = json.loads(GOLDEN.read_text())
    assert golden == {"packing": modes.VERSION, "segment_pairs": segment_pairs.VERSION, **layout_digests()}


class TestFill:
    def test_short_and_long_runs_give_the_same(self, monkeypatch):
        lengths = [3, 1, 7, 2, 30, 5, 11]
        layout = bin_packing.best_fit(lengths, 12)
        tokens, offsets = documents(lengths)
        monkeypatch.setattr(filling, "_SHORT_RUN", 0)
        by_slice = filling.fill(tokens, offsets, layout, 12, 0)
        monkeypatch.setattr(filling, "_SHORT_RUN", 10**9)
        for a, b in zip(by_slice, filling.fill(tokens, offsets, layout, 12, 0), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_writes_into_a_buffer(self):
        buffer = np.full((4, 5), 99, np.uint16)
        out, _, _ = filling.fill(np.arange(8, dtype=np.uint16), [0], wrapping.wrap([8], 5, last_example="pad"), 5, 7, out=buffer[1:3])
        assert np.shares_memory(out, buffer)
        assert buffer.tolist() == [[99] * 5, [0, 1, 2, 3, 4], [5, 6, 7, 7, 7], [99] * 5]

    def test_a_document_of_which_only_the_end_is_here(self):
        layout = wrapping.wrap_range([10, 6], 100, 4, 0, 27, 2)
        filled, starts, _ = filling.fill(np.arange(108, 116), [-8, 2], layout, 4, 0)
        assert filled.tolist() == [[108, 109, 110, 111], [112, 113, 114, 115]]
        assert np.argwhere(starts).tolist() == [[0, 2]]

    def test_refuses_a_layout_for_other_tokens(self):
        with pytest.raises(BuildError, match="there are 9"):
            filling.fill(np.arange(9), [0], wrapping.wrap([10], 5), 5, 0)
        with pytest.raises(BuildError, match="lay out for 4"):
            filling.fill(np.arange(10), [0], wrapping.wrap([10], 5), 4, 0)
        with pytest.raises(BuildError, match="int64"):
            filling.fill(np.arange(10), [0], wrapping.wrap([10], 5), 5, 0, out=np.empty((2, 5), np.int32))

    def test_no_documents(self):
        for layout in (wrapping.wrap([], 4), bin_packing.best_fit([], 4), wrapping.wrap([0, 0], 4, last_example="pad")):
            filled, starts, num_tokens = filling.fill(np.zeros(0, np.uint16), [], layout, 4, 0)
            assert filled.shape == starts.shape == (0, 4) and num_tokens.shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wrapping.wrap([3], 0), "seq_len must be at least 1, got 0"),
        (lambda: wrapping.wrap([3], 4, 4), "overlap must be between 0 and seq_len - 1 = 3, got 4"),
        (lambda: wrapping.wrap([3], 4, last_example="keep"), "'drop' or 'pad', got 'keep'"),
        (lambda: bin_packing.best_fit([3], 10, align=4), "must divide packing.seq_len, got 4 and 10; seq_len 8 would work"),
        (lambda: bin_packing.best_fit([3], 10, 0), "max_segments must be at least 1"),
        (lambda: bin_packing.best_fit([3], 10, long_documents="cut"), "'split', 'truncate' or 'drop', got 'cut'"),
    ],
)
def test_impossible_settings(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_lengths_must_be_counts():
    with pytest.raises(BuildError, match="the least is -1"):
        wrapping.wrap([3, -1], 4)
