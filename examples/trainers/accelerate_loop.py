"""Trains with accelerate.

    python -m examples.trainers.accelerate_loop demo/dataset runs/1 --workers 2
    torchrun --nproc-per-node 2 -m examples.trainers.accelerate_loop demo/dataset runs/2

It may be killed at any time; the same command goes on where the last checkpoint was.
"""

from __future__ import annotations

import itertools

import accelerate
import torch

import tokenreel
from examples.trainers import common
from tokenreel.loaders.to_torch import TorchBatches


def main(argv: list[str] | None = None) -> None:
    """Runs the command."""
    options = common.arguments(__doc__.splitlines()[0], argv)
    accelerator = accelerate.Accelerator(cpu=True)
    train = tokenreel.load(options.dataset)
    validation = tokenreel.load(options.dataset, "validation")
    model = common.Model(train.manifest.vocabulary.vocab_size, train.manifest.seq_len)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    # Each process makes the loader of its own rows; `prepare` gives such a loader back as it is.
    rows = {"hosts": accelerator.num_processes, "host": accelerator.process_index}
    batches = train.batches(options.batch_size, seed=0, features=[*common.FIELDS, "cursor"], **rows)
    once = validation.batches(options.batch_size, shuffle=False, epochs=1, features=common.FIELDS, pad_remainder=True, **rows)
    held_out = TorchBatches(once, num_workers=options.workers, persistent_workers=options.workers > 0)
    model, optimizer, loader = accelerator.prepare(model, optimizer, TorchBatches(batches, num_workers=options.workers))

    done = 0
    if found := common.newest(options.folder):
        checkpoint, done, state = found
        accelerator.load_state(checkpoint)
        batches.set_state(state)

    fetched = common.one_ahead(loader) if options.ahead else loader
    for step, batch in enumerate(itertools.islice(fetched, options.steps - done), done):
        common.record(options.folder, "trained", step, batch)
        loss, weights = model(**accelerate.utils.send_to_device(common.of_model(batch), accelerator.device))
        accelerator.backward(loss / weights)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % options.every == 0:
            checkpoint = options.folder / f"checkpoint-{step + 1}"
            accelerator.save_state(checkpoint)  # from every process
            accelerator.wait_for_everyone()
            common.finish(checkpoint, batches.state_after(batch))
            common.evaluate(model, held_out, options.folder, step + 1)

    common.write_result(options.folder, [common.evaluate(model, held_out, options.folder, options.steps) for _ in range(2)])


if __name__ == "__main__":
    main()
