"""tokenreel: training-ready token sequences, built once, replayed for ever.

>>> import tokenreel
>>> dataset = tokenreel.load("dataset")  # doctest: +SKIP
>>> for batch in dataset.batches(64, seed=0):  # doctest: +SKIP
...     train(batch["tokens"])
"""

import sys

if sys.platform == "win32":  # before anything of ours is imported that needs what Windows lacks: locks of files, limits of descriptors
    raise ImportError(
        "tokenreel runs on Linux; macOS is untried. On Windows, install and run it in WSL 2 (https://learn.microsoft.com/windows/wsl)."
    )

from tokenreel.loaders import Batches, Dataset, Lanes, Mixture, load
from tokenreel.version import __version__ as __version__

__all__ = ["Batches", "Dataset", "Lanes", "Mixture", "load"]
