"""`tokenreel init`: the recipes that come with the project, copied to where a user wants to run them."""

import argparse
import pathlib
import re
import shlex
from collections.abc import Mapping
from typing import Any

from tokenreel.errors import ConfigError
from tokenreel.storage import files
from tokenreel.wording import did_you_mean

_PLACES = (pathlib.Path(__file__).with_name("configs"), pathlib.Path(__file__).parents[1] / "configs")
FOLDER = next((place for place in _PLACES if place.is_dir()), _PLACES[0])
"""`configs/`, as setup.py copies it into this package, or in a clone as it stands there."""

# A command in the header of a config, in a clone: `#   tokenreel build configs/bert.yaml --input 'texts/*.jsonl' --output bert`.
_COMMAND = re.compile(r"^(#   tokenreel [a-z-]+ )configs/(\S+)(.*)$", re.MULTILINE)
_OF_A_CLONE = re.compile(r" --(?:input '[^']*'|output \S+)")


def recipes() -> dict[str, str]:
    """The text of each recipe, by its name. That of the demo is left out: its text is made by examples/demo.py, which only a clone has."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yaml")) if path.stem != "demo"}


def describe(recipe: str) -> str:
    r"""The first sentence of a recipe's header, without what stands in brackets.

    >>> describe("# BERT (Devlin et al. 2018): pairs\n# of segments. The paper\n#\noutput: bert")
    'BERT: pairs of segments'
    """
    paragraph = " ".join(line.removeprefix("#").strip() for line in recipe.partition("\n#\n")[0].splitlines())
    return re.sub(r" ?\([^)]*\)", "", paragraph).partition(". ")[0].removesuffix(".")


def copies(name: str, directory: str) -> dict[str, str]:
    """Gives the config of a recipe and that of its tokenizer, if it has one, by the paths to write them to.

    The settings are those of `configs/`, whose paths begin in their own folders; the commands in the headers name the copies.

    Raises:
      ConfigError: there is no such recipe.
    """
    known = recipes()
    if name not in known:
        hint = did_you_mean(name, known, f"there are {', '.join(known)}.")
        raise ConfigError(f"{name}: no such recipe; {hint} `tokenreel init` lists them.")
    found = {f"{name}.yaml": known[name]}
    model = _settings(known[name])["vocabulary"].get("path")
    if model is not None:  # tokenizers/bert/tokenizer.model is what tokenizers/bert.yaml makes
        config = f"{model.rpartition('/')[0]}.yaml"
        found = {config: (FOLDER / config).read_text(encoding="utf-8"), **found}
    return {_beside(directory, path): _COMMAND.sub(lambda match: _here(match, directory), text) for path, text in found.items()}


def _settings(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


def _here(match: re.Match[str], directory: str) -> str:
    """Writes a command of a header for the copy in a directory: what a clone has to be told, the copy's folder tells."""
    return f"{match[1]}{shlex.quote(_beside(directory, match[2]))}{_OF_A_CLONE.sub('', match[3])}"


def _beside(directory: str, path: str) -> str:
    return path if directory in ("", ".") else files.join(directory, path)


def write(texts: Mapping[str, str]) -> None:
    """Writes files, all of them or none.

    Raises:
      ConfigError: one is there already, or cannot be written.
    """
    there = [path for path in texts if files.size(path) is not None]
    if there:
        raise ConfigError(
            f"{', '.join(there)}: there already, and nothing is overwritten. Name another directory: tokenreel init RECIPE DIR"
        )
    for path, text in texts.items():
        try:
            files.write_bytes(path, text.encode())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror or error}). Name another directory.") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="name of a recipe; without one, the recipes are listed")
    parser.add_argument("directory", type=files.expand, nargs="?", default=".", metavar="DIR", help="where to write (.), local or gs://")


def run(arguments: argparse.Namespace) -> int:
    """Lists the recipes, or writes one and says what to do next.

    Returns:
      The exit code, 0.

    Raises:
      ConfigError: there is no such recipe, or a file is in the way.
    """
    if arguments.recipe is None:
        known = recipes()
        width = max(map(len, known))
        for name, text in known.items():
            print(f"{name:{width}}  {describe(text)}")
        print("\n`tokenreel init RECIPE DIR` writes the config of a recipe, and that of its tokenizer, into a directory.")
        return 0
    texts = copies(arguments.recipe, arguments.directory)
    write(texts)
    recipe = next(reversed(texts.values()))
    settings = _settings(recipe)
    text, output = (_beside(arguments.directory, path) for path in (settings["sources"][0]["files"][0], settings["output"]))
    print("\n".join(texts))
    print(
        f'\nText is read from {text}: a JSON object on each line, whose field "text" is a document. Other text is named by '
        "`sources` in each config, or by --input with each command. Next:\n"
    )
    print("\n".join(f"  {line.removeprefix('#').strip()}" for line in recipe.splitlines() if line.startswith("#   tokenreel ")))
    print(f"  tokenreel verify {shlex.quote(output)}\n  tokenreel inspect {shlex.quote(output)}")
    return 0
