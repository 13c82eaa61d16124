from __future__ import annotations

import dataclasses
import json
import pathlib
import pickle
import random
import shutil

import numpy as np
import pytest
import tokenizers

from pipelines import cli
from tests.golden import builds
from tests.tokenreel.vocabularies.blocks import block
from tokenreel import load as load_dataset
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.fast_path import byte_letters
from tokenreel.vocabularies.loading import load_vocabulary


@pytest.fixture(scope="module")
def byte_level(texts, tmp_path_factory):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<|endoftext|>", "<|x|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts[:400], trainer)
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<|x|> $A", special_tokens=[("<|x|>", 1)])
    path = str(tmp_path_factory.mktemp("byte_level") / "tokenizer.json")
    tokenizer.save(path)
    return path


@pytest.fixture(scope="module")
def word_piece(texts, tmp_path_factory):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        texts[:400], tokenizers.trainers.WordPieceTrainer(vocab_size=500, special_tokens=names, show_progress=False)
    )
    path = str(tmp_path_factory.mktemp("word_piece") / "tokenizer.json")
    tokenizer.save(path)
    return path


def test_whole_documents_without_what_the_file_would_add(byte_level, texts):
    vocabulary = load_vocabulary("huggingface", byte_level)
    reference = tokenizers.Tokenizer.from_file(byte_level)
    reference.no_truncation()
    reference.no_padding()
    documents = ["", *texts[:60], "é ▁ \t日本 😀\0", " ", ""]
    expected = [reference.encode(text, add_special_tokens=False).ids for text in documents]
    assert max(map(len, expected)) > 8
    ids, lengths = vocabulary.encode_block(*block(documents))
    assert ids.dtype == np.int32
    assert [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])] == expected == [vocabulary.encode(text) for text in documents]
    assert [vocabulary.decode(part) for part in expected] == documents


def test_blocks_larger_than_a_portion(byte_level, texts, monkeypatch):
    from tokenreel.vocabularies import huggingface

    vocabulary = load_vocabulary("huggingface", byte_level)
    whole = vocabulary.encode_block(*block(texts[:100]))
    monkeypatch.setattr(huggingface, "_PORTION_BYTES", 500)
    for a, b in zip(vocabulary.encode_block(*block(texts[:100])), whole, strict=True):
        assert a.tolist() == b.tolist()
    assert [a.tolist() for a in vocabulary.encode_block(*block([]))] == [[], []]


def test_special_tokens(byte_level, word_piece):
    vocabulary = load_vocabulary("huggingface", byte_level)
    assert (vocabulary.pad_id, vocabulary.bos_id, vocabulary.eos_id, vocabulary.unk_id) == (None, None, 0, None)
    assert 1 not in vocabulary.encode("<|x|>") and vocabulary.decode(vocabulary.encode("<|x|>")) == "<|x|>"
    assert vocabulary.find("<|x|>") == 1 and vocabulary.decode([0]) == "<|endoftext|>"
    tokens = load_vocabulary("huggingface", byte_level, special_tokens=True)
    assert tokens.encode("<|x|>") == [1] and tokens.fingerprint != vocabulary.fingerprint
    assert load_vocabulary("huggingface", byte_level, special_tokens=False).fingerprint == vocabulary.fingerprint
    chosen = load_vocabulary("huggingface", byte_level, pad_id="<|x|>", bos_id=5)
    assert (chosen.pad_id, chosen.bos_id, chosen.eos_id) == (1, 5, 0)
    bert = load_vocabulary("huggingface", word_piece, eos_id="[SEP]")
    assert (bert.pad_id, bert.bos_id, bert.eos_id, bert.unk_id) == (0, None, 3, 1) and bert.find("[MASK]") == 4


NAMES = ["<|endoftext|>", "<|x|>", "<|im_end|>", "<tool>", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "</s>", "<s>", "<unk>", "<pad>"]


def hostile(texts, count=600) -> list[str]:
    """Texts that spell names of special tokens: alone, in words, cut, doubled, in other case, between every kind of space."""
    rng = random.Random(7)
    around = [
        "",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "a",
        "Z",
        "é",
        "日本",
        "\u0301",
        "\u00a0",
        "▁",
        "Ġ",
        "##",
        "<",
        "|",
        ">",
        "[",
        "]",
        "\0",
        "😀",
    ]
    pieces = [*NAMES, *(name.lower() for name in NAMES), *(name[:-1] for name in NAMES), *(name[1:] for name in NAMES)]
    pieces += [f"{one}{other}" for one in NAMES[:4] for other in NAMES[:4]]
    words = [word for text in texts[:20] for word in text.split()]
    made = ["".join(rng.choice(rng.choice((around, pieces, words))) for _ in range(rng.randrange(1, 9))) for _ in range(count)]
    return [*NAMES, *(" ".join(NAMES[i:]) for i in range(len(NAMES))), *made]


