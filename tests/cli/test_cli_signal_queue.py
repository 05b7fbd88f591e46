import os
import signal

from sscsi.cli import signal_queue
from sscsi.cli.signal_queue import SignalQueue
from sscsi.cli.supervisord_options import Options
from tests.support.forked import in_child


def test_signals_come_out_as_they_came_in_and_each_once() -> None:
    signals = SignalQueue()
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signals.receive(number, None)
    assert [signals.get_signal() for _ in range(4)] == [signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, None]
    assert not signals


def test_a_stop_is_found_behind_other_signals_and_nothing_waits_any_more() -> None:
    signals = SignalQueue()
    for number in (signal.SIGCHLD, signal.SIGINT):
        signals.receive(number, None)
    assert signals.take_stop()
    assert not signals
    signals.receive(signal.SIGCHLD, None)
    assert not signals.take_stop()


def test_what_comes_to_one_life_of_supervisord_is_there_for_the_next() -> None:
    signals = SignalQueue()
    Options(signals).signal_receiver.receive(signal.SIGTERM, None)
    assert Options(signals).get_signal() == signal.SIGTERM


def test_what_comes_before_there_is_a_handler_waits_for_it() -> None:
    def ask_early() -> str:
        signals = SignalQueue()
        signal_queue.hold()
        for number in numbers:
            os.kill(os.getpid(), number)
        for number in numbers:
            signal.signal(number, signals.receive)
        signal_queue.release()
        return str(sorted(filter(None, (signals.get_signal() for _ in range(len(numbers) + 1)))))

    numbers = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR2, signal.SIGTERM]
    assert in_child(ask_early) == str([int(number) for number in numbers])
