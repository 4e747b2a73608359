"""JSON messages, one a line, over a local socket; and the child processes at its other end. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from f2fcam.errors import F2FError

Message = dict[str, Any]

LINE_LIMIT = LOG_LIMIT = 1 << 20
ASK_EVERY_S = 0.01
"""How often a forked process is asked whether it has ended, while somebody waits for it."""
KILLED_S = 1.0
"""A killed process has ended by then, unless it is deep in the kernel, in a driver that does not answer; it is not waited for."""
CHANNEL_VARIABLE = "F2FCAM_CHANNEL"
ENVIRONMENT = {
    # One thread per library (FACTS): spinning pools on few cores cost more than they bring.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc: what a set-up or the actor's learning takes goes back to the system, instead of staying in a pool per thread.
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
}
"""What a process of ours starts with, unless the user has chosen otherwise."""


class Channel:
    """One end of a stream socket that carries messages.

    Attributes:
        ended: the other side is gone.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._rest = b""
        self._sending = threading.Lock()
        self.ended = False

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send one message; a vanished reader is seen as `ended`, a reader that does not read loses messages."""
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._sending:
            try:
                self._socket.sendall(data)
            except (BrokenPipeError, ConnectionResetError, OSError):
                self.ended = True

    def receive(self) -> list[Message]:
        """The messages that have come; waits for the first bytes if the socket blocks, `TimeoutError` where it has a limit."""
        try:
            data = self._socket.recv(65536)
        except (BlockingIOError, InterruptedError):
            return []
        except TimeoutError:
            raise
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_LIMIT:
            self.ended = True
        return [message for message in map(_parse, lines) if message is not None]

    def messages(self) -> Iterator[Message]:
        """Every message until the other side is gone; for a blocking socket."""
        while not self.ended:
            yield from self.receive()

    def close(self) -> None:
        """Close this end."""
        self.ended = True
        self._socket.close()


def _parse(line: bytes) -> Message | None:
    with contextlib.suppress(ValueError):
        message = json.loads(line)
        if isinstance(message, dict):
            return message
    return None


_unreaped: list[subprocess.Popen[bytes]] = []


def reap() -> None:
    """Take note of killed processes that have ended since: no zombie stays."""
    _unreaped[:] = [process for process in _unreaped if process.poll() is None]


class Child:
    """A process of ours with a channel to it, in a session of its own so that Ctrl-C reaches us alone.

    `setup` is its last argument, as JSON; `inherit` are the descriptors that it mentions. `F2FError` where the system is
    out of memory, processes or descriptors.

    Attributes:
        channel: our end, not blocking.
        log: what it wrote to standard output and error.
    """

    def __init__(self, command: list[str], setup: Message, inherit: tuple[int, ...], log: Path) -> None:
        self.log = log
        environment = os.environ | {
            **{name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()},
            "PYTHONFAULTHANDLER": "1",
        }
        with contextlib.ExitStack() as on_failure:
            try:
                ours, theirs = socket.socketpair()
                on_failure.callback(ours.close)
                with theirs, _opened(log) as output:
                    self._process = subprocess.Popen(
                        [*command, json.dumps(setup)],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        pass_fds=(theirs.fileno(), *inherit),
                        start_new_session=True,
                        env=environment | {CHANNEL_VARIABLE: str(theirs.fileno())},
                    )
            except OSError as error:
                raise F2FError(
                    f"A process of the camera cannot be started: {error.strerror}.",
                    hint="Close other programs: the machine is out of memory, processes or open files.",
                ) from error
            on_failure.pop_all()
        ours.setblocking(False)
        self.channel = Channel(ours)

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def ended(self) -> str | None:
        """Why it ended, in words; None while it runs."""
        return _end_in_words(self._process.poll())

    def succeeded(self) -> bool:
        """Whether it ended by itself and with success."""
        return self._process.poll() == 0

    def let_go(self) -> None:
        """Leave it running, on its own."""
        self._process.returncode = 0  # or Popen complains that nobody waited

    def kill(self, *, stacks: bool = True) -> None:
        """End it at once; with `stacks` a hung Python process leaves its threads' stacks in the log."""
        if stacks and self._process.poll() is None:
            self._process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)
        if self._process.poll() is None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILLED_S)
        if self._process.poll() is None:
            _unreaped.append(self._process)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False after `timeout_s`."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self, *, stacks: bool = True) -> None:
        """Make sure that it has ended and close the channel."""
        self.kill(stacks=stacks)
        self.channel.close()


class Forked:
    """A process that goes on from here with `main` and with all that is loaded: memory is shared until one of both writes to it.

    Linux only, and before any other thread runs. Of the descriptors it keeps `inherit` and the standard ones, of which two
    go to the file `log`. It dies with this process. Its methods are those of `Child`.
    """

    def __init__(self, main: Callable[[], int], inherit: tuple[int, ...], log: Path) -> None:
        from multiprocessing import get_context

        with _opened(log) as output:
            kept = (0, 1, 2, *inherit)
            self._process = get_context("fork").Process(
                target=_go_on, args=(main, output.fileno(), kept), name=log.stem, daemon=True
            )
            self._process.start()

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid or 0

    def ended(self) -> str | None:
        """Why it ended, in words; None while it runs."""
        return _end_in_words(self._process.exitcode)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False after `timeout_s`.

        Asked again and again: the pipe on which `join` waits is closed in the forked process, as all of its parent's are.
        """
        deadline = time.monotonic() + timeout_s
        while self._process.exitcode is None and time.monotonic() < deadline:
            time.sleep(min(ASK_EVERY_S, max(deadline - time.monotonic(), 0)))
        return self._process.exitcode is not None

    def close(self, *, stacks: bool = True) -> None:
        """Make sure that it has ended."""
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()


def _go_on(main: Callable[[], int], output: int, kept: tuple[int, ...]) -> None:
    """The forked process: a session of its own, as `Child` has it, and nothing of its parent's channels."""
    die_with_parent()
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    for standard in (1, 2):
        os.dup2(output, standard)
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        if descriptor not in kept:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.close(descriptor)
    sys.exit(main())


def _opened(log: Path) -> BinaryIO:
    """A child's log, to be added to; begun anew when it has become large. A full disk costs the log, not the child."""
    try:
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".1.log"))
        return log.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


def _end_in_words(code: int | None) -> str | None:
    """Of an exit code; None while there is none."""
    if code is None:
        return None
    return f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"


def from_parent() -> tuple[Channel, Message]:
    """The channel and the setup of a process that `Child` started; Ctrl-C is its parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return Channel(socket.socket(fileno=int(os.environ[CHANNEL_VARIABLE]))), json.loads(sys.argv[-1])


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies, however hung it is; elsewhere the channel's end has to do."""
    if sys.platform.startswith("linux"):
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