@pytest.fixture(scope="module")
def pieces_with_names(byte_level, tmp_path_factory):
    """Tokenizers whose model has the names of special tokens among its pieces, where their pre-tokenizers leave them whole."""
    folder = tmp_path_factory.mktemp("pieces")
    letters = [chr(i) for i in range(33, 127)]
    ids = {name: i for i, name in enumerate(["<pad>", "</s>", "<unk>", "▁", *letters, "in", "▁a"])}
    unigram = tokenizers.models.Unigram([(piece, 0.0 if i < 3 else -float(i)) for piece, i in ids.items()], unk_id=2)
    words = tokenizers.models.WordLevel({**ids, "a</s>": len(ids)}, unk_token="<unk>")
    parts = tokenizers.models.WordPiece({**ids, **{f"##{letter}": len(ids) + i for i, letter in enumerate(letters)}}, unk_token="<unk>")
    merges = [("<", "/"), ("</", "s"), ("</s", ">"), ("a", "</s>"), ("i", "n")]
    made = {**ids, **{"".join(merge): len(ids) + i for i, merge in enumerate(merges[:2])}, "a</s>": len(ids) + 2}
    merged = tokenizers.models.BPE(made, merges, unk_token="<unk>")
    whole = tokenizers.models.BPE(ids, [("i", "n")], unk_token="<unk>", ignore_merges=True)
    found = {}
    for name, model in {"Unigram": unigram, "WordLevel": words, "WordPiece": parts, "BPE": merged, "ignore_merges": whole}.items():
        tokenizer = tokenizers.Tokenizer(model)
        tokenizer.pre_tokenizer = (
            tokenizers.pre_tokenizers.Metaspace() if name == "Unigram" else tokenizers.pre_tokenizers.WhitespaceSplit()
        )
        tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", "<|x|>"])
        tokenizer.add_tokens(["<tool>"])
        found[name] = str(folder / f"{name}.json")
        tokenizer.save(found[name])
    return found


def split(vocabulary, documents):
    ids, lengths = vocabulary.encode_block(*block(documents))
    tokens, counts, begins, ends = vocabulary.encode_block_with_offsets(*block(documents))
    assert tokens.tolist() == ids.tolist() and counts.tolist() == lengths.tolist() and len(begins) == len(ends) == len(ids)
    found = [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]
    assert found[:50] == [vocabulary.encode(text) for text in documents[:50]]
    return found


@pytest.mark.parametrize("special_tokens", [False, True])
def test_names_in_texts_as_the_library_reads_them(byte_level, word_piece, texts, special_tokens):
    documents = hostile(texts)
    for path in (byte_level, word_piece):
        library = tokenizers.Tokenizer.from_file(path)
        library.no_truncation()
        library.no_padding()
        library.encode_special_tokens = not special_tokens
        expected = [found.ids for found in library.encode_batch(documents, add_special_tokens=False)]
        vocabulary = load_vocabulary("huggingface", path, special_tokens=special_tokens)
        found = split(vocabulary, documents)
        assert found == expected
        control = {i for i, special in vocabulary.added_tokens().items() if special} - {vocabulary.unk_id}
        assert bool(control & {i for ids in found for i in ids}) == special_tokens


