from __future__ import annotations

import base64
import dataclasses

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
