from __future__ import annotations

import json
import pathlib
import pickle

import numpy as np
import pytest
import tokenizers

from pipelines import cli
from tests.tokenreel.vocabularies.blocks import block
from tokenreel import load as load_dataset
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.loading import load_vocabulary


@pytest.fixture(scope="module")
def byte_level(texts, tmp_path_factory):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<|endoftext|>", "<|x|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts[:400], trainer)
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<|x|> $A", special_tokens=[("<|x|>", 1)])
    path = str(tmp_path_factory.mktemp("byte_level") / "tokenizer.json")
    tokenizer.save(path)
    return path


@pytest.fixture(scope="module")
def word_piece(texts, tmp_path_factory):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        texts[:400], tokenizers.trainers.WordPieceTrainer(vocab_size=500, special_tokens=names, show_progress=False)
    )
    path = str(tmp_path_factory.mktemp("word_piece") / "tokenizer.json")
    tokenizer.save(path)
    return path


def test_whole_documents_without_what_the_file_would_add(byte_level, texts):
    vocabulary = load_vocabulary("huggingface", byte_level)
    reference = tokenizers.Tokenizer.from_file(byte_level)
    reference.no_truncation()
    reference.no_padding()
    documents = ["", *texts[:60], "é ▁ \t日本 😀\0", " ", ""]
    expected = [reference.encode(text, add_special_tokens=False).ids for text in documents]
    assert max(map(len, expected)) > 8
    ids, lengths = vocabulary.encode_block(*block(documents))
    assert ids.dtype == np.int32
    assert [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])] == expected == [vocabulary.encode(text) for text in documents]
    assert [vocabulary.decode(part) for part in expected] == documents


def test_blocks_larger_than_a_portion(byte_level, texts, monkeypatch):
    from tokenreel.vocabularies import huggingface

    vocabulary = load_vocabulary("huggingface", byte_level)
    whole = vocabulary.encode_block(*block(texts[:100]))
    monkeypatch.setattr(huggingface, "_PORTION_BYTES", 500)
    for a, b in zip(vocabulary.encode_block(*block(texts[:100])), whole, strict=True):
        assert a.tolist() == b.tolist()
    assert [a.tolist() for a in vocabulary.encode_block(*block([]))] == [[], []]


def test_special_tokens(byte_level, word_piece):
    vocabulary = load_vocabulary("huggingface", byte_level)
    assert (vocabulary.pad_id, vocabulary.bos_id, vocabulary.eos_id, vocabulary.unk_id) == (None, None, 0, None)
    assert vocabulary.encode("<|x|>") == [1] and vocabulary.find("<|x|>") == 1 and vocabulary.decode([0]) == "<|endoftext|>"
    plain = load_vocabulary("huggingface", byte_level, special_tokens=False)
    assert 1 not in plain.encode("<|x|>") and plain.decode(plain.encode("<|x|>")) == "<|x|>"
    assert plain.fingerprint != vocabulary.fingerprint
    chosen = load_vocabulary("huggingface", byte_level, pad_id="<|x|>", bos_id=5)
    assert (chosen.pad_id, chosen.bos_id, chosen.eos_id) == (1, 5, 0)
    bert = load_vocabulary("huggingface", word_piece, eos_id="[SEP]")
    assert (bert.pad_id, bert.bos_id, bert.eos_id, bert.unk_id) == (0, None, 3, 1) and bert.find("[MASK]") == 4


