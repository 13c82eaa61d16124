"""tokenreel: training-ready token sequences, built once, replayed for ever."""

__version__ = "0.1.0.dev0"
