"""Trains in a loop of one's own, in one process or in several.

    python -m examples.trainers.torch_loop demo/dataset runs/1 --workers 2
    torchrun --nproc-per-node 2 -m examples.trainers.torch_loop demo/dataset runs/2

It may be killed at any time; the same command goes on where the last checkpoint was.
"""

from __future__ import annotations

import itertools

import torch

import tokenreel
from examples.trainers import common
from tokenreel.loaders.to_torch import TorchBatches


def main(argv: list[str] | None = None) -> None:
    """Runs the command."""
    options = common.arguments(__doc__.splitlines()[0], argv)
    if common.RANKS > 1:
        torch.distributed.init_process_group("gloo")
    train = tokenreel.load(options.dataset)
    validation = tokenreel.load(options.dataset, "validation")
    model = common.Model(train.manifest.vocabulary.vocab_size, train.manifest.seq_len)
    trained = torch.nn.parallel.DistributedDataParallel(model) if common.RANKS > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    # On each process: the rows of this process, for ever, and a field that says where the run stands behind each batch.
    rows = {"hosts": common.RANKS, "host": common.RANK}
    batches = train.batches(options.batch_size, seed=0, features=[*common.FIELDS, "cursor"], **rows)
    loader = TorchBatches(batches, num_workers=options.workers)
    # One pass each time; all processes get equally many batches, the last filled up with rows that weigh nothing.
    once = validation.batches(options.batch_size, shuffle=False, epochs=1, features=common.FIELDS, pad_remainder=True, **rows)
    held_out = TorchBatches(once, num_workers=options.workers, persistent_workers=options.workers > 0)

    done = 0
    if checkpoint := common.load(options.folder):
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        batches.set_state(checkpoint["loader"])
        done = checkpoint["step"]

    fetched = common.one_ahead(loader) if options.ahead else loader
    for step, batch in enumerate(itertools.islice(fetched, options.steps - done), done):
        common.record(options.folder, "trained", step, batch)
        loss, weights = trained(**common.of_model(batch))
        (loss / weights).backward()
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % options.every == 0:
            # The state after this batch, however many batches have been fetched since.
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            common.save(options.folder, {**state, "loader": batches.state_after(batch)})
            common.evaluate(model, held_out, options.folder, step + 1)

    common.write_result(options.folder, [common.evaluate(model, held_out, options.folder, options.steps) for _ in range(2)])


if __name__ == "__main__":
    main()
