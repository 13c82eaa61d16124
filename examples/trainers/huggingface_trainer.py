"""Trains with the Trainer of Hugging Face transformers.

    python -m examples.trainers.huggingface_trainer demo/dataset runs/1 --workers 2
    torchrun --nproc-per-node 2 -m examples.trainers.huggingface_trainer demo/dataset runs/2

It may be killed at any time; the same command goes on where the last checkpoint was.
"""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

import transformers

import tokenreel
from examples.trainers import common
from tokenreel.loaders.to_torch import TorchBatches


class Trainer(transformers.Trainer):
    """A Trainer whose loaders are those of a run, each with the rows of its process."""

    def __init__(self, options: argparse.Namespace, **settings: Any) -> None:
        self.options = options
        train = tokenreel.load(options.dataset)
        validation = tokenreel.load(options.dataset, "validation")
        model = common.Model(train.manifest.vocabulary.vocab_size, train.manifest.seq_len)
        super().__init__(model, transformers.TrainingArguments(**settings), train_dataset=train, eval_dataset=validation)
        rows = {"hosts": self.args.world_size, "host": self.args.process_index}
        self.batches = train.batches(options.batch_size, seed=0, features=[*common.FIELDS, "cursor"], **rows)
        once = validation.batches(options.batch_size, shuffle=False, epochs=1, features=common.FIELDS, pad_remainder=True, **rows)
        self.loader = TorchBatches(self.batches, num_workers=options.workers)
        self.held_out = TorchBatches(once, num_workers=options.workers, persistent_workers=options.workers > 0)
        self.add_callback(SaveLoader(self))

    def get_train_dataloader(self) -> Any:
        return self.loader

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        return self.held_out

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
        common.record(self.options.folder, "trained", self.state.global_step, inputs)
        self.cursor = inputs["cursor"]
        return super().training_step(model, common.of_model(inputs), *rest)

    def compute_loss(self, model: Any, inputs: dict[str, Any], **_: Any) -> Any:
        loss, weights = model(**inputs)
        return loss / weights

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Divides sums once, where Trainer averages the means of batches."""
        loss = common.evaluate(self.model, self.get_eval_dataloader(), self.options.folder, self.state.global_step)
        self.log({"eval_loss": loss})
        return {"eval_loss": loss}


class SaveLoader(transformers.TrainerCallback):
    """Adds to each checkpoint where the run stands behind the batch that was trained on last."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        checkpoint = pathlib.Path(args.output_dir) / f"checkpoint-{state.global_step}"
        common.finish(checkpoint, self.trainer.batches.state_after(self.trainer.cursor))


def main(argv: list[str] | None = None) -> None:
    """Runs the command."""
    options = common.arguments(__doc__.splitlines()[0], argv)
    trainer = Trainer(
        options,
        output_dir=str(options.folder),
        max_steps=options.steps,
        learning_rate=1e-3,
        gradient_accumulation_steps=2 if options.ahead else 1,  # as many batches are fetched at once
        ignore_data_skip=True,  # the state says where to go on
        save_steps=options.every,
        eval_strategy="steps",
        eval_steps=options.every,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    checkpoint = None
    if found := common.newest(options.folder):
        checkpoint, _, state = found
        trainer.batches.set_state(state)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    common.write_result(options.folder, [trainer.evaluate()["eval_loss"] for _ in range(2)])


if __name__ == "__main__":
    main()
