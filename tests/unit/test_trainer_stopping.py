"""The wish to stop waits for what can be saved, and for nothing else."""

import signal

import pytest

from trainer.errors import StoppedError
from trainer.stopping import Stopping


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_answered_and_remembered_and_the_second_interrupts(
    wish: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    stopping = Stopping()
    before = signal.getsignal(wish)
    with stopping.listening():
        signal.raise_signal(wish)
        assert stopping.signal is wish
        assert "stopping as soon as this step is done and saved" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(wish)
    assert signal.getsignal(wish) is before


def test_where_there_is_nothing_to_save_nobody_waits() -> None:
    stopping = Stopping()
    with stopping.listening():
        with pytest.raises(StoppedError, match="stopped by SIGTERM"), stopping.at_once():
            signal.raise_signal(signal.SIGTERM)
        assert stopping.signal is signal.SIGTERM