@pytest.mark.parametrize("model", ["Unigram", "WordLevel", "WordPiece", "BPE", "ignore_merges"])
def test_no_text_gives_a_control_symbol(pieces_with_names, texts, model):
    """The library's own setting leaves names to the model, which finds them among its pieces."""
    documents = hostile(texts)
    vocabulary = load_vocabulary("huggingface", pieces_with_names[model])
    library = tokenizers.Tokenizer.from_file(pieces_with_names[model])
    library.encode_special_tokens = True
    expected = [found.ids for found in library.encode_batch(documents, add_special_tokens=False)]
    control = {vocabulary.find("<pad>"), vocabulary.find("</s>"), vocabulary.find("<|x|>")}
    found = split(vocabulary, documents)
    assert any(control & set(ids) for ids in expected)
    assert not any(control & set(ids) for ids in found)
    differing = [i for i, (ids, others) in enumerate(zip(found, expected, strict=True)) if ids != others]
    assert differing == [i for i, ids in enumerate(expected) if control & set(ids)]
    assert any(vocabulary.find("<tool>") in ids for ids in found)  # no special token: a text may hold it
    copy = pickle.loads(pickle.dumps(vocabulary))
    assert [copy.encode(text) for text in documents[:30]] == found[:30]
    if model in ("Unigram", "BPE"):
        shown = "".join(vocabulary.piece(i) for i in vocabulary.encode("a</s>a"))
        assert shown.lstrip("▁") == "a</s>a"


def test_a_token_that_ends_documents_is_in_no_text(byte_level, tmp_path):
    """Whatever the file says of it: `special` is false for the markers of many models."""
    tokenizer = tokenizers.Tokenizer.from_file(byte_level)
    tokenizer.add_tokens(["<|im_end|>", "<tool>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    end, tool = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<tool>")
    other = load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
    assert other.eos_id == 0 and other.encode("<|im_end|><tool>") == [end, tool]
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    vocabulary = load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
    assert vocabulary.eos_id == end and vocabulary.encode("<|im_end|><tool>")[-1] == tool
    assert end not in vocabulary.encode("<|im_end|><tool>") and vocabulary.decode(vocabulary.encode("a<|im_end|>b")) == "a<|im_end|>b"
    assert vocabulary.fingerprint != other.fingerprint
    assert load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"), special_tokens=True).encode("<|im_end|>") == [end]


def test_files_beside_that_cannot_be_read_are_named(byte_level, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(pathlib.Path(byte_level).read_bytes())
    (tmp_path / "special_tokens_map.json").mkdir()
    with pytest.raises(VocabularyError, match=r"special_tokens_map\.json: cannot be read"):
        load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))


