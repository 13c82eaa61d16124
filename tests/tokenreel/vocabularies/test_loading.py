from __future__ import annotations

import base64
import dataclasses
import gzip
import pathlib

import pytest

from pipelines import cli
from tests import verification_datasets as datasets
from tokenreel.errors import TokenreelError, VocabularyError
from tokenreel.vocabularies.characters import write_character_model
from tokenreel.vocabularies.loading import load_vocabulary, open_stored


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("nonsense",), {}, "vocabulary.kind"),
        (("bytes",), {"memo_bytes": 1}, "takes no option 'memo_bytes'"),
        (("sentencepiece", "x"), {"colour": 1}, "takes no option 'colour'"),
        (("sentencepiece", "/nowhere/at.all"), {}, "cannot read the SentencePiece model"),
    ],
)
def test_what_cannot_be_loaded_is_named(arguments, options, message):
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary(*arguments, **options)


@pytest.mark.parametrize("kind", ["sentencepiece", "huggingface", "tiktoken"])
@pytest.mark.parametrize("value", ["x", -1, 1.5, True, None])
def test_memory_is_a_whole_number_of_bytes(kinds, kind, value):
    """`memo_bytes: x` was a TypeError."""
    with pytest.raises(VocabularyError, match="memo_bytes must be a whole number of bytes"):
        load_vocabulary(kind, **kinds[kind], memo_bytes=value)


@pytest.mark.parametrize("kind", ["sentencepiece", "characters", "huggingface", "tiktoken"])
def test_files_that_are_no_model_say_what_to_do(kinds, kind, tmp_path, capsys):
    settings = dict(kinds[kind])
    path = pathlib.Path(settings.pop("path"))
    packed = tmp_path / f"{path.name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(VocabularyError, match=f"compressed. Unpack it first: gunzip {packed}"):
        load_vocabulary(kind, str(packed), **settings)
    (tmp_path / "text.txt").write_text("a b")
    options = [f"--option={name}={value}" for name, value in settings.items()]
    assert cli.main(["try-tokenizer", str(tmp_path), str(tmp_path / "text.txt"), "--kind", kind, *options]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}: " in said and "Is a directory" in said and ("tokenizer.json" in said) == (kind == "huggingface")


IDS = ("pad_id", "bos_id", "eos_id", "unk_id")


@pytest.fixture(scope="module")
def kinds(unigram_model, tmp_path_factory):
    """What loads a vocabulary of each kind."""
    import tokenizers

    folder = tmp_path_factory.mktemp("kinds")
    write_character_model(str(folder / "characters.json"), ["a", "b"], "none")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}))
    tokenizer.add_special_tokens(["[END]", "1"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "bytes.tiktoken").write_bytes(b"".join(b"%s %d\n" % (base64.b64encode(bytes([byte])), byte) for byte in range(256)))
    return {
        "sentencepiece": {"path": unigram_model},
        "bytes": {},
        "characters": {"path": str(folder / "characters.json")},
        "huggingface": {"path": str(folder / "tokenizer.json")},
        "tiktoken": {"path": str(folder / "bytes.tiktoken"), "pattern": "gpt2"},
        "pass_through": {"vocab_size": 4},
    }


@pytest.mark.parametrize("kind", ["sentencepiece", "bytes", "characters", "huggingface", "tiktoken", "pass_through"])
@pytest.mark.parametrize("value", [1.5, 1.0, True, "1000", -1, 1000, 10**30, [1], "", float("nan")])
def test_ids_are_whole_numbers_within_the_vocabulary(kinds, kind, value):
    """`eos_id: 1.5` was taken, and written as 1."""
    for name in IDS:
        with pytest.raises(VocabularyError) as refused:
            load_vocabulary(kind, **kinds[kind], **{name: value})
        said = str(refused.value)
        assert said.startswith(f"vocabulary.options.{name}") and repr(value) in said and "\n" not in said
    if kind in ("huggingface", "tiktoken", "pass_through"):
        assert [getattr(load_vocabulary(kind, **kinds[kind], **{name: 1}), name) for name in IDS] == [1] * 4


def test_a_build_refuses_an_id_that_is_no_whole_number(write_config, corpus, kinds, capsys):
    for kind in ("huggingface", "pass_through"):
        options = {name: value for name, value in kinds[kind].items() if name != "path"}
        vocabulary = {"kind": kind, "options": {**options, "eos_id": 1.5}}
        if "path" in kinds[kind]:
            vocabulary["path"] = kinds[kind]["path"]
        assert cli.main(["build", write_config(vocabulary=vocabulary)]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "vocabulary.options.eos_id" in line and "1.5" in line


def test_what_a_forged_manifest_names_is_refused_with_its_place(tmp_path):
    made = datasets.make(tmp_path, documents={"train": 3})
    for change in ({"kind": "\x1b[2J"}, {"kind": "characters", "file": ""}, {"options": {"a": 1}}):
        forged = dataclasses.replace(made, vocabulary=dataclasses.replace(made.vocabulary, **change))
        with pytest.raises(TokenreelError, match=str(tmp_path)):
            open_stored(str(tmp_path), forged)
