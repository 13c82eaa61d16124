"""Makes what the golden datasets are built from: `python -m tests.golden.make_inputs CORPUS`, once; the files are committed.

CORPUS is what `examples/demo_corpus.py` writes. Another release of Python has other documents, and another release of SentencePiece may
train another model, so nothing calls this again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import pathlib
import re
import shutil
import tempfile
from collections.abc import Sequence

from tests.conftest import train_model
from tests.golden.builds import INPUTS

DOCUMENTS = 64
_LENGTHS = range(300, 1800)  # characters: long enough for the rules of C4, short enough for many in a small file
_NOT_ASCII = 6
_PAGES = 32
# The text of Python's documentation holds quotation marks, dashes and little else beyond ASCII; these characters become bytes.
_ADDED = [
    {
        "id": "golden.characters",
        "module": "golden",
        "text": "Zwölf Boxkämpfer; déjà vu; 東京タワー; नमस्ते; 🐍🐍.\n\nTabs\tand  two blanks stay.",
    },
    {"id": "golden.short", "module": "golden", "text": "One."},
    {"id": "golden.empty", "module": "golden", "text": ""},
]
_CUT = '{"id": "golden.cut", "module": "golden", "text": "A line that was cut off in the mid'  # a dead letter
# The special pieces that recipes name. T5's sentinels have descending ids.
_SYMBOLS = ["<mask>", "[MASK]", "[CLS]", "[SEP]", "<PRE>", "<SUF>", "<MID>", *(f"<extra_id_{i}>" for i in reversed(range(140)))]


def choose(documents: Sequence[dict[str, str]]) -> list[str]:
    """Picks documents by a hash of their names, some of them not ASCII, one of them twice; gives the lines of a file."""
    other = [document for document in documents if not document["text"].isascii()][:_NOT_ASCII]
    plain = [document for document in documents if document["text"].isascii()][: DOCUMENTS - len(other)]
    again = {**plain[0], "id": "golden.again"}
    chosen = sorted([*other, *plain], key=lambda document: document["id"])
    return [*(json.dumps(document, ensure_ascii=False) for document in [*chosen, again, *_ADDED]), _CUT]


def pages(documents: Sequence[dict[str, str]]) -> list[str]:
    """Picks documents that look like web pages: each paragraph one line, as the rules of C4 want it, and a line that they remove."""
    found = []
    for document in documents:
        text = re.sub(r"(?<=\S) *\n *(?=\S)", " ", document["text"])
        if len(re.findall(r"[.!?](?:\s|$)", text)) > 4 and len(text.split()) > 90:
            found.append({**document, "text": f"{text}\n\nThis page uses cookies."})
    chosen = sorted(found[:_PAGES], key=lambda document: document["id"])
    return [json.dumps(document, ensure_ascii=False) for document in [*chosen, {**found[0], "id": "golden.again"}]]


def tokenizer_json(texts: Sequence[str]) -> dict[str, str]:
    """Trains byte-level BPE whose ids lie as in Qwen's: an ordinary piece `</s>`, and behind all pieces the added tokens; gives the files.

    The file beside the `tokenizer.json` names another end than the usual one, as those of models for chats do.
    """
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(vocab_size=800, initial_alphabet=alphabet, show_progress=False))
    body = json.loads(tokenizer.to_str())
    body["model"]["vocab"]["</s>"] = 800
    kept = tokenizers.Tokenizer.from_str(json.dumps(body))
    kept.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<mask>"])
    kept.add_tokens(["<tool_call>", "</tool_call>"])
    beside = {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None}
    return {"tokenizer.json": kept.to_str(), "tokenizer_config.json": json.dumps(beside, indent=2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=pathlib.Path, help="what examples/demo_corpus.py wrote")
    source = parser.parse_args().corpus
    corpus = INPUTS / "corpus.jsonl"
    if corpus.exists():
        parser.error(f"{corpus} is there already, and golden datasets depend on it")
    documents = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    documents = [document for document in documents if len(document["text"]) in _LENGTHS]
    documents.sort(key=lambda document: hashlib.sha256(document["id"].encode()).digest())
    lines = choose(documents)
    for path, chosen in ((corpus, lines), (INPUTS / "pages.jsonl", pages(documents))):
        path.write_text("\n".join(chosen) + "\n", encoding="utf-8", newline="\n")
    texts = [json.loads(line)["text"] for line in lines[:-1]]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # a model holds the path of what it was trained on
        for kind in ("unigram", "bpe"):
            model = train_model(texts, pathlib.Path(), kind, size=900, symbols=_SYMBOLS, normalization_rule_name="identity")
            shutil.copyfile(model, INPUTS / model)
    for name, content in tokenizer_json(texts).items():
        (INPUTS / name).write_text(content + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
