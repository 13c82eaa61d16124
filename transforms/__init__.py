"""PTransforms, named like the module of `tokenreel` that they wrap."""
