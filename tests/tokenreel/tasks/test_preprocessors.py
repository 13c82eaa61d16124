"""SeqIO's steps, over streams of NumPy examples and over tf.data; most values are those of SeqIO's own tests."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests.tokenreel.tasks import sentencepiece_models
from tokenreel.errors import ConfigError
from tokenreel.tasks import ExampleStream, Feature, preprocessors
from tokenreel.tasks.vocabularies import ByteVocabulary, PassThroughVocabulary, SentencePieceVocabulary, sentencepiece

FORMS = [pytest.param("stream"), pytest.param("tf.data", marks=pytest.mark.tensorflow)]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory) -> SentencePieceVocabulary:
    return SentencePieceVocabulary(sentencepiece_models.write(tmp_path_factory.mktemp("model")))


@pytest.fixture(params=FORMS)
def make(request):
    """Makes a data set of examples: of rows of unequal lengths, arrays of objects there and ragged tensors here."""

    def dataset(*examples):
        stream = ExampleStream.from_examples([{name: rows(value) for name, value in example.items()} for example in examples])
        return stream if request.param == "stream" else stream.to_tf_data()

    return dataset


def rows(value):
    if not (isinstance(value, list) and value and isinstance(value[0], list)):
        return value
    try:
        return np.array(value, dtype=np.int32)
    except ValueError:
        array = np.empty(len(value), dtype=object)
        for place, row in enumerate(value):
            array[place] = np.array(row, dtype=np.int32)
        return array


def plain(value):
    """Lists and text."""
    if hasattr(value, "to_list"):
        return value.to_list()
    if isinstance(value, np.ndarray):
        return [plain(part) for part in value] if value.ndim else plain(value.item())
    return value.item() if isinstance(value, np.generic) else value


def examples(dataset):
    return [{name: plain(value) for name, value in example.items()} for example in dataset.as_numpy_iterator()]


def test_rekey(make) -> None:
    dataset = make({"text": "That is good.", "other": "That is bad."})
    rekey = preprocessors.rekey
    assert examples(rekey(dataset, {"inputs": "other", "targets": "text"})) == [{"inputs": b"That is bad.", "targets": b"That is good."}]
    assert examples(rekey(dataset, key_map={"targets": "text"})) == [{"targets": b"That is good."}]
    assert examples(rekey(dataset)) == [{"text": b"That is good.", "other": b"That is bad."}]
    assert examples(rekey(dataset, {"inputs": "text", "targets": None})) == [{"inputs": b"That is good.", "targets": b""}]


def in_any_way(step, *examples, **arguments):
    """What a step makes of examples one by one, with types, shapes and order of features; checked to be what it makes of many at once."""
    stream = step(ExampleStream.from_examples(examples), **arguments)
    alone = [told(element.value) for element in stream.keyed()]
    for count in (1, 3, len(examples)):
        walk = stream.keyed()
        many = [told(element.value) for _ in range(0, len(examples), count) for element in walk.read_many(count)]
        assert many == alone
    return alone


def told(value):
    if isinstance(value, dict):
        return [(name, told(each)) for name, each in value.items()]
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, [told(each) for each in value.ravel()] if value.dtype == object else value.tolist()
    return type(value).__name__, value


@pytest.mark.parametrize("step", [preprocessors.tokenize, preprocessors.tokenize_and_append_eos])
@pytest.mark.parametrize("copy_pretokenized", [True, False])
def test_texts_of_many_examples_at_once_get_the_ids_of_each(step, copy_pretokenized, vocabulary, monkeypatch) -> None:
    monkeypatch.setattr(sentencepiece, "_FEW_BYTES", 20)

    def texts(*parts, shape=None):
        array = np.empty(len(parts), dtype=object)
        array[:] = parts
        return array.reshape(shape or array.shape)

    examples = [
        {"inputs": b"this is a test", "id": np.int64(3), "targets": b"test"},
        {"targets": b"", "inputs": "a test", "other": b"this"},
        {"inputs": texts(b"this", b"", "is a"), "targets": b"no inputs before"},
        {"targets": b"broken \xff bytes"},
        {"inputs": texts(b"this", b"is", b"a", b"test", shape=(2, 2)), "targets": texts(), "bytes": b"abc"},
        {},
        {"other": b"nothing to encode", "passed": np.arange(3)},
        *({"inputs": b"test " * n, "targets": texts(*[b"a"] * (n % 3)), "bytes": b"b" * n, "passed": np.arange(n)} for n in range(20)),
    ]
    features = {
        "inputs": Feature(vocabulary, add_eos=False),
        "targets": Feature(vocabulary, add_eos=True),
        "bytes": Feature(ByteVocabulary(), add_eos=True),
        "passed": Feature(PassThroughVocabulary(9), add_eos=False),
    }
    made = in_any_way(step, *examples, output_features=features, copy_pretokenized=copy_pretokenized)
    assert len(made) == 27 and made[5] == []
    assert [name for name, _ in made[0]] == [
        *(["inputs_pretokenized"] if copy_pretokenized else []), "inputs", "id",
        *(["targets_pretokenized"] if copy_pretokenized else []), "targets",
    ]  # fmt: skip


def test_tokenize(make, vocabulary) -> None:
    dataset = make({"prefix": "This is", "suffix": "a test.", "id": 7})
    features = {"prefix": Feature(vocabulary), "suffix": Feature(vocabulary, add_eos=False)}
    prefix, suffix = [3, 2, 20, 8, 6, 3, 8, 6], [3, 5, 10, 2]
    assert examples(preprocessors.tokenize(dataset, output_features=features)) == [
        {"prefix": prefix, "prefix_pretokenized": b"This is", "suffix": suffix, "suffix_pretokenized": b"a test.", "id": 7}
    ]
    assert examples(preprocessors.tokenize_and_append_eos(dataset, output_features=features, copy_pretokenized=False)) == [
        {"prefix": [*prefix, 1], "suffix": suffix, "id": 7}
    ]


def test_tokens_have_one_type(vocabulary) -> None:
    stream = ExampleStream.from_examples([{"targets": "a"}, {"targets": ""}])
    features = {"targets": Feature(vocabulary)}
    made = list(preprocessors.append_eos(preprocessors.tokenize(stream, features), features))
    assert [example["targets"].dtype for example in made] == [np.dtype(np.int32)] * 2
    assert [example["targets"].tolist() for example in made] == [[3, 5, 1], [1]]


def test_tokenize_several_texts(make, vocabulary) -> None:
    features = {"prefix": Feature(vocabulary), "suffix": Feature(vocabulary, add_eos=False)}
    tokenize = functools.partial(preprocessors.tokenize, output_features=features, copy_pretokenized=False)
    one = make({"prefix": ["This is", "this is"], "suffix": ["a test.", "another"]})
    this, that = [3, 2, 20, 8, 6, 3, 8, 6], [11, 8, 6, 3, 8, 6]
    suffix = [[3, 5, 10, 2], [3, 5, 22, 7, 24, 20, 4, 23]]
    assert examples(tokenize(one)) == [{"prefix": [this, that], "suffix": suffix}]
    assert examples(tokenize(one, with_eos=True)) == [{"prefix": [this, [*that, 1]], "suffix": suffix}]
    two = make({"prefix": np.array([["This is"], ["this is"]], dtype=object), "suffix": np.array([["a test."], ["another"]], dtype=object)})
    assert examples(tokenize(two)) == [{"prefix": [[this], [that]], "suffix": [[row] for row in suffix]}]
    assert examples(tokenize(two, with_eos=True)) == [{"prefix": [[[*this, 1]], [[*that, 1]]], "suffix": [[row] for row in suffix]}]


ROWS = {
    "inputs": [1, 2, 3],
    "targets": [4, 5, 6, 7],
    "arrows": [8, 9, 10, 11],
    "strings": [[14, 15], [16, 17], [18, 19]],
    "feathers": [[20, 21], [], [22, 23, 24, 25, 26]],
    "bows": [12, 13],
}
LENGTHS = {"inputs": 4, "targets": 3, "arrows": 5, "strings": 3, "feathers": 4, "bows": 1}
ENDED = {
    "inputs": [1, 2, 3],
    "targets": [4, 5, 6, 7, 1],
    "arrows": [8, 9, 10, 11, 1],
    "strings": [[14, 15, 1], [16, 17, 1], [18, 19, 1]],
    "feathers": [[20, 21, 1], [1], [22, 23, 24, 25, 26, 1]],
    "bows": [12, 13],
}


def test_append_eos(make) -> None:
    dataset = make(ROWS)
    features = {name: Feature(ByteVocabulary(), add_eos=name != "inputs") for name in ROWS if name != "bows"}
    assert examples(preprocessors.append_eos(dataset, features)) == [ENDED]
    after_trim = functools.partial(preprocessors.append_eos_after_trim, output_features=features)
    cut = {**ENDED, "targets": [4, 5, 1], "feathers": [[20, 21, 1], [1], [22, 23, 24, 1]]}
    assert examples(after_trim(dataset, sequence_length=LENGTHS)) == [cut]
    assert examples(after_trim(dataset, sequence_length={**LENGTHS, "targets": None})) == [{**cut, "targets": ENDED["targets"]}]
    assert examples(after_trim(dataset)) == [ENDED]


def test_a_step_changes_no_example_of_its_source() -> None:
    source = [{"targets": np.array([4, 5], np.int32)}]
    stream = ExampleStream.from_examples(source)
    for _ in range(2):
        assert examples(preprocessors.append_eos(stream, {"targets": Feature(ByteVocabulary())})) == [{"targets": [4, 5, 1]}]
    assert source[0]["targets"].tolist() == [4, 5]


def test_eos_of_a_vocabulary_without_one_is_refused() -> None:
    stream = ExampleStream.from_examples([{"targets": [4, 5]}])
    with pytest.raises(ConfigError, match="feature 'targets' has add_eos, and its vocabulary PassThroughVocabulary has no EOS"):
        list(preprocessors.append_eos(stream, {"targets": Feature(PassThroughVocabulary(9))}))


@pytest.mark.parametrize(
    ("lengths", "inputs"),
    [
        ({"inputs": 2, "targets": 4}, [2, 3]),
        ({"inputs": 0}, []),
        ({"inputs": 9}, [1, 2, 3]),
        (None, [1, 2, 3]),
        ({"targets": 4}, [1, 2, 3]),
    ],
)
def test_truncate_inputs_left(make, lengths, inputs) -> None:
    dataset = make({"inputs": [1, 2, 3], "targets": [4, 5, 6, 7]})
    assert examples(preprocessors.truncate_inputs_left(dataset, lengths)) == [{"inputs": inputs, "targets": [4, 5, 6, 7]}]


def test_templates(make) -> None:
    dataset = make({"text": "Hello\\nWorld {label}", "label": "a\\tb", "number": 3})
    made = preprocessors.preprocess_tensorflow_examples(dataset, "Input: {text}, {none}", "{label}{label} {number}{}")
    assert examples(made) == [{"inputs": b"Input: Hello\\nWorld {label}, {none}", "targets": b"a\\tba\\tb 3{}"}]


def lines(*texts):
    return ExampleStream(lambda: iter(texts))


def test_lines_of_fields() -> None:
    parse, preprocess = preprocessors.parse_tsv, preprocessors.preprocess_tsv
    assert examples(parse(lines(b"a\tb\tc", b'"x\t'))) == [{"inputs": b"a", "targets": b"b"}, {"inputs": b'"x', "targets": b""}]
    assert examples(parse(lines(b"a,b,c"), field_names=["z", "y"], field_delim=",", field_columns=[2, 0])) == [{"z": b"c", "y": b"a"}]
    with pytest.raises(ConfigError, match="a line has 1 fields between '\\\\t', the step wants 2 or more: b'a b'"):
        list(parse(lines(b"a b")))
    template = {"inputs_format": "numerator: {2} denominator: {1}", "targets_format": "quotient: {0}"}
    quotient = [{"inputs": b"numerator: 42 denominator: 7", "targets": b"quotient: 6"}]
    assert examples(preprocess(lines(b"6,7,42"), field_delim=",", num_fields=3, **template)) == quotient
    named = {"inputs_format": "numerator: {n} denominator: {d}", "targets_format": "quotient: {q}", "field_names": ["q", "d", "n"]}
    assert examples(preprocess(lines(b"6,7,42"), field_delim=",", **named)) == quotient
    assert examples(preprocess(lines(b'"a,b",c'), field_delim=",", use_quote_delim=True)) == [{"inputs": b"a,b", "targets": b"c"}]
    with pytest.raises(ConfigError, match="a line has 3 fields between ',', the step wants 2:"):
        list(preprocess(lines(b"6,7,42"), field_delim=","))


def test_print_dataset(capsys) -> None:
    stream = ExampleStream.from_examples([{"targets": [4, 5, 6, 7], "text": "a"}])
    assert examples(preprocessors.print_dataset(stream)) == [{"targets": [4, 5, 6, 7], "text": b"a"}]
    assert capsys.readouterr().err == "targets: [4, 5, 6]\ntext: b'a'\n"


def test_a_converter_as_a_step() -> None:
    def converter(dataset, lengths):
        return dataset.map(lambda example: {"decoder_target_tokens": example["targets"][: lengths["targets"]]})

    stream = ExampleStream.from_examples([{"targets": [4, 5, 6]}])
    made = preprocessors.apply_feature_converter(stream, sequence_length={"targets": 2}, feature_converter=converter)
    assert examples(made) == [{"decoder_target_tokens": [4, 5]}]
