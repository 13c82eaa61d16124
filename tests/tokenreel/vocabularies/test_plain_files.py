from __future__ import annotations

import json
import pathlib
import random
import shutil

import pytest
import tokenizers

from pipelines import cli
from tests.tokenreel.vocabularies.blocks import block
from tokenreel import load as load_dataset
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies import plain_files
from tokenreel.vocabularies.fast_path import FastPath
from tokenreel.vocabularies.loading import load_vocabulary


@pytest.fixture(scope="module")
def byte_level(texts, tmp_path_factory) -> pathlib.Path:
    """`vocab.json` and `merges.txt` as GPT-2's and RoBERTa's; and `vocabulary.json`, which is keras-hub's name for the former."""
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(
        texts[:300], vocab_size=600, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False
    )
    folder = tmp_path_factory.mktemp("byte_level")
    trained.save_model(str(folder))
    shutil.copy(folder / "vocab.json", folder / "vocabulary.json")
    return folder


@pytest.fixture(scope="module")
def word_pieces(texts, tmp_path_factory) -> pathlib.Path:
    """`vocab.txt` as BERT's, of texts in lower case and of texts as they are."""
    folder = tmp_path_factory.mktemp("word_pieces")
    for name, lowercase in (("uncased", True), ("cased", False)):
        trained = tokenizers.BertWordPieceTokenizer(lowercase=lowercase)
        trained.train_from_iterator(texts[:300], vocab_size=600, show_progress=False)
        (folder / name).mkdir()
        trained.save_model(str(folder / name))
    return folder


def documents(texts) -> list[str]:
    rng = random.Random(3)
    parts = [
        "é",
        "É",
        "日本",
        "\u0301",
        "\t",
        "\r\n",
        "  ",
        "İ",
        "ﬁ",
        "😀",
        "don't",
        "DON'T",
        "12345",
        "[MASK]",
        "</s>",
        "##a",
        "\0",
        "\u200b",
    ]
    words = [word for text in texts[:20] for word in text.split()]
    made = ["".join(rng.choice(rng.choice((parts, words, [" "]))) for _ in range(rng.randrange(12))) for _ in range(500)]
    return [*texts[:50], *made, "", " "]


def encoded(vocabulary, texts) -> list[list[int]]:
    ids, lengths = vocabulary.encode_block(*block(texts))
    ends = lengths.cumsum().tolist()
    return [ids[end - length : end].tolist() for end, length in zip(ends, lengths.tolist(), strict=True)]


@pytest.mark.parametrize("name", ["vocab.json", "vocabulary.json"])
def test_vocab_json_with_merges_is_what_the_library_makes_of_them(byte_level, texts, name):
    library = tokenizers.ByteLevelBPETokenizer(str(byte_level / "vocab.json"), str(byte_level / "merges.txt"))
    vocabulary = load_vocabulary("huggingface", str(byte_level / name))
    assert isinstance(vocabulary.fast_path, FastPath)
    found = documents(texts)
    assert encoded(vocabulary, found) == [one.ids for one in library.encode_batch(found, add_special_tokens=False)]
    assert [vocabulary.decode(ids) for ids in encoded(vocabulary, found)] == found
    ids = json.loads((byte_level / "vocab.json").read_text())
    assert vocabulary.vocab_size == len(ids)
    wanted = {"bos_id": "<s>", "pad_id": "<pad>", "eos_id": "</s>", "unk_id": "<unk>", "mask_id": "<mask>"}
    assert {name: getattr(vocabulary, name) for name in wanted} == {name: ids[piece] for name, piece in wanted.items()}
    assert set(vocabulary.added_tokens()) == {ids[piece] for piece in wanted.values()}
    assert load_vocabulary("huggingface", str(byte_level / name), special_tokens=True).encode("a</s>")[-1] == ids["</s>"]


