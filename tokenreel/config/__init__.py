"""The settings of all jobs: dataclasses, their checks, and YAML.

YAML and `--set` come in, frozen settings that were checked go out, or an error that names the setting and the line. It never looks at a
source, a vocabulary or a worker.
"""

from tokenreel.config.build import JobConfig as JobConfig
from tokenreel.config.parsing import to_dict as to_dict
from tokenreel.config.reading import load as load
from tokenreel.config.reading import read as read
from tokenreel.config.tokenizer import TokenizerJobConfig as TokenizerJobConfig