def test_words_begin(byte_level, word_piece):
    for path, begins in ((byte_level, lambda piece: piece.startswith("Ġ")), (word_piece, lambda piece: not piece.startswith("##"))):
        vocabulary = load_vocabulary("huggingface", path)
        pieces = [vocabulary.piece(i) for i in range(vocabulary.vocab_size)]
        special = {"<|endoftext|>", "<|x|>", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
        assert vocabulary.word_starts.tolist() == [piece not in special and begins(piece) for piece in pieces]
        assert vocabulary.word_starts.any() and not vocabulary.word_starts.all()


def test_dropout_in_the_file_is_off(byte_level, texts, tmp_path):
    content = json.loads(pathlib.Path(byte_level).read_text(encoding="utf-8"))
    content["model"]["dropout"] = 0.5
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    vocabulary = load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
    assert [vocabulary.encode(text) for text in texts[:20]] == [load_vocabulary("huggingface", byte_level).encode(t) for t in texts[:20]]


def test_a_pickled_vocabulary_gives_the_same_ids(byte_level, texts):
    vocabulary = load_vocabulary("huggingface", byte_level)
    copy = pickle.loads(pickle.dumps(vocabulary))
    assert copy.fingerprint == vocabulary.fingerprint and copy.encode(texts[0]) == vocabulary.encode(texts[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eos_id": "</s>"}, "options.eos_id: the tokenizer has no token '</s>'"),
        ({"eos_id": 700}, "has no token 700"),
        ({"eos_id": True}, "has no token True"),
        ({"special_tokens": "no"}, "special_tokens must be true or false"),
        ({"extra_ids": 1}, "takes no option 'extra_ids'"),
    ],
)
def test_options_that_are_wrong(byte_level, options, message):
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary("huggingface", byte_level, **options)


def test_files_that_are_no_tokenizers(tmp_path):
    with pytest.raises(VocabularyError, match="cannot read the tokenizer"):
        load_vocabulary("huggingface", str(tmp_path / "none.json"))
    model = {"type": "BPE", "vocab": {"x": 0, "xx": 1}, "merges": [["x", "x"]], "continuing_subword_prefix": "9" * 500}
    panics = json.dumps({"version": "1.0", "added_tokens": [], "model": model})  # inside the library
    for number, content in enumerate(["", "[]", "{}", '{"model": {"type": "BPE"}}', "\x00\xff", panics]):
        (tmp_path / f"{number}.json").write_text(content)
        with pytest.raises(VocabularyError, match="not a tokenizer"):
            load_vocabulary("huggingface", str(tmp_path / f"{number}.json"))


def test_a_build_and_its_reader(write_config, tmp_path, byte_level, texts):
    vocabulary = {"kind": "huggingface", "path": byte_level, "options": {"pad_id": "<|x|>"}}
    config = write_config(vocabulary=vocabulary, packing={"mode": "best_fit", "seq_len": 128})
    assert cli.main(["build", config, "--direct_num_workers=1"]) == 0
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 0
    assert cli.main(["inspect", str(tmp_path / "dataset")]) == 0
    dataset = load_dataset(str(tmp_path / "dataset"))
    loaded = dataset.vocabulary()
    assert (tmp_path / "dataset/vocabulary.json").read_bytes() == loaded.data and loaded.pad_id == 1
    shown = [part for i in range(len(dataset)) for part in loaded.decode(dataset[i]["tokens"]).split("<|endoftext|>")]
    assert len(set(shown) & set(texts)) > 300


def test_a_build_takes_its_end_from_the_file_beside_and_keeps_it(write_config, tmp_path, byte_level, texts, corpus, capsys):
    """As with Qwen's: the usual name is an ordinary piece, and `tokenizer_config.json` names an added token."""
    body = json.loads(pathlib.Path(byte_level).read_bytes())
    body["model"]["vocab"]["</s>"] = 700
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(body))
    tokenizer.add_special_tokens(["<|im_end|>", "<|im_start|>"])
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>", "sep_token": "<|im_end|>", "pad_token": "<|x|>"}')
    lines = [json.dumps({"text": f"{text} <|im_end|></s> {text[:20]}"}) for text in texts[:200]]
    (tmp_path / "text.jsonl").write_text("\n".join(lines), encoding="utf-8")
    settings = {"sources": [{"files": [str(tmp_path / "text.jsonl")]}], "splits": {}, "packing": {"mode": "best_fit", "seq_len": 256}}
    config = write_config(vocabulary={"kind": "huggingface", "path": str(folder / "tokenizer.json")}, **settings)
    command = ["build", config, "--direct_num_workers=1"]
    assert cli.main(command) == 0
    said = "pad '<|x|>' (1), eos '<|im_end|>' (701), sep '<|im_end|>' (701); no bos, unk, mask, cls; in texts their names are text"
    assert said in capsys.readouterr().err
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 0
    dataset = load_dataset(str(tmp_path / "dataset"))
    info, loaded = dataset.manifest.vocabulary, dataset.vocabulary()
    assert dict(info.options) == {"special_tokens": False, "pad_id": 1, "eos_id": 701, "sep_id": 701}
    assert dataset.manifest.objective_facts["special_names"] == {"<|endoftext|>": 0, "<|x|>": 1, "<|im_end|>": 701, "<|im_start|>": 702}
    assert dataset.manifest.algorithms["vocabulary"] == "huggingface-2"
    assert (loaded.eos_id, loaded.pad_id, loaded.sep_id, loaded.bos_id) == (701, 1, 701, None)
    assert loaded.fingerprint == info.fingerprint and loaded.encode("<|im_end|>") == load_vocabulary("huggingface", byte_level).encode(
        "<|im_end|>"
    )
    batch = dataset.take(range(len(dataset)))
    assert (batch["tokens"] == 701).sum() == 200 == dataset.manifest.totals["documents_written"]
    beside = tmp_path / "dataset/tokenizer_config.json"
    assert beside.read_bytes() == (folder / "tokenizer_config.json").read_bytes()

    # The same build is complete; with another end it is another dataset, and nothing is mixed.
    assert cli.main(command) == 0
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_start|>", "sep_token": "<|im_end|>", "pad_token": "<|x|>"}')
    capsys.readouterr()
    assert cli.main(command) == 1
    assert "holds a finished dataset with other vocabulary." in capsys.readouterr().err
    assert load_dataset(str(tmp_path / "dataset")).vocabulary().eos_id == 701

    # What the manifest says of special ids is compared with the files.
    beside.write_text('{"eos_token": "<|im_start|>"}')
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 1
    path = tmp_path / "dataset/manifest.json"
    forged = dataclasses.replace(dataset.manifest, vocabulary=dataclasses.replace(info, options={**info.options, "sep_id": 702}))
    beside.write_text('{"eos_token": "<|im_end|>", "sep_token": "<|im_end|>", "pad_token": "<|x|>"}')
    path.write_text(forged.to_text())
    capsys.readouterr()
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 1
    assert "vocabulary.json: its sep_id is 701, the manifest's vocabulary.options say 702" in capsys.readouterr().out


