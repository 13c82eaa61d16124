"""What models of transformers are handed, against losses computed by running every document alone. The datasets are built ones."""

import itertools
import pathlib
import re

import numpy as np
import pytest

from tests.golden.builds import DATASETS
from tokenreel import load
from tokenreel.errors import ConfigError

pytestmark = pytest.mark.trainers

ROWS = 4
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 64, "initializer_range": 0.3}
EVEN = {"attention_dropout": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(scope="module")
def transformers():
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers


def golden(name):
    return load(DATASETS / "v2" / name)


def make(cls, config, attention="sdpa"):
    import torch

    torch.manual_seed(0)
    return cls._from_config(config, attn_implementation=attention).eval()


def gpt2(transformers, dataset, attention="sdpa", **changes):
    config = {"vocab_size": dataset.manifest.vocabulary.vocab_size, "n_positions": dataset.manifest.seq_len, "n_embd": 32}
    config |= {"n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1, "initializer_range": 0.3} | changes
    return make(transformers.GPT2LMHeadModel, transformers.GPT2Config(**config), attention)


def llama(transformers, dataset, attention="sdpa", **changes):
    config = SMALL | {"vocab_size": dataset.manifest.vocabulary.vocab_size, "max_position_embeddings": dataset.manifest.seq_len} | changes
    return make(transformers.LlamaForCausalLM, transformers.LlamaConfig(**config), attention)


def encoder(transformers, name, dataset, attention="sdpa", **changes):
    """A small model of a masked kind: `name` as in BertForMaskedLM."""
    config = getattr(transformers, f"{name.split('For')[0]}Config")
    sizes = SMALL | {"vocab_size": dataset.manifest.vocabulary.vocab_size, "embedding_size": 32}
    sizes["max_position_embeddings"] = dataset.manifest.seq_len + (2 if name.startswith(("Roberta", "XLM")) else 0)
    return make(getattr(transformers, name), config(**sizes | changes), attention)


def inputs_and_batch(dataset, model, rows=ROWS, objective=None, also=(), **options):
    from tokenreel.loaders.to_transformers import ModelInputs

    inputs = ModelInputs(dataset, model, objective=objective, **options)
    return inputs, next(dataset.batches(rows, shuffle=False, features=[*inputs.features, *also], objective=objective))


def pieces(dataset, rows=ROWS):
    """Lists (row, begin, end) of each part of a document in the first rows."""
    batch = next(dataset.batches(rows, shuffle=False))
    width = batch["tokens"].shape[1]
    for row in range(rows):
        end = int(batch["num_tokens"][row]) if "num_tokens" in batch else width
        starts = sorted({0, *np.flatnonzero(batch["document_starts"][row][:end]).tolist(), end})
        yield from ((row, begin, stop) for begin, stop in itertools.pairwise(starts))


def causal_loss_alone(model, dataset):
    """The mean loss of all documents of the first rows, each run as a batch of its own, and how many targets there are."""
    import torch

    tokens = torch.from_numpy(next(dataset.batches(ROWS, shuffle=False))["tokens"].astype(np.int64))
    total = count = 0
    for row, begin, end in pieces(dataset):
        if end - begin > 1:
            document = tokens[row, begin:end][None]
            logits = model(input_ids=document[:, :-1], use_cache=False).logits[0]
            total += float(torch.nn.functional.cross_entropy(logits, document[0, 1:], reduction="sum"))
            count += end - begin - 1
    return total / count, count


@pytest.mark.parametrize("name", ["gpt2", "c4", "best_fit", "fim"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("make_model", [gpt2, llama])
def test_causal_loss_is_that_of_documents_alone(transformers, make_model, attention, name):
    import torch

    dataset = golden(name)
    model = make_model(transformers, dataset, attention)
    inputs, batch = inputs_and_batch(dataset, model)
    arguments = inputs(batch)
    assert {each.dtype for each in arguments.values() if torch.is_tensor(each)} == {torch.int64}
    with torch.no_grad():
        alone, count = causal_loss_alone(model, dataset)
        assert model(**arguments).loss.item() == pytest.approx(alone, abs=1e-5)
    counted = arguments["shift_labels"] if "shift_labels" in arguments else arguments["labels"][:, 1:]
    assert int((counted != -100).sum()) == count


def test_by_hand_the_loss_is_another(transformers):
    """What the adapter is for: the labels, the cache and the mask that come to mind first are each wrong."""
    import torch

    dataset = golden("best_fit")
    model = gpt2(transformers, dataset)
    inputs, batch = inputs_and_batch(dataset, model)
    arguments = inputs(batch)
    targets = torch.from_numpy(batch["targets"].astype(np.int64))
    real = torch.from_numpy((batch["segment_ids"] > 0).astype(np.int64))
    with torch.no_grad():
        right = model(**arguments).loss.item()
        shifted_twice = model(**arguments | {"labels": targets}).loss.item()
        with_cache = model(**arguments | {"use_cache": True}).loss.item()
        with_mask = model(**arguments | {"attention_mask": real}).loss.item()
    assert all(abs(wrong - right) > 1e-3 for wrong in (shifted_twice, with_cache, with_mask))


def varlen(module, query, key, value, attention_mask, scaling, cu_seq_lens_q=None, **_):
    """What a variable-length kernel computes: attention of [1, heads, length, size] within each segment."""
    import torch

    parts = []
    for begin, end in zip(cu_seq_lens_q[:-1].tolist(), cu_seq_lens_q[1:].tolist(), strict=True):
        q, k, v = (each[:, :, begin:end] for each in (query, key, value))
        parts.append(torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=module.is_causal, scale=scaling))
    return torch.cat(parts, dim=2).transpose(1, 2), None


@pytest.mark.parametrize(("kind", "name"), [("causal", "best_fit"), ("causal", "gpt2"), ("masked", "electra")])
def test_rows_end_to_end_for_variable_length_kernels(transformers, kind, name):
    import torch

    transformers.AttentionInterface.register("varlen_reference", varlen)
    dataset = golden(name)

    def model(attention):
        return gpt2(transformers, dataset, attention) if kind == "causal" else encoder(transformers, "BertForMaskedLM", dataset, attention)

    padded, batch = inputs_and_batch(dataset, model("sdpa"))
    flat, _ = inputs_and_batch(dataset, model("varlen_reference"), isolation="lengths")
    arguments = flat(batch)
    assert arguments["input_ids"].shape == arguments["position_ids"].shape == arguments["labels"].shape
    assert arguments["input_ids"].shape == (1, ROWS * dataset.manifest.seq_len)
    lengths = arguments["cu_seq_lens_q"]
    assert lengths.dtype == torch.int32 and lengths[0] == 0 and lengths[-1] == ROWS * dataset.manifest.seq_len
    assert arguments["max_length_q"] == arguments["max_length_k"] == int(lengths.diff().max())
    with torch.no_grad():
        expected = model("sdpa")(**padded(batch)).loss.item()
        assert model("varlen_reference")(**arguments).loss.item() == pytest.approx(expected, abs=1e-5)


def masked_loss_alone(model, dataset, first=0):
    """The mean loss of the mask slots in the first rows, each document run alone."""
    import torch

    batch = next(dataset.batches(ROWS, shuffle=False))
    total = count = 0
    for row, begin, end in pieces(dataset):
        slots = [
            (int(position) - begin, int(token))
            for position, token, weight in zip(*(batch[f"mask_{what}"][row] for what in ("positions", "ids", "weights")), strict=True)
            if weight and begin <= position < end
        ]
        if slots:
            document = torch.from_numpy(batch["tokens"][row, begin:end].astype(np.int64))[None]
            logits = model(input_ids=document, position_ids=torch.arange(first, first + end - begin)[None]).logits[0]
            at, wanted = (torch.tensor(each) for each in zip(*slots, strict=True))
            total += float(torch.nn.functional.cross_entropy(logits[at], wanted, reduction="sum"))
            count += len(slots)
    return total / count


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    ("cls", "name", "first"),
    [("RobertaForMaskedLM", "roberta", 2), ("BertForMaskedLM", "spanbert", 0), ("ElectraForMaskedLM", "electra", 0)],
)
def test_masked_loss_is_that_of_documents_alone(transformers, cls, name, first, attention):
    import torch

    dataset = golden(name)
    model = encoder(transformers, cls, dataset, attention)
    inputs, batch = inputs_and_batch(dataset, model)
    with torch.no_grad():
        assert model(**inputs(batch)).loss.item() == pytest.approx(masked_loss_alone(model, dataset, first), abs=1e-5)


def test_without_isolation_a_row_is_one_text(transformers):
    import torch

    dataset = golden("roberta")
    model = encoder(transformers, "RobertaForMaskedLM", dataset)
    inputs, batch = inputs_and_batch(dataset, model, isolate=False)
    arguments = inputs(batch)
    assert inputs.isolation is None and arguments["attention_mask"].shape == arguments["input_ids"].shape
    real = arguments["attention_mask"].bool()
    assert (real.sum(dim=1).numpy() == next(dataset.batches(ROWS, shuffle=False))["num_tokens"]).all()
    assert (arguments["position_ids"][real].min(), arguments["position_ids"][~real].unique().tolist()) == (2, [1] if (~real).any() else [])
    with torch.no_grad():
        assert torch.isfinite(model(**arguments).loss)


@pytest.mark.parametrize(("cls", "name", "label"), [
    ("BertForPreTraining", "bert", "next_sentence_label"), ("AlbertForPreTraining", "albert", "sentence_order_label")
])  # fmt: skip
def test_pairs(transformers, cls, name, label):
    import torch

    dataset = golden(name)
    model = encoder(transformers, cls, dataset)
    inputs, batch = inputs_and_batch(dataset, model, also=["mask_weights"])
    arguments = inputs(batch)
    assert set(arguments) == {"input_ids", "attention_mask", "token_type_ids", "labels", label}
    assert arguments["labels"].ne(-100).sum(dim=1).tolist() == batch["mask_weights"].sum(axis=1).tolist()
    with torch.no_grad():
        out = model(**arguments)
        at = arguments["labels"] != -100
        masked = torch.nn.functional.cross_entropy(out.prediction_logits[at], arguments["labels"][at])
        head = out.seq_relationship_logits if name == "bert" else out.sop_logits
        pair = torch.nn.functional.cross_entropy(head, torch.from_numpy(batch["pair_label"].astype(np.int64)))
        assert out.loss.item() == pytest.approx((masked + pair).item(), abs=1e-5)


def test_dense_targets_of_characters(transformers):
    dataset = golden("characters")
    model = encoder(transformers, "BertForMaskedLM", dataset)
    inputs, batch = inputs_and_batch(dataset, model)
    expected = np.where(batch["target_weights"] > 0, batch["targets"].astype(np.int64), -100)
    assert (inputs(batch)["labels"].numpy() == expected).all() and (expected != -100).any()


@pytest.mark.parametrize("name", ["t5", "ul2"])
def test_encoder_decoder(transformers, name):
    import torch

    dataset = golden(name)
    sizes = {"vocab_size": dataset.manifest.vocabulary.vocab_size, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    model = make(transformers.T5ForConditionalGeneration, transformers.T5Config(**sizes, decoder_start_token_id=0), "eager")
    inputs, batch = inputs_and_batch(dataset, model)
    arguments = inputs(batch)
    assert set(arguments) == {"input_ids", "attention_mask", "labels"}
    total = count = 0
    with torch.no_grad():
        loss = model(**arguments).loss.item()
        for row in range(ROWS):  # alone, without padding
            text, wanted = (
                torch.from_numpy(batch[of][row, : batch[f"num_{of}"][row]].astype(np.int64))[None] for of in ("inputs", "targets")
            )
            total += model(input_ids=text, labels=wanted).loss.item() * wanted.shape[1]
            count += wanted.shape[1]
    assert loss == pytest.approx(total / count, abs=1e-5)


def test_masks_made_in_the_loader(transformers):
    dataset = golden("best_fit")
    objective = dataset.objective("masked_lm", mask_id=3)
    model = encoder(transformers, "BertForMaskedLM", dataset)
    inputs, batch = inputs_and_batch(dataset, model, objective=objective, also=["mask_weights"])
    assert inputs(batch)["labels"].ne(-100).sum().item() == int(batch["mask_weights"].sum()) > 0


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_prefixes_are_read_in_both_directions(transformers, attention):
    import torch

    dataset = golden("best_fit")
    objective = dataset.objective("prefix_lm")
    model = llama(transformers, dataset, attention)
    inputs, batch = inputs_and_batch(dataset, model, objective=objective)
    masks = next(dataset.batches(ROWS, shuffle=False, objective=objective))["prefix_mask"]
    total = count = 0
    with torch.no_grad():
        for row, begin, end in pieces(dataset):  # each alone, with a mask that says who reads whom
            prefix, size = int(masks[row, begin:end].sum()), end - begin
            reads = torch.ones(size, size, dtype=torch.bool).tril() | (torch.arange(size) < prefix)
            added = torch.zeros(size, size).masked_fill(~reads, torch.finfo(torch.float32).min)
            document = torch.from_numpy(batch["inputs"][row, begin:end].astype(np.int64))[None]
            mask = (reads if attention == "sdpa" else added)[None, None]
            logits = model(input_ids=document, attention_mask=mask, use_cache=False).logits[0]
            wanted = document[0, max(prefix, 1) :]
            total += (
                float(torch.nn.functional.cross_entropy(logits[max(prefix, 1) - 1 : -1], wanted, reduction="sum")) if len(wanted) else 0.0
            )
            count += len(wanted)
        assert inputs.isolation == "mask" and count > ROWS
        assert model(**inputs(batch)).loss.item() == pytest.approx(total / count, abs=1e-5)


def test_rows_of_padding_and_gradients_are_finite(transformers):
    """The last batch of an evaluation may hold rows of nothing but padding."""
    import torch

    from tokenreel.loaders.to_transformers import ModelInputs

    for name, cls in (("roberta", "RobertaForMaskedLM"), ("bert", "BertForPreTraining")):
        dataset = golden(name)
        model = encoder(transformers, cls, dataset)
        inputs = ModelInputs(dataset, model)
        batches = dataset.batches(len(dataset) - 1, shuffle=False, epochs=1, pad_remainder=True, features=inputs.features)
        *_, last = batches
        loss = model(**inputs(last)).loss
        loss.backward()
        gradients = [each.grad for each in model.parameters() if each.grad is not None]
        assert torch.isfinite(loss) and gradients and all(torch.isfinite(each).all() for each in gradients)


def test_what_is_kept_beside_and_what_is_taken(transformers):
    from tokenreel.loaders.to_transformers import ModelInputs

    dataset = golden("gpt2")
    inputs = ModelInputs(dataset, gpt2(transformers, dataset), keep=["example_id"])
    batch = next(dataset.batches(2, shuffle=False, features=[*inputs.features, "example_id"]))
    assert inputs(batch)["example_id"].tolist() == [0, 1]
    with pytest.raises(ConfigError, match=r"a batch without targets, loss_weights.*features=inputs.features"):
        inputs({"inputs": batch["inputs"]})
    with pytest.raises(ConfigError, match=r"weights must be 0 or 1.*got 0\.5"):
        inputs(batch | {"loss_weights": batch["loss_weights"] * 0.5})


def test_the_code_on_the_page_runs(transformers):
    page = (pathlib.Path(__file__).parents[3] / "docs/transformers.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?ModelInputs.*?)^```$", page, re.DOTALL | re.MULTILINE)
    dataset = golden("gpt2")
    names = {"dataset": dataset, "model": gpt2(transformers, dataset)}
    exec(compile(block, "docs/transformers.md", "exec"), names)
    assert names["batches"].state_after(names["cursor"])["cursor"] == 3 * 8


def test_refusals(transformers):
    from tokenreel.loaders.to_transformers import ModelInputs

    causal, masked, pairs = golden("best_fit"), golden("electra"), golden("t5")
    model = gpt2(transformers, causal)
    for data, change, message in (
        (masked, {}, "GPT2LMHeadModel is a causal model and the batches are those of a masked one: build with objective.name causal_lm"),
        (pairs, {"isolate": True}, "is a causal model and the batches are those of a encoder_decoder one"),
        (causal, {"kind": "seq2seq"}, "kind must be one of causal, masked, encoder_decoder"),
        (causal, {"isolation": "hope"}, "isolation must be one of positions, mask, lengths"),
    ):
        with pytest.raises(ConfigError, match=message):
            ModelInputs(data, model, **change)
    with pytest.raises(ConfigError, match=r"no model of transformers learns from document_starts, .*target_weights"):
        ModelInputs(causal, encoder(transformers, "BertForMaskedLM", causal), objective=causal.objective("next_tokens"))
    with pytest.raises(ConfigError, match=r"vocabulary has .* embeddings for 300"):
        ModelInputs(causal, gpt2(transformers, causal, vocab_size=300))
    with pytest.raises(ConfigError, match="examples hold 256 tokens, GPT2LMHeadModel has 64 positions"):
        ModelInputs(causal, gpt2(transformers, causal, n_positions=64))
    with pytest.raises(ConfigError, match="one attention_mask serves the encoder and the cross-attention"):
        sizes = {"vocab_size": 1000, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
        ModelInputs(pairs, make(transformers.T5ForConditionalGeneration, transformers.T5Config(**sizes), "eager"), isolate=True)


def test_models_that_cannot_keep_documents_apart_are_refused(transformers):
    from tokenreel.loaders.to_transformers import ModelInputs

    dataset, electra = golden("best_fit"), golden("electra")
    vocab_size = dataset.manifest.vocabulary.vocab_size
    mamba = make(
        transformers.MambaForCausalLM, transformers.MambaConfig(vocab_size=vocab_size, hidden_size=32, num_hidden_layers=1), "eager"
    )
    with pytest.raises(ConfigError, match=r"takes no position_ids|read each other"):
        ModelInputs(dataset, mamba)
    ModelInputs(dataset, mamba, isolate=False)
    with pytest.raises(ConfigError, match="lets the documents of a row read each other"):
        ModelInputs(electra, encoder(transformers, "BertForMaskedLM", electra), isolation="positions")  # an encoder looks at none

    def window(module, query, key, value, attention_mask, **_):
        raise AssertionError("never run")

    transformers.AttentionInterface.register("unknown_kernel", window)
    with pytest.raises(ConfigError, match="attn_implementation='unknown_kernel' cannot keep the documents of a row apart"):
        ModelInputs(dataset, gpt2(transformers, dataset, "unknown_kernel"))
    sizes = SMALL | {"vocab_size": electra.manifest.vocabulary.vocab_size, "pad_token_id": 0}
    modern = make(transformers.ModernBertForMaskedLM, transformers.ModernBertConfig(**sizes))
    with pytest.raises(ConfigError, match="has layers of sliding_attention"):
        ModelInputs(electra, modern)


def test_wrappers_are_looked_through(transformers):
    import torch

    from tokenreel.loaders.transformers_models import unwrap

    dataset = golden("best_fit")
    model = gpt2(transformers, dataset)
    assert unwrap(torch.compile(torch.nn.DataParallel(model))) is model
