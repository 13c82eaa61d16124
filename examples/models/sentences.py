"""Writes sentences of a small language whose grammar and meaning are known, as JSON lines.

    python -m examples.models.sentences demo/models/sentences.jsonl

A document is eight sentences about one subject, such as "the sharp saw bends the oily nail .": article, adjective, noun, verb, article,
adjective, noun. Each subject has words of its own. So it can be asked what a layer of a model knows of the order of words and of meaning.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import numpy as np

SUBJECTS = {
    "kitchen": ("hot fresh sweet salty", "cook soup pan spoon bread salt", "stirs tastes boils bakes"),
    "garden": ("green ripe wild tall", "rose spade apple hedge bee seed", "grows waters plants cuts"),
    "harbour": ("deep rusty grey calm", "ship anchor gull sailor rope wave", "sails lifts rows drifts"),
    "workshop": ("sharp heavy loose oily", "saw plank hammer nail bolt drill", "drives bends turns joins"),
}
DOCUMENTS, SENTENCES = 4000, 8


def sentences(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Gives sentences, and the number of the subject of each: int64 [count]."""
    random = np.random.default_rng(seed)
    subjects = random.integers(len(SUBJECTS), size=count)
    return [sentence(random, int(subject)) for subject in subjects], subjects


def sentence(random: np.random.Generator, subject: int) -> str:
    """Gives a sentence about a subject."""
    adjectives, nouns, verbs = (words.split() for words in list(SUBJECTS.values())[subject])
    first, other = (f"the {random.choice(adjectives)} {random.choice(nouns)}" for _ in range(2))
    return f"{first} {random.choice(verbs)} {other} ."


def write(path: pathlib.Path) -> None:
    """Writes the documents; the same bytes each time."""
    random = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number in range(DOCUMENTS):
            subject = number % len(SUBJECTS)
            text = " ".join(sentence(random, subject) for _ in range(SENTENCES))
            print(json.dumps({"id": f"{number}", "text": text}), file=file)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path, help="the .jsonl file to write")
    write(parser.parse_args().output)


if __name__ == "__main__":
    main()
