import numpy as np
import pytest

from tokenreel.tasks.providers import ShardInfo
from tokenreel.tasks.tfds_source import TfdsDataSource, TfdsSplit


def test_names_have_versions():
    with pytest.raises(ValueError, match="TFDS name must contain a version number, got: mnist"):
        TfdsDataSource("mnist")
    with pytest.raises(ValueError, match="must contain a version"):
        TfdsSplit("mnist", "train")
    with pytest.raises(ValueError, match="must be `None`"):
        TfdsDataSource("mnist:3.0.1", splits={"train": TfdsSplit("mnist:3.0.1", "train")})


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A data set of 20 examples in two files of its own, as `download_and_prepare` leaves it."""
    import tensorflow_datasets as tfds

    class Counting(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"n": np.int64, "text": tfds.features.Text()}))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            return ((number, {"n": number, "text": f"number {number}"}) for number in range(20))

    directory = str(tmp_path_factory.mktemp("tfds"))
    Counting(data_dir=directory).download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=2))
    return directory


@pytest.mark.tensorflow
def test_slices_of_a_data_set_that_was_prepared(directory):
    source = TfdsDataSource("counting:1.0.0", directory, splits={"train": "train[:90%]", "validation": "train[90%:]"})
    rows = {split: [int(row["n"]) for row in source.get_dataset(split, shuffle=False).as_numpy_iterator()] for split in source.splits}
    assert {split: len(numbers) for split, numbers in rows.items()} == {"train": 18, "validation": 2}
    assert sorted(rows["train"] + rows["validation"]) == list(range(20))
    assert source.num_input_examples("train") == 18 and source.num_input_examples("validation") == 2
    assert len(source.list_shards("train")) == 2 and len(source.list_shards("validation")) == 1
    whole = TfdsDataSource("counting:1.0.0", directory, read_only=True)
    assert tuple(whole.splits) == ("train",) and next(whole.get_dataset("train", seed=1).as_numpy_iterator())["text"].startswith(b"number")
    shards = [[int(row["n"]) for row in whole.get_dataset("train", False, shard_info=ShardInfo(i, 2)).as_numpy_iterator()] for i in (0, 1)]
    assert sorted(shards[0] + shards[1]) == list(range(20)) and all(shards)


@pytest.mark.tensorflow
def test_splits_of_several_data_sets_and_a_directory(directory):
    split = TfdsSplit("counting:1.0.0", "train[:3]", directory)
    source = TfdsDataSource(splits={"test": split})
    assert len(list(source.get_dataset("test"))) == 3 == source.num_input_examples("test")
    of_directory = TfdsDataSource(tfds_data_dir=f"{directory}/counting/1.0.0")
    assert len(list(of_directory.get_dataset("train"))) == 20
