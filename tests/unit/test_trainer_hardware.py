"""What a run computes with, where several processes must decide alike."""

import pytest

torch = pytest.importorskip("torch")

from trainer.distributed import World  # noqa: E402
from trainer.errors import ConfigError, OutOfMemoryError  # noqa: E402
from trainer.hardware import Hardware, agreed, choose_hardware, telling_memory  # noqa: E402
from trainer.options import resolve  # noqa: E402

pytestmark = pytest.mark.train


class Follower(World):
    """A second process, to which the first one says that mixed precision helps."""

    def from_main(self, value: object) -> object:  # type: ignore[override]
        assert value is False
        return True


def test_all_processes_take_the_precision_that_the_first_one_measured() -> None:
    measured = Hardware(torch.device("cpu"), bf16=False, compile=False)
    assert agreed(measured, Follower(1, 2, 1, 2)).bf16


@pytest.mark.parametrize("local_rank", [0, 1])
@pytest.mark.parametrize(
    ("device", "words"), [("cuda", "GPU 1 is not there; this machine has 1"), ("cuda:0", "cannot share one")]
)
def test_every_process_says_when_there_are_too_few_gpus(
    local_rank: int, device: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=words):
        choose_hardware(resolve({"synthetic": "a", "real": "b", "device": device}), local_rank, 2)


def test_a_lack_of_gpu_memory_is_told_with_a_way_out() -> None:
    with pytest.raises(OutOfMemoryError, match="lower --batch-size"), telling_memory():
        raise torch.OutOfMemoryError("CUDA out of memory")