def test_a_dataset_from_before_stays_what_it_was(tmp_path, capsys):
    """Names in the text were tokens then, and the usual name decided: the end is 801, where the file beside names 803 today."""
    older = builds.DATASETS / "v3.1/tokenizer_json"
    vocabulary = load_dataset(str(older)).vocabulary()
    assert (vocabulary.eos_id, vocabulary.pad_id, vocabulary.mask_id) == (801, None, None)
    assert vocabulary.encode("<|im_end|>") == [803] and vocabulary.objective_facts()["mask_id"] == 804
    assert "special_tokens" not in load_dataset(str(older)).manifest.vocabulary.options
    shutil.copytree(older, tmp_path / "dataset")
    before = {path: path.read_bytes() for path in (tmp_path / "dataset").rglob("*") if path.is_file()}
    config = builds.ROOT / "configs/gpt2.yaml"
    settings = [*builds.vocabulary("tokenizer_json"), *builds.settings("tokenizer_json")]
    command = ["build", str(config), "--input", str(builds.INPUTS / "corpus.jsonl"), "--output", str(tmp_path / "dataset")]
    for extra in ((), ("vocabulary.options.special_tokens=true", "vocabulary.options.eos_id=801")):
        overrides = [part for setting in (*settings, *extra) for part in ("--set", setting)]
        assert cli.main([*command, *overrides, "--direct_num_workers=1"]) == 1
        said = capsys.readouterr().err
        assert "holds a finished dataset with other " in said and "version" in said
    assert {path: path.read_bytes() for path in (tmp_path / "dataset").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("model", ["WordLevel", "WordPiece"])
def test_a_word_that_a_tokenizer_has_no_token_for_is_said(tmp_path, model):
    """The library raises an Exception of no class."""
    tokenizer = tokenizers.Tokenizer(getattr(tokenizers.models, model)({"some": 0, "words": 1}))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
    assert vocabulary.encode("some words") == [0, 1]
    text = np.frombuffer(b"some other words", np.uint8)
    calls = (
        lambda: vocabulary.encode("some other words"),
        lambda: vocabulary.encode_block(text, np.array([0, 16])),
        lambda: vocabulary.encode_block_with_offsets(text, np.array([0, 16])),
    )
    for call in calls:
        with pytest.raises(VocabularyError, match=r"tokenizer.json: cannot encode the text: .*UNK.* Give the tokenizer a token for what"):
            call()


def added(i, content, **settings):
    return {"id": i, "content": content, **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False), **settings}


def words(tmp_path, tokens, pieces, normalizer=None):
    """Writes a tokenizer of whole words; gives its path."""
    content = {"version": "1.0", "added_tokens": tokens, "normalizer": normalizer, "pre_tokenizer": {"type": "WhitespaceSplit"}}
    model = {"type": "WordLevel", "vocab": {"<unk>": 0, **pieces}, "unk_token": "<unk>"}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content | {"model": model}))
    return str(path)


def test_a_text_at_which_the_library_panics_is_said(tmp_path):
    """Its panics are no `Exception`; it looks for the name of a token that its normaliser leaves nothing of."""
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    vocabulary = load_vocabulary("huggingface", words(tmp_path, [added(3, "  ", normalized=True)], {"a": 1, "é": 2}, strip))
    with pytest.raises(VocabularyError, match=r"tokenizer.json: cannot encode the text: AddedVocabulary"):
        vocabulary.encode("é")


def test_special_tokens_that_have_the_id_of_a_piece_are_refused(tmp_path):
    """The library numbers them from the number of pieces on."""
    gaps = {"a": 1, "b": 4, "c": 5}
    with pytest.raises(VocabularyError, match=r"gives the special token '</s>' the id 4, which the piece 'b' has.*gaps"):
        load_vocabulary("huggingface", words(tmp_path, [added(6, "</s>", special=True)], gaps))
    path = words(tmp_path, [added(6, "x")], gaps)
    assert load_vocabulary("huggingface", path).encode("a b") == [1, 4]
    with pytest.raises(VocabularyError, match="special token 'x'"):
        load_vocabulary("huggingface", path, eos_id="x")
    assert load_vocabulary("huggingface", words(tmp_path, [added(6, "</s>", special=True)], {**gaps, "</s>": 6})).eos_id == 6