def test_words_begin(byte_level, word_piece):
    for path, begins in ((byte_level, lambda piece: piece.startswith("Ġ")), (word_piece, lambda piece: not piece.startswith("##"))):
        vocabulary = load_vocabulary("huggingface", path)
        pieces = [vocabulary.piece(i) for i in range(vocabulary.vocab_size)]
        special = {"<|endoftext|>", "<|x|>", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
        assert vocabulary.word_starts.tolist() == [piece not in special and begins(piece) for piece in pieces]
        assert vocabulary.word_starts.any() and not vocabulary.word_starts.all()


def test_dropout_in_the_file_is_off(byte_level, texts, tmp_path):
    content = json.loads(pathlib.Path(byte_level).read_text(encoding="utf-8"))
    content["model"]["dropout"] = 0.5
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    vocabulary = load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
    assert [vocabulary.encode(text) for text in texts[:20]] == [load_vocabulary("huggingface", byte_level).encode(t) for t in texts[:20]]


def test_a_pickled_vocabulary_gives_the_same_ids(byte_level, texts):
    vocabulary = load_vocabulary("huggingface", byte_level)
    copy = pickle.loads(pickle.dumps(vocabulary))
    assert copy.fingerprint == vocabulary.fingerprint and copy.encode(texts[0]) == vocabulary.encode(texts[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eos_id": "</s>"}, "options.eos_id: the tokenizer has no token '</s>'"),
        ({"eos_id": 700}, "has no token 700"),
        ({"eos_id": True}, "has no token True"),
        ({"special_tokens": "no"}, "special_tokens must be true or false"),
        ({"memo_bytes": 1}, "takes no option 'memo_bytes'"),
    ],
)
def test_options_that_are_wrong(byte_level, options, message):
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary("huggingface", byte_level, **options)


def test_files_that_are_no_tokenizers(tmp_path):
    with pytest.raises(VocabularyError, match="cannot read the tokenizer"):
        load_vocabulary("huggingface", str(tmp_path / "none.json"))
    model = {"type": "BPE", "vocab": {"x": 0, "xx": 1}, "merges": [["x", "x"]], "continuing_subword_prefix": "9" * 500}
    panics = json.dumps({"version": "1.0", "added_tokens": [], "model": model})  # inside the library
    for number, content in enumerate(["", "[]", "{}", '{"model": {"type": "BPE"}}', "\x00\xff", panics]):
        (tmp_path / f"{number}.json").write_text(content)
        with pytest.raises(VocabularyError, match="not a tokenizer"):
            load_vocabulary("huggingface", str(tmp_path / f"{number}.json"))


def test_a_build_and_its_reader(write_config, tmp_path, byte_level, texts):
    vocabulary = {"kind": "huggingface", "path": byte_level, "options": {"pad_id": "<|x|>"}}
    config = write_config(vocabulary=vocabulary, packing={"mode": "best_fit", "seq_len": 128})
    assert cli.main(["build", config, "--direct_num_workers=1"]) == 0
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 0
    assert cli.main(["inspect", str(tmp_path / "dataset")]) == 0
    dataset = load_dataset(str(tmp_path / "dataset"))
    loaded = dataset.vocabulary()
    assert (tmp_path / "dataset/vocabulary.json").read_bytes() == loaded.data and loaded.pad_id == 1
    shown = [part for i in range(len(dataset)) for part in loaded.decode(dataset[i]["tokens"]).split("<|endoftext|>")]
    assert len(set(shown) & set(texts)) > 300


@pytest.mark.parametrize("model", ["WordLevel", "WordPiece"])
def test_a_word_that_a_tokenizer_has_no_token_for_is_said(tmp_path, model):
    """The library raises an Exception of no class."""
    tokenizer = tokenizers.Tokenizer(getattr(tokenizers.models, model)({"some": 0, "words": 1}))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
    assert vocabulary.encode("some words") == [0, 1]
    text = np.frombuffer(b"some other words", np.uint8)
    calls = (
        lambda: vocabulary.encode("some other words"),
        lambda: vocabulary.encode_block(text, np.array([0, 16])),
        lambda: vocabulary.encode_block_with_offsets(text, np.array([0, 16])),
    )
    for call in calls:
        with pytest.raises(VocabularyError, match=r"tokenizer.json: cannot encode the text: .*UNK.* Give the tokenizer a token for what"):
            call()


def test_a_tokenizer_without_tokens_is_refused(tmp_path):
    tokenizers.Tokenizer(tokenizers.models.WordLevel({}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(VocabularyError, match="the tokenizer has no token"):
        load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))


def test_an_id_beyond_all_memory_is_refused(tmp_path, byte_level):
    """Listing its words took minutes and gigabytes."""
    body = json.loads(pathlib.Path(byte_level).read_bytes())
    body["model"]["vocab"][max(body["model"]["vocab"], key=len)] = 1 << 31
    (tmp_path / "tokenizer.json").write_text(json.dumps(body))
    with pytest.raises(VocabularyError, match=r"tokenizer\.json: .* gives one the id 2,147,483,648"):
        load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
