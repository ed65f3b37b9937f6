import io

from sidecar.commands.progress import Progress
from tests.fakes.clock import FakeClock


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar_that_goes_when_the_work_is_done(fake_clock: FakeClock) -> None:
    stream = Terminal()
    progress = Progress("sealing anew", stream, fake_clock.monotonic, total=1000)

    fake_clock.advance(1)
    progress.passed(250)
    progress.close()

    bar, end = stream.getvalue().split("\r\033[K")[1:]
    assert bar == "sealing anew: [#######                       ] 250 of 1,000 (25%)"
    assert end == ""


def test_a_file_has_a_plain_line_now_and_then(fake_clock: FakeClock) -> None:
    stream = io.StringIO()
    progress = Progress("sealing anew", stream, fake_clock.monotonic, total=1000)

    for _ in range(25):
        fake_clock.advance(1)
        progress.passed(10)
    progress.close()

    assert stream.getvalue().splitlines() == [
        "sealing anew: 100 of 1,000 (10%)",
        "sealing anew: 200 of 1,000 (20%)",
    ]


def test_what_is_done_at_once_says_nothing(fake_clock: FakeClock) -> None:
    for stream in (io.StringIO(), Terminal()):
        progress = Progress("looking", stream, fake_clock.monotonic)
        progress.passed(5)
        progress.close()

        assert stream.getvalue() == ""
        assert progress.done == 5


def test_more_than_was_thought_is_no_more_than_all(fake_clock: FakeClock) -> None:
    stream = io.StringIO()
    progress = Progress("sealing anew", stream, fake_clock.monotonic, total=10)

    fake_clock.advance(11)
    progress.passed(12)

    assert stream.getvalue() == "sealing anew: 12 of 10 (100%)\n"