@pytest.mark.parametrize("special", [False, True])
def test_no_text_gives_a_special_token_whose_name_is_normalised(tmp_path, special):
    """`id_to_token` gives the name that it has in normalised texts, under which the file does not list it."""
    content = {
        "version": "1.0",
        "added_tokens": [added(1, "</s>", normalized=True, special=special)],
        "normalizer": {"type": "Prepend", "prepend": "▁"},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
        "model": {"type": "Unigram", "vocab": [["<unk>", 0], ["</s>", -1], ["▁", -2], ["a", -2]], "unk_id": 0},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    vocabulary = load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
    assert "eos '</s>' (1)" in vocabulary.describe_special()
    assert vocabulary.encode("a</s>") == [2, 3, 0]


def test_added_tokens_that_the_library_finds_by_chance_are_refused(tmp_path):
    lower, both = {"type": "Lowercase"}, [added(2, "Word", normalized=True), added(3, "word", normalized=True)]
    with pytest.raises(VocabularyError, match="'Word' and 'word' are the same in normalised texts"):
        load_vocabulary("huggingface", words(tmp_path, both, {"a": 1}, lower))
    path = words(tmp_path, [added(2, "Word"), added(3, "word", normalized=True)], {"a": 1}, lower)
    assert load_vocabulary("huggingface", path).encode("a WORD Word") == [1, 3, 2]
    # Of a special token that is text and another token it finds either, too; of two that are text it finds none.
    one = [added(2, "Word", normalized=True, special=True), added(3, "word", normalized=True)]
    with pytest.raises(VocabularyError, match="'Word' and 'word' are the same in normalised texts"):
        load_vocabulary("huggingface", words(tmp_path, one, {"a": 1}, lower))
    two = [added(2, "Word", normalized=True, special=True), added(3, "word", normalized=True, special=True)]
    path = words(tmp_path, two, {"a": 1}, lower)
    assert load_vocabulary("huggingface", path).encode("a WORD Word") == [1, 0, 0]
    with pytest.raises(VocabularyError, match="'Word' and 'word' are the same in normalised texts"):
        load_vocabulary("huggingface", path, special_tokens=True)


@pytest.mark.parametrize("kind", ["WordLevel", "BPE of characters", "BPE of bytes"])
def test_added_tokens_that_the_library_gives_one_id_are_found_by_it(tmp_path, kind):
    """It counts from the number of pieces on, whose ids have gaps, and tells of the last token of each id only."""
    names = [*byte_letters()] if kind == "BPE of bytes" else ["a", "▁", "b"]
    steps = {
        "WordLevel": {"type": "WhitespaceSplit"},
        "BPE of bytes": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "BPE of characters": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
    }
    ids = {name: 2 * i for i, name in enumerate(["[UNK]", *names])}
    shared = next(name for name, i in ids.items() if i == len(ids) + len(ids) % 2)  # the id that the first or the second new token gets
    model = {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"}
    if kind != "WordLevel":
        model |= {"type": "BPE", "merges": []}
    tokens = [added(ids[shared], shared, single_word=True), added(2000, "first"), added(2001, "second")]
    content = {"version": "1.0", "added_tokens": tokens, "normalizer": None, "pre_tokenizer": steps[kind], "model": model}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    vocabulary = load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
    assert f"the added token {shared!r} has the id of another" in vocabulary.describe_speed()
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = f"a {shared} {shared}b first second"
    assert vocabulary.encode_block(*block([text]))[0].tolist() == library.encode(text).ids


def test_a_tokenizer_without_tokens_is_refused(tmp_path):
    tokenizers.Tokenizer(tokenizers.models.WordLevel({}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(VocabularyError, match="the tokenizer has no token"):
        load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))


def test_an_id_beyond_all_memory_is_refused(tmp_path, byte_level):
    """Listing its words took minutes and gigabytes."""
    body = json.loads(pathlib.Path(byte_level).read_bytes())
    body["model"]["vocab"][max(body["model"]["vocab"], key=len)] = 1 << 31
    (tmp_path / "tokenizer.json").write_text(json.dumps(body))
    with pytest.raises(VocabularyError, match=r"tokenizer\.json: .* gives one the id 2,147,483,648"):
        load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
