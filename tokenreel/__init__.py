"""tokenreel: training-ready token sequences, built once, replayed for ever.

>>> import tokenreel
>>> dataset = tokenreel.load("dataset")  # doctest: +SKIP
>>> for batch in dataset.batches(64, seed=0):  # doctest: +SKIP
...     train(batch["tokens"])
"""

from tokenreel.loaders import Batches, Dataset, Lanes, Mixture, load
from tokenreel.version import __version__ as __version__

__all__ = ["Batches", "Dataset", "Lanes", "Mixture", "load"]
