"""Trains with Lightning.

    python -m examples.trainers.lightning_trainer demo/dataset runs/1 --workers 2
    torchrun --nproc-per-node 2 -m examples.trainers.lightning_trainer demo/dataset runs/2

It may be killed at any time; the same command goes on where the last checkpoint was.
"""

from __future__ import annotations

import argparse
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import tokenreel
from examples.trainers import common
from tokenreel.loaders.to_torch import TorchBatches


class Data(lightning.LightningDataModule):
    """The loaders of this process, and where training stands, which goes into Lightning's checkpoints."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        rows = {"hosts": common.RANKS, "host": common.RANK}
        self.dataset = tokenreel.load(options.dataset)
        held_out = tokenreel.load(options.dataset, "validation")
        # Of loaders without a length Lightning fetches a batch ahead.
        epochs = None if options.ahead else 100
        self.batches = self.dataset.batches(options.batch_size, seed=0, epochs=epochs, features=[*common.FIELDS, "cursor"], **rows)
        once = held_out.batches(options.batch_size, shuffle=False, epochs=1, features=common.FIELDS, pad_remainder=True, **rows)
        self.train_loader = TorchBatches(self.batches, num_workers=options.workers)
        self.validation_loader = TorchBatches(once, num_workers=options.workers, persistent_workers=options.workers > 0)
        self.trained: dict[str, Any] | None = None

    def train_dataloader(self) -> Any:
        return self.train_loader

    def val_dataloader(self) -> Any:
        return self.validation_loader

    def state_dict(self) -> dict[str, Any]:
        return {"loader": None if self.trained is None else self.batches.state_after(self.trained)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["loader"] is not None:
            self.batches.set_state(state["loader"])


class Module(lightning.LightningModule):
    """The model in the words of Lightning."""

    def __init__(self, options: argparse.Namespace, data: Data) -> None:
        super().__init__()
        self.options, self.data = options, data
        self.model = common.Model(data.dataset.manifest.vocabulary.vocab_size, data.dataset.manifest.seq_len)
        self.losses: list[float] = []

    def training_step(self, batch: dict[str, Any], _: int) -> Any:
        common.record(self.options.folder, "trained", self.global_step, batch)
        loss, weights = self.model(**common.of_model(batch))
        self.data.trained = batch  # its cursor is the state: Lightning may have fetched the next batch already
        return loss / weights

    def on_validation_epoch_start(self) -> None:
        self.total = torch.zeros(2, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        common.record(self.options.folder, "evaluated", self.global_step, batch)
        self.total += torch.stack(self.model(**common.of_model(batch)))

    def on_validation_epoch_end(self) -> None:
        loss, weights = self.trainer.strategy.reduce(self.total, reduce_op="sum")
        self.losses.append(float(loss / weights))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main(argv: list[str] | None = None) -> None:
    """Runs the command."""
    options = common.arguments(__doc__.splitlines()[0], argv)
    data = Data(options)
    module = Module(options, data)
    last = options.folder / "last.ckpt"
    checkpoints = ModelCheckpoint(options.folder, every_n_train_steps=options.every, save_last=True, save_top_k=0)
    trainer = lightning.Trainer(
        max_epochs=-1,
        max_steps=options.steps,
        val_check_interval=options.every,
        check_val_every_n_epoch=None,
        use_distributed_sampler=False,  # the rows of a process are chosen above
        callbacks=[checkpoints],
        accelerator="cpu",
        devices=common.RANKS,
        default_root_dir=options.folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=False)
    module.losses = []
    for _ in range(2):
        trainer.validate(module, datamodule=data, verbose=False)
    common.write_result(options.folder, module.losses)


if __name__ == "__main__":
    main()
