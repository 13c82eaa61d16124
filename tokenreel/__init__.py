"""tokenreel: training-ready token sequences, built once, replayed for ever.

>>> import tokenreel
>>> dataset = tokenreel.load("dataset")  # doctest: +SKIP
>>> for batch in dataset.batches(64, seed=0):  # doctest: +SKIP
...     train(batch["tokens"])
"""

__version__ = "0.1.0.dev0"

from tokenreel.loaders import Batches, Dataset, Lanes, Mixture, load

__all__ = ["Batches", "Dataset", "Lanes", "Mixture", "load"]
