"""PTransforms, named like the module of `tokenreel` that they wrap."""

from transforms.workers.orphans import end_with_build

end_with_build()  # here, because a worker imports this package before anything else of ours, whatever it runs
