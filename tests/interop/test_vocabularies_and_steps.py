"""Our vocabularies and preprocessors held to SeqIO's: its own tests run against them, and random texts give the same ids."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tokenreel.tasks import ExampleStream, Feature, preprocessors, vocabularies

pytestmark = pytest.mark.interop

OF_TENSORFLOW = {"test_session", "test_append_to_innermost_axis"}
"""TensorFlow's own 'not a test', and one that SeqIO skips by itself."""


def test_seqios_own_tests_pass(run_seqios_tests: Callable[..., dict[str, str]], counted: Callable[[str, int, int], None]) -> None:
    outcomes = run_seqios_tests("seqio_with_our_steps", "vocabularies_test.py", "preprocessors_test.py")
    skipped = {name for name, outcome in outcomes.items() if outcome == "skipped"}
    assert {name.split("::")[1] for name in skipped} <= OF_TENSORFLOW
    for line, ours in (("vocabularies", False), ("preprocessors", True)):
        mine = {name: outcome for name, outcome in outcomes.items() if name.startswith("Preprocessors") == ours and name not in skipped}
        failed = {name for name, outcome in mine.items() if outcome != "passed"}
        counted(f"{line}, SeqIO's own tests", len(mine) - len(failed), len(mine))
        assert failed == set() and len(mine) == (9 if ours else 57)


PARTS = ["this", "test", " ", "  ", "a", "<extra_id_0>", "<extra_id_3>", "[unused3]", "[UNK]", "\t", "\u00a0", "\u00ad", "\u200b", "\x01"]
PARTS += list("É é你好🤗,.-!#$ßﬁwTlsmo")


def texts(seed: int, count: int = 60) -> list[str]:
    rng = random.Random(seed)
    return ["", "this is a test", *("".join(rng.choices(PARTS, k=rng.randrange(30))) for _ in range(count))]


def folder() -> pathlib.Path:
    import seqio

    return pathlib.Path(seqio.__file__).parent / "test_data"


CHARACTERS = [ord(c) for c in "thisae "]
WORDS = ["this", "is", "a", "test"]
CASES: list[tuple[str, tuple[Any, ...]]] = [
    ("SentencePieceVocabulary", ()),
    ("SentencePieceVocabulary", (10,)),
    ("SentencePieceVocabulary", (10, None, False)),
    ("ByteVocabulary", (7,)),
    ("FullCodepointVocabulary", ()),
    ("PartialCodepointVocabulary", (CHARACTERS, 3)),
    ("UnigramVocabulary", (WORDS, False)),
    ("UnigramVocabulary", (WORDS, True)),
]


