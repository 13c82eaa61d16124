"""Towers, each trained for something of its own on the embedder that all share, by one interface: `train(dataset)`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from examples.characters import layers
from tokenreel import keys
from tokenreel.loaders.to_keras import KerasBatches

READ = {"tokens": "token_ids"}  # as the models call what a dataset calls tokens
UNLABELLED = -1


class Pretraining:
    """An embedder and a tower on it, with a head that only the training needs.

    Attributes:
      embedder: takes characters; see `layers.embedder`.
      tower: what is trained, and kept.
      model: embedder, tower and head.
    """

    name: str  # of the tower
    features: Sequence[str]  # of the dataset's batches

    def __init__(self, embedder: Any, **sizes: int) -> None:
        self.embedder, self.tower = embedder, layers.tower(embedder, self.name, **sizes)
        self.model = self.make_model(layers.compose(embedder, [self.tower], frozen=False))

    def make_model(self, body: Any) -> Any:
        """Puts the head on embedder and tower, and compiles the model."""
        raise NotImplementedError

    def batches(self, dataset: Any, batch_size: int, seed: int) -> Any:
        """Gives Keras what the model is trained on."""
        raise NotImplementedError

    def train(self, dataset: Any, *, steps: int, batch_size: int = 16, seed: int = 0) -> list[float]:
        """Trains the tower, and whatever of the embedder and the tower is not frozen, and gives the loss of each tenth of the steps."""
        per_epoch = max(steps // 10, 1)
        data = self.batches(dataset, batch_size, seed)
        history = self.model.fit(data, steps_per_epoch=per_epoch, epochs=steps // per_epoch, shuffle=False, verbose=0)
        losses: list[float] = history.history["loss"]
        return losses

    def read(self, dataset: Any, batch_size: int, **order: Any) -> Any:
        """Gives the batches of a dataset, by the names of the model's inputs."""
        return dataset.batches(batch_size, features=[*self.features], rename=READ, **order)


class MaskedCharacters(Pretraining):
    """Guesses hidden characters, of datasets of `character_denoising` (cclm's CLMaskPretrainer)."""

    name = "masked_characters"
    features = ("tokens", "segment_ids", "targets", "target_weights")

    def __init__(self, embedder: Any, vocab_size: int, **sizes: int) -> None:
        self.vocab_size = vocab_size
        super().__init__(embedder, **sizes)

    def make_model(self, body: Any) -> Any:
        """See `Pretraining`: logits of all characters at each position."""
        model = keras.Model(body.input, keras.layers.Dense(self.vocab_size, name="head")(body.output))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        model.compile(keras.optimizers.Adam(2e-3), loss)
        return model

    def batches(self, dataset: Any, batch_size: int, seed: int) -> Any:
        """See `Pretraining`."""
        return KerasBatches(self.read(dataset, batch_size, seed=seed), self.model, weights="target_weights")


class Classes(Pretraining):
    """Tells the class of a document from the vector of its first position, of datasets with a label (`label_fields`)."""

    name = "classes"

    def __init__(self, embedder: Any, label: str, classes: int, **sizes: int) -> None:
        self.label, self.classes, self.features = label, classes, ("tokens", "segment_ids", label)
        super().__init__(embedder, **sizes)

    def make_model(self, body: Any) -> Any:
        """See `Pretraining`: logits of all classes."""
        model = keras.Model(body.input, keras.layers.Dense(self.classes, name="head")(body.output[:, 0]))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        model.compile(keras.optimizers.Adam(1e-3), loss)
        return model

    def batches(self, dataset: Any, batch_size: int, seed: int) -> Any:
        """See `Pretraining`."""
        return self._labelled(self.read(dataset, batch_size, seed=seed))

    def accuracy(self, dataset: Any, batch_size: int = 64) -> float:
        """Gives the share of labelled documents whose class is found."""
        right = total = 0
        for batch in self.read(dataset, batch_size, shuffle=False, epochs=1, drop_remainder=False):
            logits = self.model.predict_on_batch({name: batch[name] for name in ("token_ids", "segment_ids")})
            known = batch[self.label] != UNLABELLED
            right += int((logits.argmax(axis=-1) == batch[self.label])[known].sum())
            total += int(known.sum())
        return right / total

    def _labelled(self, batches: Any) -> Any:
        return KerasBatches(
            batches,
            self.model,
            targets=lambda batch: np.maximum(batch[self.label], 0),
            weights=lambda batch: (batch[self.label] != UNLABELLED).astype(np.float32),
        )


