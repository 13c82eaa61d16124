"""Built datasets of tokenizers of words, and of words that begin with a written space: every id and span is the library's."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tokenizers
import yaml

import tokenreel
from pipelines import cli
from tests.converted_models import PREPEND, REPLACE
from tests.hostile_texts import hostile_texts
from tests.pipelines.test_build import provenance
from tests.tokenreel.vocabularies.blocks import nasty_documents

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def word_pieces(folder: pathlib.Path, texts: list[str]) -> tuple[pathlib.Path, tokenizers.Tokenizer]:
    """A `vocab.txt`, and the library's BERT tokenizer of it."""
    model = tokenizers.BertWordPieceTokenizer()
    model.train_from_iterator(texts, vocab_size=800, limit_alphabet=300, show_progress=False, special_tokens=SPECIAL)
    model.save_model(str(folder))
    library = tokenizers.BertWordPieceTokenizer(str(folder / "vocab.txt"))._tokenizer
    library.post_processor = None
    library.encode_special_tokens = True
    return folder / "vocab.txt", library


def unigram(folder: pathlib.Path, texts: list[str]) -> tuple[pathlib.Path, tokenizers.Tokenizer]:
    """A `tokenizer.json` of a unigram model as SentencePiece's are converted to."""
    library = tokenizers.Tokenizer(tokenizers.models.Unigram())
    replace = tokenizers.normalizers.Replace(tokenizers.Regex(" {2,}"), " ")
    library.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.NFKC(), replace])
    library.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(vocab_size=1500, unk_token="<unk>", special_tokens=["<unk>", "<pad>"], show_progress=False)
    library.train_from_iterator(texts[:3] * 4 + texts[303:], trainer)
    library.save(str(folder / "tokenizer.json"))
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.encode_special_tokens = True
    return folder / "tokenizer.json", library


def metaspace(folder: pathlib.Path, texts: list[str]) -> tuple[pathlib.Path, tokenizers.Tokenizer]:
    """A `tokenizer.json` of BPE with spaces that are written, as Llama's and Mistral's are."""
    library = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    library.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=1500, limit_alphabet=300, special_tokens=special, show_progress=False)
    # Else merges would make the names of special tokens, which are text to us and no text to the library.
    library.train_from_iterator([text for text in texts if not any(name in text for name in special)], trainer)
    content = json.loads(library.to_str()) | {"pre_tokenizer": None, "normalizer": {"type": "Sequence", "normalizers": [PREPEND, REPLACE]}}
    content["added_tokens"] = content["added_tokens"][:3]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.encode_special_tokens = True
    return folder / "tokenizer.json", library


MODELS = {"word_pieces": word_pieces, "unigram": unigram, "metaspace": metaspace}


@pytest.mark.parametrize("name", MODELS)
def test_ids_and_spans_of_a_dataset_are_those_of_the_library(tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    random_ = [*hostile_texts(300, seed=21), *nasty_documents(200, seed=22)]
    plain = ["The quick brown fox, the lazy dog.", "Über 日本語 and naïve cafés!", "[CLS] is text"]
    # The name of a special token that the model makes is text here, unlike in the library by itself.
    texts = [text for text in (*plain, *random_) if text.strip() and "<unk>" not in text]
    path, library = MODELS[name](tmp_path, texts)
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "output": str(tmp_path / "dataset"),
        "sources": [{"files": [str(tmp_path / "text.jsonl")], "id_field": "id"}],
        "vocabulary": {"kind": "huggingface", "path": str(path), "offsets": True},
        "packing": {"mode": "pad", "seq_len": 256, "long_documents": "truncate", "add_eos": False},
        "execution": {"block_mb": 0.004},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["build", str(tmp_path / "config.yaml"), "--direct_num_workers=1"]) == 0
    assert "own loops" in "".join(capfd.readouterr())
    assert cli.main(["verify", str(tmp_path / "dataset"), "--quiet"]) == 0
    dataset = tokenreel.load(str(tmp_path / "dataset"))
    fields = ["tokens", "token_begins", "token_ends"]
    found = dataset.stored(np.arange(len(dataset)), fields)
    table = provenance(tmp_path / "dataset")
    seen = set()
    for example, document in zip(table["example"], table["doc_id"], strict=True):
        encoding = library.encode(texts[int(document)], add_special_tokens=False)
        count = min(len(encoding.ids), 256)
        assert found["tokens"][example][:count].tolist() == encoding.ids[:count], texts[int(document)]
        spans = [found[field][example][:count].tolist() for field in fields[1:]]
        assert list(zip(*spans, strict=True)) == encoding.offsets[:count]
        seen.add(document)
    assert len(seen) == sum(len(library.encode(text, add_special_tokens=False).ids) > 0 for text in texts)
