"""Beam pipelines: `build()` makes the graph, `run()` runs it, `main()` is the command."""

from pipelines import own_packages

own_packages.prefer()  # before a module of this package imports the others

from transforms.workers import quiet  # noqa: E402

quiet.drop_import_warning()  # here, because the modules of this package import Beam
