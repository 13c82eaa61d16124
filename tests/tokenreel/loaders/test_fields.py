import numpy as np

from tests.datasets import PAD, random_examples, write_dataset
from tokenreel.loaders import load


def test_derived_fields(tmp_path):
    for overlap, padded in ((0, False), (1, False), (0, True), (1, True)):
        path = tmp_path / f"{overlap}{padded}"
        arrays = random_examples(30, 12, overlap=overlap, padded=padded)
        write_dataset(path, {"train": arrays}, overlap=overlap)
        batch = load(path).take(np.arange(30), ["inputs", "targets", "loss_weights", "segment_ids", "positions", "example_id"])
        across = load(path).take(np.arange(30), ["targets", "loss_weights"], across_documents=True)["loss_weights"]
        stored = load(path).take(np.arange(30), ["segment_ids", "positions"])
        for row in range(30):
            tokens, starts = arrays["tokens"][row], arrays["document_starts"][row]
            number = int(arrays["num_tokens"][row]) if padded else len(tokens)
            segment, position = 1, 0
            for i in range(len(tokens)):
                if i and starts[i]:
                    segment, position = segment + 1, 0
                expected = (segment, position) if i < number else (0, 0)
                assert (stored["segment_ids"][row, i], stored["positions"][row, i]) == expected
                if i < 12:
                    assert (batch["segment_ids"][row, i], batch["positions"][row, i]) == expected
                    assert batch["inputs"][row, i] == tokens[i]
                    follows = i + 1 < len(tokens)
                    assert batch["targets"][row, i] == (tokens[i + 1] if follows else PAD)
                    real = i + 1 < number
                    assert batch["loss_weights"][row, i] == (real and not starts[i + 1])
                    assert across[row, i] == real
                position += 1
        assert batch["inputs"].shape == (30, 12) and stored["segment_ids"].shape == (30, 12 + overlap)