def made(module: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    first = (str(folder() / "sentencepiece" / "sentencepiece.model"),) if name.startswith("Sentence") else ()
    return getattr(module, name)(*first, *arguments)


def answer(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives, or the kind of its error."""
    try:
        value = function(*arguments)
    except Exception as error:
        return type(error)
    value = value.numpy() if hasattr(value, "numpy") else value
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_random_texts_and_ids(name: str, arguments: tuple[Any, ...], counted: Callable[[str, int, int], None]) -> None:
    import seqio
    import tensorflow as tf

    theirs, ours = made(seqio, name, arguments), made(vocabularies, name, arguments)
    for fact in ("vocab_size", "pad_id", "eos_id", "unk_id", "extra_ids"):
        assert getattr(ours, fact) == getattr(theirs, fact)
    rng, equal = random.Random(0), 0
    for text in texts(1):
        ids = [*theirs.encode(text), *(rng.randrange(300) for _ in range(3))]
        rng.shuffle(ids)
        tensor = tf.constant(ids, tf.int32)
        pairs = [
            (list(theirs.encode(text)), list(ours.encode(text))),
            (theirs.encode_tf(tf.constant(text)).numpy().tolist(), ours.encode_tf(tf.constant(text)).numpy().tolist()),
            (answer(theirs.decode, ids), answer(ours.decode, ids)),
            (answer(theirs.decode_tf, tensor), answer(ours.decode_tf, tensor)),
        ]
        assert all(expected == found for expected, found in pairs), (text, ids, pairs)
        equal += 1
    counted("vocabularies, random texts", equal, len(texts(1)))


def test_overrides_of_the_normaliser_given_as_the_librarys_message() -> None:
    import seqio

    message = seqio.vocabularies.sentencepiece_model_pb2.NormalizerSpec(remove_extra_whitespaces=False, add_dummy_prefix=False)
    theirs, ours = (made(module, "SentencePieceVocabulary", (5, message)) for module in (seqio, vocabularies))
    assert ours == made(vocabularies, "SentencePieceVocabulary", (5, {"remove_extra_whitespaces": False, "add_dummy_prefix": False}))
    for text in texts(2):
        assert list(ours.encode(text)) == list(theirs.encode(text)) and ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"lower_case": True},
    {"keep_whitespace": True},
    {"preserve_unused_token": True},
    {"split_unknown_characters": True},
    {"normalization_form": "NFKC"},
    {"max_bytes_per_word": 6},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_word_pieces(options: dict[str, Any]) -> None:
    """The ids are those of TensorFlow Text's tokenizer; SeqIO's `encode` makes a table of them, with 0 in its holes."""
    import seqio
    import tensorflow as tf

    path = str(folder() / "bertwordpiece" / "vocab.txt")
    theirs, ours = seqio.BertWordPieceVocabulary(path, **options), vocabularies.BertWordPieceVocabulary(path, **options)
    assert (ours.vocab_size, ours.unk_id, ours.eos_id, ours.sos_id) == (theirs.vocab_size, theirs.unk_id, theirs.eos_id, theirs.sos_id)
    for text in texts(3):
        assert ours.encode(text) == theirs.tokenizer.tokenize(text).flat_values.numpy().tolist()
    for ids in ([106, 105], [100, 101, 103, 102, 104], [3, 107, 109, 110, 5]):
        assert (
            ours.decode(ids) == theirs.decode(ids)
            and ours.decode_tf(tf.constant(ids)).numpy() == theirs.decode_tf(tf.constant(ids)).numpy()
        )


def test_steps_over_streams_give_what_seqios_give_over_tf_data() -> None:
    import seqio
    import tensorflow as tf

    rows = [{"text": text, "label": label} for text, label in zip(texts(4, 40), texts(5, 40), strict=True)]
    lengths = {"inputs": 12, "targets": 9}
    dataset = tf.data.Dataset.from_generator(lambda: iter(rows), output_signature={name: tf.TensorSpec([], tf.string) for name in rows[0]})
    results = []
    for source, module, features, words in (
        (dataset, seqio.preprocessors, seqio.Feature, seqio.SentencePieceVocabulary),
        (ExampleStream.from_examples(rows), preprocessors, Feature, vocabularies.SentencePieceVocabulary),
    ):
        output = {name: features(words(str(folder() / "sentencepiece" / "sentencepiece.model"), 10)) for name in ("inputs", "targets")}
        made = module.preprocess_tensorflow_examples(source, "text: {text}", "{label}")
        made = module.rekey(made, {"inputs": "inputs", "targets": "targets", "nothing": None})
        for step in (module.tokenize, module.tokenize_and_append_eos):
            tokens = step(made, output)
            results.append([list(steps.as_numpy_iterator()) for steps in (
                module.append_eos(tokens, output),
                module.append_eos_after_trim(tokens, output_features=output, sequence_length=lengths),
                module.truncate_inputs_left(tokens, lengths),
            )])  # fmt: skip
    for expected, found in zip(results[:2], results[2:], strict=True):
        for theirs, ours in zip(expected, found, strict=True):
            assert len(theirs) == len(ours) == len(rows)
            for one, other in zip(theirs, ours, strict=True):
                assert one.keys() == other.keys()
                for name, value in one.items():
                    assert np.array_equal(value, other[name]) and np.asarray(value).dtype == np.asarray(other[name]).dtype
