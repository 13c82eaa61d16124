import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenreel import keys, rates
from tokenreel.errors import BuildError, ConfigError
from tokenreel.objectives import word_spans
from tokenreel.objectives.masked_lm import MaskedLM, ReplacedTokenCandidates

VOCAB = 500
PAD, CLS, SEP, MASK = 0, 1, 2, 3
WORD_STARTS = np.random.default_rng(0).random(VOCAB) < 0.6
UNITS = ("token", "word", "ngram", "span")


def objective(seq_len, **settings_):
    return MaskedLM(
        seq_len=seq_len, vocab_size=VOCAB, pad_id=PAD, mask_id=MASK, special_ids=(CLS, SEP), word_starts=WORD_STARTS, **settings_
    )


def examples(n, seq_len, seed=0, specials=0.03):
    """Random examples with special tokens and document starts inside, and padding behind."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(4, VOCAB, (n, seq_len)).astype(np.uint16)
    tokens[rng.random((n, seq_len)) < specials] = SEP
    num_tokens = rng.integers(0, seq_len + 1, n)
    tokens[np.arange(seq_len) >= num_tokens[:, None]] = PAD
    starts = (rng.random((n, seq_len)) < 0.05) & (tokens != PAD)
    return {"tokens": tokens, "document_starts": starts, "num_tokens": num_tokens}


def full(n, seq_len, seed=0):
    return {"tokens": np.random.default_rng(seed).integers(4, VOCAB, (n, seq_len)).astype(np.uint16)}


def selected(made):
    mask = np.zeros(made["tokens"].shape, bool)
    row, slot = np.nonzero(made["mask_weights"])
    mask[row, made["mask_positions"][row, slot].astype(int)] = True
    return mask


def words_of(arrays, row):
    """[(first, last + 1)] of each word of eligible tokens, by the definition."""
    tokens, starts = arrays["tokens"][row], arrays["document_starts"][row]
    words = []
    for i in range(int(arrays["num_tokens"][row])):
        if tokens[i] in (PAD, CLS, SEP, MASK):
            continue
        goes_on = i > 0 and not starts[i] and not WORD_STARTS[tokens[i]] and tokens[i - 1] not in (PAD, CLS, SEP, MASK)
        if goes_on and words:
            words[-1] = (words[-1][0], i + 1)
        else:
            words.append((i, i + 1))
    return words


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 60), st.sampled_from(UNITS), st.sampled_from([0.05, 0.15, 0.4, 0.9]), st.data())
def test_laws(seed, seq_len, unit, rate, data):
    arrays = examples(6, seq_len, seed)
    rounding = data.draw(st.sampled_from(["nearest", "up", "chance"]))
    limit = data.draw(st.one_of(st.none(), st.integers(1, seq_len)))
    made_by = objective(
        seq_len, unit=unit, rate=rate, rounding=rounding, max_predictions=limit, action_unit=data.draw(st.sampled_from(["token", "span"]))
    )
    ids = np.arange(seed, seed + 6)
    made = made_by.apply(arrays, ids, seed=seed)
    assert {name: (str(made[name].dtype), made[name].shape[1:]) for name in made_by.output_shapes()} == made_by.output_shapes()
    mask = selected(made)

    # Special tokens and padding are never selected; what is not selected is unchanged; the original can be restored.
    special = np.isin(arrays["tokens"], [PAD, CLS, SEP, MASK])
    assert not (mask & special).any()
    np.testing.assert_array_equal(made["tokens"][~mask], arrays["tokens"][~mask])
    np.testing.assert_array_equal(made_by.restore(made), arrays["tokens"])
    for row in range(6):
        count = int(made["mask_weights"][row].sum())
        positions = made["mask_positions"][row, :count].astype(int)
        assert (np.diff(positions) > 0).all() and (made["mask_weights"][row, count:] == 0).all()
        assert (made["mask_positions"][row, count:] == 0).all() and (made["mask_ids"][row, count:] == 0).all()
        np.testing.assert_array_equal(made["mask_ids"][row, :count], arrays["tokens"][row, positions])

        able = int((~special[row]).sum())
        length = int(arrays["num_tokens"][row])
        low = {
            "nearest": max(1, int(rates.share(length, rate))),
            "up": int(rates.ceiling(length, rate)),
            "chance": int(length * rates.parts(rate) // 10**9),
        }
        high = {**low, "chance": int(rates.ceiling(length, rate))}
        bounds = [min(bound[rounding], made_by.slots, able) for bound in (low, high)]
        words = words_of(arrays, row)
        if unit in ("token", "span"):
            assert bounds[0] <= count <= bounds[1]
        else:
            left = [b - a for a, b in words if not mask[row, a]]
            assert count <= bounds[1] and (count == bounds[1] or not left or count + min(left) > bounds[0])
        if unit in ("word", "ngram"):
            assert all(mask[row, a:b].all() or not mask[row, a:b].any() for a, b in words)

    # The same example gives the same bytes in any company; another variant, epoch or seed does not.
    alone = made_by.apply({name: values[2:3] for name, values in arrays.items()}, ids[2:3], seed=seed)
    for name in made:
        np.testing.assert_array_equal(alone[name], made[name][2:3])


@pytest.mark.parametrize("unit", UNITS)
def test_variants_epochs_and_seeds_are_independent(unit):
    arrays = full(200, 128)
    made_by = objective(128, unit=unit)
    masks = [
        selected(made_by.apply(arrays, np.arange(200), seed=s, variant=v, epoch=e))
        for s, v, e in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    ]
    chance = 0.15**2 * masks[0].size
    for i in range(4):
        for j in range(i):
            # Runs of tokens vary more than single ones: a run counts for about four tokens.
            assert abs((masks[i] & masks[j]).sum() - chance) < 5 * np.sqrt(chance) * (1 if unit == "token" else 2.5)


def test_bert_counts():
    for length, expected in [
        (1, 1),
        (4, 1),
        (10, 2),
        (16, 2),
        (20, 3),
        (30, 4),
        (50, 8),
        (64, 10),
        (70, 10),
        (90, 14),
        (110, 16),
        (127, 19),
        (128, 19),
    ]:
        arrays = full(1, 128)
        arrays["num_tokens"] = np.array([length])
        assert objective(128, max_predictions=20).apply(arrays, [0], seed=0)["mask_weights"].sum() == expected
    for length, cap, expected in [(256, 76, 38), (384, 76, 58), (512, 76, 76), (512, None, 77)]:
        assert objective(length, max_predictions=cap).apply(full(1, length), [0], seed=0)["mask_weights"].sum() == expected


def test_another_rate_keeps_positions_actions_and_replacements():
    arrays = full(50, 200)
    low, high = (objective(200, rate=rate).apply(arrays, np.arange(50), seed=4) for rate in (0.15, 0.4))
    both = selected(low)
    assert (selected(high) & both).sum() == both.sum()  # the first of the same order
    np.testing.assert_array_equal(low["tokens"][both], high["tokens"][both])


def test_action_shares():
    """80/10/10 at five sigma; a random token equals the original once in as many ids as there are."""
    arrays = full(2000, 512)
    made_by = objective(512)
    counts = made_by.statistics(arrays, made_by.apply(arrays, np.arange(2000), seed=0))
    n = counts["selected"]
    assert n == 2000 * 77
    drawn = VOCAB - 4
    for name, share in [("masked", 0.8), ("random", 0.1 * (1 - 1 / drawn)), ("unchanged", 0.1 + 0.1 / drawn)]:
        assert abs(counts[name] / n - share) < 5 * np.sqrt(share * (1 - share) / n), name
    rate = counts["selected_by_position"] / counts["examples_by_position"]
    assert (np.abs(rate - 77 / 512) < 5 * np.sqrt(0.15 * 0.85 / 2000)).all()


def test_random_tokens_are_regular_or_any():
    arrays = full(500, 200)
    for random_ids in ("regular", "all"):
        made = objective(200, mask_share=0, random_share=1, random_ids=random_ids, rate=0.5).apply(arrays, np.arange(500), seed=0)
        new = made["tokens"][selected(made)]
        assert (np.isin(new, [PAD, CLS, SEP, MASK]).any()) == (random_ids == "all")
        counts = np.bincount(new, minlength=VOCAB)[4:]
        expected = len(new) / (VOCAB if random_ids == "all" else VOCAB - 4)
        assert ((counts - expected) ** 2 / expected).sum() < VOCAB + 5 * np.sqrt(2 * VOCAB)


def test_chance_rounding_has_the_exact_mean():
    made_by = objective(512, rounding="chance")
    counts = made_by.apply(full(4000, 512), np.arange(4000), seed=0)["mask_weights"].sum(axis=1)
    assert set(counts.tolist()) == {76, 77} and abs((counts == 77).mean() - 0.8) < 5 * np.sqrt(0.16 / 4000)


def spans_of(mask):
    edges = np.diff(np.pad(mask.astype(int), ((0, 0), (1, 1))))
    return np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]


def test_spanbert_lengths():
    """Truncated, not clipped: P(10) is .0301 and the mean 3.797, where clipping gives .134 and 4.463."""
    pmf = np.array([0.2 * 0.8**n for n in range(10)])
    pmf /= pmf.sum()
    np.testing.assert_allclose(pmf, [0.2241, 0.1792, 0.1434, 0.1147, 0.0918, 0.0734, 0.0587, 0.0470, 0.0376, 0.0301], atol=5e-5)
    drawn = keys.pick(keys.bits(0, "lengths", np.arange(60_000), 1)[:, 0], word_spans.geometric(0.2, 10))
    counts = np.bincount(drawn, minlength=10)
    assert ((counts - 60_000 * pmf) ** 2 / (60_000 * pmf)).sum() < 9 + 5 * np.sqrt(18)
    assert abs((drawn + 1).mean() - 3.7971) < 5 * drawn.std() / np.sqrt(60_000)


def test_spanbert_cuts_only_the_last_run():
    """Where every token is a word: with a budget of one run at most, its length is the drawn one, cut at the budget."""
    made_by = MaskedLM(
        seq_len=1000, vocab_size=VOCAB, mask_id=MASK, rate=0.004, unit="span", max_unit=10, rounding="up", word_starts=np.ones(VOCAB, bool)
    )
    mask = selected(made_by.apply(full(5000, 1000), np.arange(5000), seed=0))
    assert (mask.sum(axis=1) == 4).all()
    whole = (np.diff(np.pad(mask.astype(int), ((0, 0), (1, 1)))) == 1).sum(axis=1) == 1
    expected = 0.8**3 * (1 - 0.8**7) / (1 - 0.8**10)  # the first run has 4 words or more
    assert abs(whole.mean() - expected) < 0.02 + 5 * np.sqrt(0.25 / 5000)  # and a few that meet


def test_ngram_lengths():
    for limit, pmf, mean in [(3, [0.54545, 0.27273, 0.18182], 1.636), (5, [0.43796, 0.21898, 0.14599, 0.10949, 0.08759], 2.190)]:
        weights = word_spans.one_over_n(limit)
        shares = np.array([float(w / sum(weights)) for w in weights])
        np.testing.assert_allclose(shares, pmf, atol=1e-5)
        assert abs((shares * np.arange(1, limit + 1)).sum() - mean) < 1e-3


def test_ngrams_fill_the_count():
    """Three words to mask, all tokens words: one run with P(3), three with P(1)**2, else two; runs that meet are few in 1,000 positions."""
    made_by = MaskedLM(seq_len=1000, vocab_size=VOCAB, mask_id=MASK, rate=0.003, unit="ngram", max_unit=3, word_starts=np.ones(VOCAB, bool))
    n = 5000
    mask = selected(made_by.apply(full(n, 1000), np.arange(n), seed=0))
    assert (mask.sum(axis=1) == 3).all()
    runs = (np.diff(np.pad(mask.astype(int), ((0, 0), (1, 1)))) == 1).sum(axis=1)
    for count, share in [(1, 0.18182), (2, 1 - 0.18182 - 0.54545**2), (3, 0.54545**2)]:
        assert abs((runs == count).mean() - share) < 0.01 + 5 * np.sqrt(share * (1 - share) / n)


def test_word_starts():
    assert word_spans.word_starts(["\u2581a", "b", "\u2581", "<0x0A>"], "sentencepiece").tolist() == [True, False, True, False]
    assert word_spans.word_starts(["\u0120a", "b"], "byte_bpe").tolist() == [True, False]
    with pytest.raises(ConfigError, match="must be one of sentencepiece, wordpiece, byte_bpe, got 'bpe'"):
        word_spans.word_starts([], "bpe")


def test_actions_by_span():
    made_by = objective(300, unit="span", action_unit="span", rounding="up")
    arrays = full(300, 300)
    made = made_by.apply(arrays, np.arange(300), seed=0)
    mask = selected(made)
    kinds = np.where(made["tokens"] == MASK, 1, np.where(made["tokens"] == arrays["tokens"], 2, 3))
    share = []
    for row in range(300):
        at = np.flatnonzero(mask[row])
        for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
            kind = set(kinds[row, run].tolist())
            assert kind in ({1}, {2}, {3}) or kind == {2, 3}  # a random token may be the original
            share.append(1 in kind)
    assert abs(np.mean(share) - 0.8) < 5 * np.sqrt(0.16 / len(share))


@given(st.integers(0, 10**6), st.integers(4, 50))
def test_boundaries(seed, seq_len):
    arrays = examples(4, seq_len, seed)
    made = objective(seq_len, unit="span", rounding="up", boundaries=True).apply(arrays, np.arange(4), seed=seed)
    mask = selected(made)
    for row in range(4):
        for slot in np.flatnonzero(made["mask_weights"][row]):
            at = low = high = int(made["mask_positions"][row, slot])
            tokens, starts = arrays["tokens"][row], arrays["document_starts"][row]
            while low > 0 and mask[row, low - 1] and not starts[low]:
                low -= 1
            while high + 1 < seq_len and mask[row, high + 1] and not starts[high + 1]:
                high += 1
            left, right = low - 1, high + 1
            good = left >= 0 and right < seq_len and not starts[low] and not starts[right]
            good = good and tokens[left] not in (PAD, CLS, SEP, MASK) and tokens[right] not in (PAD, CLS, SEP, MASK)
            assert made["boundary_weights"][row, slot] == good, (row, at)
            if good:
                assert not mask[row, left] and not mask[row, right]
                assert (made["boundary_left"][row, slot], made["boundary_right"][row, slot]) == (left, right)


def test_electra():
    """Limits of 19 candidates at 128 and 79 at 512 for 15 %, 130 at 512 for 25 %; no position twice; 85 % masked, none random."""
    for seq_len, rate, limit in [(128, 0.15, 19), (512, 0.15, 79), (512, 0.25, 130)]:
        made_by = ReplacedTokenCandidates(seq_len=seq_len, vocab_size=VOCAB, mask_id=MASK, rate=rate)
        assert made_by.slots == limit
    made_by = ReplacedTokenCandidates(seq_len=512, vocab_size=VOCAB, mask_id=MASK)
    arrays = full(1000, 512)
    counts = made_by.statistics(arrays, made_by.apply(arrays, np.arange(1000), seed=0))
    assert counts["selected"] == 77_000 and counts["random"] == 0
    assert abs(counts["masked"] / 77_000 - 0.85) < 5 * np.sqrt(0.85 * 0.15 / 77_000)


def test_statistics_add_up():
    from tokenreel.objectives.registry import add_statistics

    arrays = examples(20, 40)
    made_by = objective(40, unit="span")
    made = made_by.apply(arrays, np.arange(20), seed=0)
    whole = made_by.statistics(arrays, made)
    parts = [
        made_by.statistics({k: v[s] for k, v in arrays.items()}, {k: v[s] for k, v in made.items()}) for s in (slice(0, 7), slice(7, 20))
    ]
    added = add_statistics(*parts)
    assert added.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(added[name], value)
    assert whole["run_lengths"] @ np.arange(64) == whole["selected"] == whole["masked"] + whole["random"] + whole["unchanged"]
    assert whole["examples_by_position"][0] == (arrays["num_tokens"] > 0).sum()


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"rate": 0}, "objective.rate must lie between 0 and 1 and not be 0, got 0"),
        ({"max_predictions": 65}, "max_predictions must lie between 1 and packing.seq_len = 64, got 65; a rate of 0.15 fills 10"),
        ({"mask_share": 0.95}, "add up to at most 1, got 0.95 and 0.1"),
        ({"mask_id": VOCAB}, "objective.mask_id must be an id of the vocabulary, 0 to 499, got 500"),
        ({"special_ids": [501]}, "objective.special_ids holds ids of the vocabulary"),
        ({"unit": "sentence"}, "objective.unit must be one of token, word, ngram, span, got 'sentence'"),
        ({"unit": "word", "word_starts": None}, "needs to know which pieces begin a word"),
        ({"unit": "word", "word_starts": np.ones(3, bool)}, "a value for each of 500 ids"),
        ({"max_unit": 3}, "belongs to unit ngram or span, got 3 with unit token"),
        ({"unit": "span", "span_p": 0}, "objective.span_p must lie between 0 and 1"),
        ({"special_ids": range(VOCAB)}, "random_share needs ids that are not special"),
        ({"seq_len": 1}, "needs at least 2 positions"),
        ({"pad_id": -1}, "objective.pad_id must be an id"),
    ],
)
def test_impossible_settings(settings_, message):
    defaults = {"seq_len": 64, "vocab_size": VOCAB, "mask_id": MASK, "word_starts": WORD_STARTS}
    with pytest.raises(ConfigError, match=message):
        MaskedLM(**{**defaults, **settings_})


def test_arrays_must_fit():
    with pytest.raises(BuildError, match=r"takes examples of 64 tokens, got \(2, 63\)"):
        objective(64).apply(full(2, 63), [0, 1], seed=0)
    with pytest.raises(BuildError, match="2 examples need 2 example ids"):
        objective(64).apply(full(2, 64), [0], seed=0)
    with pytest.raises(ConfigError, match=r"packing.overlap = 1 repeats: set it to 0"):
        objective(64).check_packing(mode="wrap", overlap=1)
