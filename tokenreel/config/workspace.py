"""Where a job writes: below the output, under a name of its own, until its files are moved to their places.

Tested in tests/pipelines/test_fencing.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator

from tokenreel import keys
from tokenreel.config.build import JobConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.errors import BuildError
from tokenreel.format import naming
from tokenreel.format.tfrecord import crc32c
from tokenreel.launched import Launched
from tokenreel.storage import files
from tokenreel.storage.claims import Claim, Folder
from tokenreel.storage.placing import Placing

SAMPLES = "tokenizer_sample"  # the directory of sampled text, in that of stage files
_NAME = 16  # characters of a build's identity that name its directory
_OF_BUILD = re.compile(rf"{re.escape(naming.STAGE)}/[0-9a-f]{{{_NAME}}}/")


def is_of_build(name: str) -> bool:
    """Says whether a file of an output is one that a job wrote under a name of its own, until it is moved to its place."""
    return _OF_BUILD.match(name) is not None


@dataclasses.dataclass(frozen=True)
class Workspace:
    """The directories of one build, each of which it writes to for as long as the output is its own.

    Attributes:
      output: the dataset's directory.
      stage: of stage files, which are named by their content: builds share them.
      build: the identity of the build; another attempt at the same build finds what this one finished.
      claim: to the output; None for who works alone.
      launched: refuses workers whose code is another's.
    """

    output: str
    stage: str
    build: str
    claim: Claim | None = None
    launched: Launched = dataclasses.field(default_factory=Launched, repr=False)

    @classmethod
    def of(cls, config: JobConfig | TokenizerJobConfig, build: str, claim: Claim | None = None) -> Workspace:
        """Makes the workspace of a build."""
        return cls(config.output, config.execution.stage or files.join(config.output, naming.STAGE), build, claim)

    @property
    def directory(self) -> str:
        """What only this build writes to."""
        return files.join(files.join(self.output, naming.STAGE), self.build[:_NAME])

    @property
    def dataset(self) -> Folder:
        """The output itself, where files are moved to."""
        return Folder(self.output, self.claim)

    @property
    def tokens(self) -> Folder:
        """Stage files."""
        return Folder(self.stage, self.claim)

    @property
    def samples(self) -> str:
        """Text that tokenizers of this output are trained on; beside it may lie that of others, where the config names the directory."""
        return files.join(files.join(self.stage, SAMPLES), keys.digest(self.output)[:_NAME])

    @property
    def sample(self) -> Folder:
        """The text that this tokenizer is trained on."""
        return Folder(files.join(self.samples, self.build[:_NAME]), self.claim)

    @property
    def shards(self) -> Folder:
        """Shards on their way to their places, with their tables, and what is remembered of each."""
        return self._below("shards")

    @property
    def stages(self) -> Folder:
        """Stage files of a cache job, which no other job shares."""
        return self._below("stages")

    @property
    def tables(self) -> Folder:
        """The tables that the steps of a build hand each other."""
        return self._below("tables")

    @property
    def duplicates(self) -> Folder:
        """What is left out because it is elsewhere in the corpus."""
        return self._below("duplicates")

    @property
    def marks(self) -> str:
        """Notes of which blocks are being read; named by blocks, and so for builds of other settings, too."""
        return files.join(files.join(self.output, naming.STAGE), "reading")

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Tells an error in the body as what it is where another job has the output: that one may have removed what this one reads.

        Raises:
          LostOutputError: another job has the output.
        """
        try:
            yield
        except (BuildError, OSError):
            if self.claim is not None:
                self.claim.check()
            raise

    def unplaced(self, name: str, *content: str) -> str:
        """Says where a file lies until it is moved to its place.

        Args:
          name: of its place in the output.
          content: digests of all that decides its bytes, beyond the build: text may change and keep its names and sizes.
        """
        return files.join(self.shards.path, f"{name.replace('/', '-')}.{keys.digest(self.build, *content)}")

    def write(self, name: str, data: bytes, *content: str) -> Placing:
        """Writes a small file of the output where it lies until it is moved to its place; `content` as for `unplaced`.

        Raises:
          LostOutputError: another job has the output.
        """
        self.shards.ready()
        path = self.unplaced(name, *content)
        files.write_bytes(path, data)
        return Placing(path, name, len(data), crc32c(data))

    def _below(self, name: str) -> Folder:
        return Folder(files.join(self.directory, name), self.claim)
