"""The examples of masked language models: RoBERTa from both kinds of masks, BERT from pairs, and what RoBERTa's layers know."""

import json
import os
import pathlib

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

from tokenreel.loaders import load

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def found(folder):
    from examples.models import masked_lm

    return masked_lm.main(["--folder", str(folder), "--steps", "500"])


def test_masked_tokens_of_other_text_are_found(found, folder):
    assert set(found) == {"static", "dynamic", "bert"}
    for name, result in found.items():
        assert result["losses"][-1] < result["losses"][0] - 1.5, name
        assert result["accuracy"] > result["commonest"] + 0.15, name
    plain = load(folder / "roberta_plain")
    masks: dict[int, list[str]] = {}
    for batch in plain.batches(64, seed=0, objective=plain.objective("roberta"), epochs=2):
        used = batch["mask_weights"].any(axis=1)  # a third of the examples are the last token of a document, which is never masked
        for example, places in zip(batch["example_id"][used].tolist(), batch["mask_positions"][used], strict=True):
            masks.setdefault(example, []).append(str(places))
    twice = [places for places in masks.values() if len(places) == 2]
    assert len(twice) > len(plain) // 2 and sum(one != other for one, other in twice) > 0.99 * len(twice), "masks are drawn anew"


def test_layers_know_more_of_the_order_of_words_than_the_embeddings(found, folder, capsys):
    import xml.etree.ElementTree

    from examples.models import probes

    results = probes.main(["--folder", str(folder)])
    shown = capsys.readouterr().out
    for name, result in results.items():
        accuracies = result["accuracies"]
        assert len(accuracies) == 5 and f"{name}: best is layer {result['best']}; " in shown
        assert result["best"] > 0 and accuracies[result["best"]] > accuracies[0] + 0.1, name
        assert result["mix"] > accuracies[-1] - 0.05, name
    drawn = xml.etree.ElementTree.parse(folder / "probes.svg").getroot()
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 2


def test_the_notebook_comes_to_what_the_program_does(found, folder, capsys):
    from examples.models import probes

    notebook = json.loads(pathlib.Path(probes.__file__).with_suffix(".ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "what a run prints stays out of the file"
            exec("".join(cell["source"]).replace('pathlib.Path("demo/models")', f"pathlib.Path({str(folder)!r})"), names)
    shown = capsys.readouterr().out
    for name, result in probes.main(["--folder", str(folder)]).items():
        assert f"{name}: layer {result['best']} {result['accuracies'][result['best']]:.1%}, the last " in shown
