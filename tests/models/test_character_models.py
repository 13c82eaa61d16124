"""The parts of examples/characters by themselves, and its two scripts as a newcomer runs them."""

import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

pytestmark = pytest.mark.models

ROOT = pathlib.Path(__file__).parents[2]


def row(length: int, document: int | None = None) -> dict[str, Any]:
    """One row of characters, of one document or of several so long."""
    segments = np.ones(length, np.int32) if document is None else np.arange(length) // document + 1
    return {"token_ids": np.arange(length, dtype=np.int32)[None] % 50, "segment_ids": segments[None].astype(np.int32)}


@pytest.mark.parametrize("factor", [1, 3, 16])
def test_any_length_comes_back_at_its_length(factor: int) -> None:
    from examples.characters import layers

    embedder = layers.embedder(50, width=8, factor=factor)
    towers = [layers.tower(embedder, "one", width=8, factor=factor), layers.tower(embedder, "two", width=12, factor=2)]
    composed = layers.compose(embedder, towers)
    for length in (1, 5, 16, 17):  # each is compiled anew
        assert composed(row(length)).shape == (1, length, 20), length


def test_documents_of_a_packed_row_do_not_see_each_other() -> None:
    from examples.characters import layers

    model = layers.embedder(50, width=8, factor=4)
    packed, other = row(16, document=8), row(16, document=8)
    other["token_ids"] = np.where(np.arange(16) < 8, other["token_ids"], 49)
    found, changed = (np.asarray(model(x)) for x in (packed, other))
    np.testing.assert_allclose(found[0, :8], changed[0, :8], atol=1e-6)
    assert np.abs(found[0, 8:] - changed[0, 8:]).min(axis=-1).max() > 0
    alone = {name: values[:, 8:] for name, values in packed.items()}
    assert np.asarray(model(alone)).shape == (1, 8, 8)


def test_a_composed_model_is_an_embedder_and_keeps_what_it_is_through_a_file(tmp_path: pathlib.Path) -> None:
    import keras

    from examples.characters import layers

    embedder = layers.embedder(50, width=8)
    inner = layers.compose(embedder, [layers.tower(embedder, "a", width=4), layers.tower(embedder, "b", width=4)])
    model = layers.compose(inner, [layers.tower(inner, "c", width=6)])
    model.save(tmp_path / "composed.keras")
    loaded = keras.models.load_model(tmp_path / "composed.keras")
    np.testing.assert_array_equal(np.asarray(loaded(row(9))), np.asarray(model(row(9))))
    assert not model.trainable_weights and model(row(9)).shape == (1, 9, 6)


def test_what_is_frozen_stays_and_the_rest_learns() -> None:
    import keras

    from examples.characters import layers

    embedder = layers.embedder(50, width=8)
    frozen, learning = layers.tower(embedder, "frozen", width=4), layers.tower(embedder, "learning", width=4)
    embedder.trainable = frozen.trainable = False
    body = layers.compose(embedder, [frozen, learning], frozen=False)
    model = keras.Model(body.input, keras.layers.Dense(50)(body.output))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = {part: [np.array(weight) for weight in part.weights] for part in (embedder, frozen, learning)}
    model.fit(row(16), row(16)["token_ids"], epochs=2, verbose=0)
    same = {part: all(map(np.array_equal, values, map(np.array, part.weights))) for part, values in before.items()}
    assert same == {embedder: True, frozen: True, learning: False}


def test_edges_and_strangers_follow_from_the_edge_alone() -> None:
    """Other edges beside one change neither its stranger nor its place before another."""
    from examples.characters import pretraining

    class Documents:
        def __len__(self) -> int:
            return 100

        def documents(self, numbers: Any) -> list[list[dict[str, Any]]]:
            return [[{"doc_id": f"d{number}"}] for number in numbers]

    class Edges:
        features = ()

        def __init__(self, edges: list[tuple[str, str]]) -> None:
            self.edges = edges

    edges = [(f"d{number}", f"d{number + 1}") for number in range(40)]
    all_of_them, half = (pretraining.Pairs(Edges(some), Documents(), 4, seed=3) for some in (edges, edges[::2]))
    for epoch in (0, 1):
        whole, part = all_of_them.epoch(epoch).tolist(), half.epoch(epoch).tolist()
        assert [triple for triple in whole if triple in part] == part
        assert all(stranger not in (first, second) for first, second, stranger in whole)
    assert all_of_them.epoch(0).tolist() != all_of_them.epoch(1).tolist()


def test_the_scripts_pretrain_compose_and_distill(tmp_path: pathlib.Path) -> None:
    shown = ""
    for module in ("composed", "distilled"):
        command = [sys.executable, "-m", f"examples.characters.{module}", "--folder", str(tmp_path / "characters"), "--steps", "200"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
        shown += result.stdout

    def numbers(pattern: str) -> list[float]:
        found = re.search(pattern, shown)
        assert found, f"{pattern}\n{shown}"
        return [float(each.replace(",", "")) for each in found.groups()]

    for name, less in (("masked_characters", 0.8), ("classes", 0.7), ("links", 0.9)):
        first, last = numbers(rf"{name}: loss ([\d.]+) to ([\d.]+)")
        assert last < less * first, name
    packages, links = numbers(r"held-out documents: ([\d.]+)% of the packages; ([\d.]+)% of \d+ links")
    assert packages > 70 and links > 65
    assert numbers(r"gives \(1, (\d+)\) for one character, and (\d+) of its \d+ weights changed") == [192, 0]
    found, largest = numbers(r"other packages: ([\d.]+)% of the held-out documents, where the largest class has ([\d.]+)%")
    assert found > largest + 10
    teacher, student = numbers(r"the teacher guesses ([\d.]+)%, the student ([\d.]+)%")
    assert teacher > 25 and student > 0.6 * teacher
    joined, student = numbers(r"documents: ([\d,]+) joined by id; the student tells ([\d.]+)%")
    assert joined > 1000 and student > 60