class Links(Pretraining):
    """Tells whether there is an edge between two documents, from the vectors of their first positions.

    Each edge of a batch stands beside a pair that is none: the same document with another one, drawn by key.

    Args:
      embedder: see `Pretraining`.
      edges: pairs of document ids.
    """

    name = "links"
    features = ("tokens", "segment_ids")

    def __init__(self, embedder: Any, edges: Sequence[tuple[str, str]], **sizes: int) -> None:
        self.edges = edges
        super().__init__(embedder, **sizes)

    def make_model(self, body: Any) -> Any:
        """See `Pretraining`: the logit of an edge from the first to the second document."""
        ends = [{name: keras.Input((None,), dtype="int32", name=f"{end}_{name}") for name in body.input} for end in ("from", "to")]
        first, second = keras.layers.Dense(self.tower.output.shape[-1], name="head"), keras.layers.Dense(self.tower.output.shape[-1])
        vectors = [head(body(end)[:, 0]) for head, end in zip((first, second), ends, strict=True)]
        model = keras.Model({each.name: each for end in ends for each in end.values()}, keras.layers.Dot(axes=1)(vectors))
        model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
        return model

    def batches(self, dataset: Any, batch_size: int, seed: int) -> Any:
        """See `Pretraining`."""
        return Pairs(self, dataset, batch_size, seed)

    def accuracy(self, dataset: Any, epochs: int = 8, seed: int = 1) -> tuple[float, int]:
        """Gives the share of edges whose logit is higher than that of the pair beside them, and how many edges there were.

        Args:
          dataset: only edges between its documents are looked at.
          epochs: each edge is compared with so many strangers.
          seed: which are drawn with.
        """
        pairs = Pairs(self, dataset, 64, seed)
        steps = range(-(-len(pairs.edges) * epochs // 64))
        found = [self.model.predict_on_batch(pairs[step][0])[:, 0].reshape(2, -1) for step in steps]
        return float(np.mean([logits[0] > logits[1] for logits in found])), len(pairs.edges)


class Pairs(keras.utils.PyDataset):
    """Batches of edges and of pairs that are none, without end; see `Links`."""

    def __init__(self, links: Links, dataset: Any, batch_size: int, seed: int) -> None:
        super().__init__(workers=1)
        self._features, self._dataset, self._batch_size, self._seed = links.features, dataset, batch_size, seed
        documents = dataset.documents(np.arange(len(dataset)))
        example = {document["doc_id"]: number for number, found in enumerate(documents) for document in found}
        edges = [edge for edge in links.edges if edge[0] in example and edge[1] in example]
        self.edges = np.array([[example[end] for end in edge] for edge in edges], np.int64)  # [edges, 2]
        self._keys = np.array([keys.key(*edge) for edge in edges], np.uint64)
        self._neighbours = set(map(tuple, self.edges.tolist()))
        self.epoch = functools.lru_cache(2)(self._list_epoch)

    @property
    def num_batches(self) -> None:
        """None: it has no end."""
        return None

    def __getitem__(self, step: int) -> Any:
        sample = np.arange(step * self._batch_size, (step + 1) * self._batch_size)
        epoch, place = np.divmod(sample, len(self.edges))
        pairs = np.concatenate([self.epoch(each)[place[epoch == each]] for each in np.unique(epoch).tolist()])  # [batch, 3]
        x: dict[str, Any] = {}
        for end, examples in (("from", np.tile(pairs[:, 0], 2)), ("to", pairs[:, 1:].T.reshape(-1))):
            found = self._dataset.take(examples, [*self._features])
            x |= {f"{end}_{READ.get(name, name)}": found[name] for name in self._features}
        return x, np.repeat([1.0, 0.0], len(pairs))

    def _list_epoch(self, epoch: int) -> np.ndarray:
        """Lists the edges of an epoch in its order, each with a stranger: int64 [edges, 3] examples from, to and stranger.

        Both follow from what the edge is, not from where it stands among the others.
        """
        order = np.argsort(keys.bits(self._seed, f"edges/{epoch}", self._keys, 1)[:, 0])
        drawn = keys.below(keys.bits(self._seed, f"strangers/{epoch}", self._keys, 8), len(self._dataset))
        near = np.array(
            [
                [(first, other) in self._neighbours or other == first for other in row]
                for (first, _), row in zip(self.edges.tolist(), drawn.tolist(), strict=True)
            ]
        )
        strangers = drawn[np.arange(len(drawn)), near.argmin(axis=1)]  # one of eight is no neighbour
        return np.column_stack([self.edges, strangers])[order]
