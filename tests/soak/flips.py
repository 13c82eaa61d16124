"""Flips of bits in any file of a dataset: what `where`, `when`, `inspect`, `report` and `load(crc="first")` say is right, or refused.

Each chain alters one to three bytes of one file, asks everything, and puts the bytes back. An answer is right where it is that of the whole
dataset; it is refused where the command says in one line of which file, or shows a record as damaged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import pathlib
import random
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator

import numpy as np

from tests import verification_datasets as datasets
from tokenreel import commands, keys, load
from tokenreel.errors import TokenreelError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming
from tokenreel.vocabularies.characters import write_character_model

GOLDEN = pathlib.Path(__file__).parents[1] / "golden/datasets/v2"
REFUSED = "refused"


@dataclasses.dataclass
class Result:
    """How the flips ended.

    Attributes:
      chains: how many were made.
      right, refused: answers that are those of the whole dataset, and those that were not given.
      wrong: answers that are neither.
      tracebacks: exceptions that nobody raised on purpose.
    """

    chains: int = 0
    right: int = 0
    refused: int = 0
    wrong: int = 0
    tracebacks: int = 0

    def __str__(self) -> str:
        return (
            f"{self.chains:,} chains: {self.right:,} answers right, {self.refused:,} refused, {self.wrong:,} wrong, "
            f"{self.tracebacks:,} tracebacks"
        )

    @property
    def sound(self) -> bool:
        """Says whether all went well."""
        return not self.wrong and not self.tracebacks


def run(count: int, seed: int) -> Result:
    """Makes `count` flips, drawn by `seed`, in datasets of several kinds."""
    draw, result = random.Random(seed), Result()
    with tempfile.TemporaryDirectory() as folder:
        whole = {directory: answers(directory) for directory in make(pathlib.Path(folder))}
        for _ in range(count):
            directory = draw.choice(list(whole))
            path = draw.choice([path for path in sorted(directory.rglob("*")) if path.is_file()])
            with flipped(path, draw) as what:
                for question, expected in whole[directory].items():
                    try:
                        answer = question_of(question)(directory)
                    except Exception:
                        result.tracebacks += 1
                        print(f"{what}: {question}\n{traceback.format_exc()}", flush=True)
                        continue
                    result.right += answer == expected
                    result.refused += answer == REFUSED
                    if answer not in (expected, REFUSED):
                        result.wrong += 1
                        print(f"{what}: {question} answers {answer[:500]!r}", flush=True)
            result.chains += 1
    return result


def make(folder: pathlib.Path) -> list[pathlib.Path]:
    """Makes small datasets of every kind of file: fixed records and lists, models of characters and of SentencePiece."""
    letters = sorted({letter for text in datasets.texts(100) for letter in text})
    write_character_model(str(folder / "model.json"), letters, "none")
    vocabulary = ("characters", str(folder / "model.json"))
    for record_format in ("fixed", "int64_list"):
        documents = {"train": 30, "validation": 5}
        datasets.make(folder / record_format, documents=documents, record_format=record_format, vocabulary=vocabulary, dead_letters=3)
    for recipe in ("demo", "t5"):
        shutil.copytree(GOLDEN / recipe, folder / recipe)
    return [folder / name for name in ("fixed", "int64_list", "demo", "t5")]


@contextlib.contextmanager
def flipped(path: pathlib.Path, draw: random.Random) -> Iterator[str]:
    """Alters some bytes of a file in place, one bit or all of each, and puts them back at the end."""
    before = path.read_bytes()
    data, places = bytearray(before), [draw.randrange(len(before)) for _ in range(draw.choice([1, 1, 1, 2, 3]))]
    for place in places:
        data[place] ^= 1 << draw.randrange(8) if draw.random() < 0.7 else draw.randrange(1, 256)
    path.write_bytes(data)
    try:
        yield f"{path.parent.name}/{path.name} bytes {places}"
    finally:
        path.write_bytes(before)


def answers(directory: pathlib.Path) -> dict[str, str]:
    """Asks a whole dataset everything; what it does not answer, such as an order of lists, is no question."""
    found = {question: question_of(question)(directory) for question in (*_COMMANDS, "load train", "load validation")}
    return {question: answer for question, answer in found.items() if answer != REFUSED}


_COMMANDS = {
    "where": ["--batch-size", "1000", "--step", "0", "--epochs", "1", "--json", "--text"],
    "where validation": ["--split", "validation", "--batch-size", "1000", "--step", "0", "--epochs", "1"],
    "when": ["--batch-size", "4", "--epochs", "1", "--document"],
    "inspect": ["--split", "train", "--count", "1000"],
    "inspect documents": ["--split", "train", "--index", "-2", "--provenance"],
    "inspect validation": ["--split", "validation", "--count", "1000", "--tokens"],
    "report": ["--output"],
}


def question_of(question: str) -> Callable[[pathlib.Path], str]:
    """Gives what asks a dataset a question: its answer as text, or `REFUSED`."""
    command, _, split = question.partition(" ")
    if command == "load":
        return lambda directory: _load(directory, split)
    return lambda directory: _ask(directory, question)


def _load(directory: pathlib.Path, split: str) -> str:
    try:
        dataset = load(directory, split, crc="first")
        arrays = dataset.take(np.arange(len(dataset)))
    except TokenreelError:
        return REFUSED
    return keys.digest(*(part for name, values in sorted(arrays.items()) for part in (name, values.tobytes())))


def _ask(directory: pathlib.Path, question: str) -> str:
    arguments = list(_COMMANDS[question])
    page = directory.parent / "page.html"
    page.unlink(missing_ok=True)
    if question == "when":
        arguments.append(_some_document(directory))
    if question == "report":
        arguments.append(str(page))
    command = question.split()[0]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = commands.main(command, [str(directory), *arguments])
    said = err.getvalue().splitlines()
    if code and ((len(said) == 1 and str(directory) in said[0]) or "this record is damaged" in out.getvalue()):
        return REFUSED
    # A report without its vocabulary says so, and shows numbers.
    return f"{code}\n{out.getvalue()}{err.getvalue()}{page.read_text(encoding='utf-8') if page.exists() else ''}"


@functools.cache  # first asked for while the dataset is whole
def _some_document(directory: pathlib.Path) -> str:
    import pyarrow.parquet as pq

    shards = len(manifests.read(str(directory)).splits["train"].shards)
    table = directory / naming.provenance("train", shards - 1, shards)
    return str(pq.read_table(table, columns=["doc_id"]).column(0)[-1])
