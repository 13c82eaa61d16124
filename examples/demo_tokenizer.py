"""Trains a small SentencePiece model on the `text` field of a JSON lines file.

    python examples/demo_tokenizer.py corpus.jsonl tokenizer.model

BPE that changes nothing in the text: no normalisation, whitespace kept, and bytes for characters it does not know, so that decoding gives
every document back exactly.
"""

import argparse
import io
import json
import pathlib
from collections.abc import Iterator

import sentencepiece


def lines(corpus: pathlib.Path) -> Iterator[str]:
    """Yields the lines of every document, which is what the trainer takes as sentences."""
    with corpus.open(encoding="utf-8") as file:
        for record in file:
            yield from filter(None, json.loads(record)["text"].splitlines())


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--vocab-size", type=int, default=8000)
    arguments = parser.parse_args()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines(arguments.corpus),
        model_writer=model,
        model_type="bpe",
        vocab_size=arguments.vocab_size,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["\n"],
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=3,
        num_threads=1,
        minloglevel=2,
    )
    arguments.model.write_bytes(model.getvalue())
    print(f"{arguments.model}: {arguments.vocab_size:,} pieces, {len(model.getvalue()) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