@pytest.mark.parametrize("case", ["uncased", "cased"])
def test_vocab_txt_is_what_the_library_makes_of_it(word_pieces, texts, case):
    path = word_pieces / case / "vocab.txt"
    library = tokenizers.BertWordPieceTokenizer(str(path), lowercase=case == "uncased")
    library._tokenizer.encode_special_tokens = True
    vocabulary = load_vocabulary("huggingface", str(path))
    found = documents(texts)
    expected = [one.ids for one in library.encode_batch(found, add_special_tokens=False)]
    assert encoded(vocabulary, found) == expected
    ids = {piece: i for i, piece in enumerate(path.read_text(encoding="utf-8").splitlines())}
    roles = ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id")
    assert [getattr(vocabulary, role) for role in roles] == [ids[piece] for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
    assert vocabulary.eos_id is None and vocabulary.word_starts.any()
    if case == "uncased":
        assert vocabulary.encode("A É") == vocabulary.encode("a e")


def test_the_file_beside_says_how_words_are_written(word_pieces, tmp_path):
    (tmp_path / "vocab.txt").write_bytes((word_pieces / "uncased/vocab.txt").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "sep_token": "[SEP]"}')
    kept = load_vocabulary("huggingface", str(tmp_path / "vocab.txt"))
    assert kept.encode("The") != kept.encode("the") == load_vocabulary("huggingface", str(word_pieces / "uncased/vocab.txt")).encode("The")


@pytest.mark.parametrize("name", ["vocab.json", "vocabulary.json"])
def test_a_build_keeps_what_stands_for_the_files(byte_level, write_config, tmp_path, capsys, name):
    config = write_config(vocabulary={"kind": "huggingface", "path": str(byte_level / name)}, packing={"seq_len": 128})
    assert cli.main(["build", config, "--direct_num_workers=1"]) == 0
    assert "eos '</s>' (2)" in capsys.readouterr().err
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 0
    kept, made = load_dataset(str(tmp_path / "dataset")).vocabulary(), load_vocabulary("huggingface", str(byte_level / name))
    assert kept.data == made.data and kept.fingerprint == made.fingerprint and kept.encode("some words") == made.encode("some words")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"vocab.json": '{"a": 0}'}, r"merges\.txt: cannot read .*vocab\.json needs it beside it"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "#version: 0.2\na b c\n"}, "merges.txt beside it has the line 'a b c'"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "a b\n"}, "not a tokenizer"),
        ({"vocab.json": '{"a": 0}', "merges.txt": b"\xff"}, r"vocab\.json: merges\.txt beside it: not UTF-8"),
        ({"vocab.json": '{"a": 0, "b</w>": 1, "ab</w>": 2}', "merges.txt": "a b</w>\n"}, "'b</w>' ends a word, .* tokenizer.json"),
        ({"vocab.txt": "[UNK]\na\na\n"}, "vocab.txt: lines 2 and 3 are both 'a'"),
        ({"vocab.txt": "a\nb\n"}, "vocab.txt: has no piece .*UNK"),
        ({"vocab.txt": b"\xff"}, "vocab.txt: not UTF-8"),
    ],
)
def test_files_that_are_not_whole_are_refused(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary("huggingface", str(tmp_path / next(iter(files))))


def test_a_tokenizer_json_is_told_by_how_it_begins(monkeypatch):
    monkeypatch.setattr(plain_files.json, "loads", lambda _: pytest.fail("all of it is read"))
    for data in (b'{"version": "1.0", "model": {}}', b'{\n  "model" : {"vocab": {}}}', b'{"truncation":null}'):
        assert plain_files.to_tokenizer_json("t.json", data, {}, lambda: b"") is data
    monkeypatch.undo()
    ids = {piece: i for i, piece in enumerate(["version", "model", "a", "b", "ab"])}  # pieces of these names begin no tokenizer.json
    made = json.loads(plain_files.to_tokenizer_json("vocab.json", json.dumps(ids).encode(), {}, lambda: b"a b\n"))
    assert made["model"]["vocab"] == ids and made["model"]["merges"] == [["a", "b"]]
