"""Beam pipelines: `build()` makes the graph, `run()` runs it, `main()` is the command."""
