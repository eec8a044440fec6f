"""The choice of the device: what is asked for is taken or refused, never silently replaced."""

import os

import pytest

from app.errors import DeviceUnavailable
from app.refining.devices import CPU, CUDA, available_cores, choose_provider


def _has_gpu() -> bool:
    return choose_provider("auto").name == CUDA


def test_cpu_is_taken_when_asked_for():
    choice = choose_provider("cpu")
    assert (choice.name, choice.providers, choice.required) == (CPU, [CPU], True)


def test_auto_says_why_it_takes_the_processor():
    if _has_gpu():
        pytest.skip("this machine has a GPU")
    choice = choose_provider("auto")
    assert choice.name == CPU
    assert "CUDA" in choice.reason


def test_cuda_is_refused_where_there_is_none():
    if _has_gpu():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceUnavailable, match=r"^The device is set to cuda, but .*CUDA.*\.$"):
        choose_provider("cuda")


@pytest.mark.gpu
def test_cuda_is_taken_where_there_is_one():
    if not _has_gpu():
        pytest.skip("this machine has no GPU")
    assert choose_provider("cuda").providers[0][0] == CUDA


def test_looking_for_a_gpu_prints_nothing(capfd):
    choose_provider("auto")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "most"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("strange", None)]
)
def test_the_quota_of_a_container_bounds_the_cores(tmp_path, text, most):
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert available_cores(quota) == (most or len(os.sched_getaffinity(0)))


def test_without_a_quota_all_cores_of_the_process_count(tmp_path):
    assert available_cores(tmp_path / "missing") == len(os.sched_getaffinity(0))
