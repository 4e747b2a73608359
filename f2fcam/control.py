"""The control socket: one JSON line asks, one answers. `f2fcam stop`, `status`, `switch` and the preview page use it.

It lies in the user's runtime folder, which nobody else may enter; a lock beside it lets one camera run per user.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
import tempfile
from pathlib import Path

from f2fcam.channel import Channel, Message
from f2fcam.errors import ConfigError, DeviceError, F2FError, InputError, ModelError, ProfileError

log = logging.getLogger(__name__)

COMMANDS = ("status", "stop", "pause", "resume", "switch", "recalibrate", "mute", "unmute")
REPLY_TIMEOUT_S = 20.0
SWITCH_TIMEOUT_S = 1000.0
"""`switch` answers when the new profile is on the air, or could not be loaded: no sooner than all tries (`Limits`) are over."""
STOP_TIMEOUT_S = 60.0
"""From the answer to `stop` until the camera hangs up: it finishes a recording, and gives up what hangs, one after the other."""


def runtime_folder() -> Path:
    """The folder for the socket, the lock and the children's logs; made if it is not there, only ours."""
    base = os.environ.get("F2FCAM_RUNTIME_DIR") or os.environ.get("XDG_RUNTIME_DIR")
    if os.environ.get("F2FCAM_RUNTIME_DIR"):
        folder = Path(str(base))
    elif base:
        folder = Path(base) / "f2fcam"
    else:
        folder = Path(tempfile.gettempdir()) / f"f2fcam-run-{os.getuid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat(follow_symlinks=False)
    except OSError as error:
        raise F2FError(
            f"The runtime folder {folder} cannot be made: {error.strerror}.",
            hint="Set XDG_RUNTIME_DIR to a folder of yours that can be written.",
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise F2FError(
            f"The runtime folder {folder} belongs to somebody else or others can write there.",
            hint="Set XDG_RUNTIME_DIR to a folder that is yours alone.",
        )
    return folder


def socket_path() -> Path:
    """Where the running camera listens."""
    return runtime_folder() / "control.sock"


def lock_path() -> Path:
    """What the running camera holds a lock on; its process number stands in it."""
    return runtime_folder() / "lock"


class CameraRuns(F2FError):
    """There is a camera already."""


class ControlServer:
    """The listening side, for one `select` loop: never blocks. Holds the lock of the one running camera."""

    def __init__(self) -> None:
        self._lock, self._told = _take_lock(lock_path()), ""
        try:
            self._listen()
        except F2FError:
            os.close(self._lock)
            raise
        self._spare = _spare()

    def _listen(self) -> None:
        path, listener = socket_path(), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)  # ours: we hold the lock
            listener.bind(str(path))
            listener.listen(8)
            self.path, self._mark = path, path.stat().st_ino
        except OSError as error:
            listener.close()
            raise F2FError(
                f"The control socket {path} cannot be made: {error}.",
                hint="Set XDG_RUNTIME_DIR to a folder of yours with a short path.",
            ) from error
        listener.setblocking(False)
        self._listener = listener

    def keep_place(self) -> None:
        """Make the socket and the lock anew where they are gone; now and then: a logout or a cleaner may remove their folder.

        `CameraRuns` where another camera has begun since: there can be one only.
        """
        try:
            if _inode(lock_path()) != os.fstat(self._lock).st_ino:
                lock = _take_lock(lock_path())
                os.close(self._lock)
                self._lock = lock
            if _inode(socket_path()) != self._mark:
                old = self._listener
                self._listen()
                old.close()
                log.warning("The control socket was gone and has been made anew: %s", self.path)
        except CameraRuns:
            raise
        except F2FError as error:
            if error.message != self._told:
                log.warning("%s %s", error.message, error.hint)
            self._told = error.message

    def fileno(self) -> int:
        """Readable when somebody connects."""
        return self._listener.fileno()

    def accept(self) -> Channel | None:
        """The next connection; None where it has gone, or there is no descriptor left for it: then it is hung up on."""
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._hang_up()
            return None
        connection.setblocking(False)
        return Channel(connection)

    def _hang_up(self) -> None:
        """End the next connection by the spare descriptor: one that stays would wake the loop again and again."""
        if self._spare is not None:
            os.close(self._spare)
        with contextlib.suppress(OSError):
            self._listener.accept()[0].close()
        self._spare = _spare()

    def close(self) -> None:
        """Remove the socket and let another camera start."""
        self._listener.close()
        if _inode(self.path) == self._mark:  # or it is another camera's
            self.path.unlink(missing_ok=True)
        if self._spare is not None:
            os.close(self._spare)
        os.close(self._lock)


def request(command: str, **arguments: str) -> Message:
    """Send one command to the running camera and return its answer.

    Raises the error that the camera answered with, and `F2FError` when none runs.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SWITCH_TIMEOUT_S if command == "switch" else REPLY_TIMEOUT_S)
        try:
            if not socket_path().exists():  # not even where the path would be too long for one
                raise FileNotFoundError(socket_path())
            connection.connect(str(socket_path()))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise F2FError("No camera is running.", hint="Start one with `f2fcam start --profile NAME`.") from error
        except OSError as error:
            raise F2FError(f"The camera cannot be asked: {error}.", hint=_end_by_force()) from error
        channel = Channel(connection)
        channel.send({"command": command, **arguments})
        try:
            answer = next(channel.messages(), None)
        except TimeoutError as error:
            raise F2FError("The camera does not answer.", hint=_end_by_force()) from error
        if answer is None:
            raise F2FError("The camera did not answer.", hint="Look at `f2fcam status`, or stop it and start again.")
        if command == "stop":
            connection.settimeout(STOP_TIMEOUT_S)
            try:
                for _ in channel.messages():  # until it is gone
                    pass
            except TimeoutError as error:
                raise F2FError("The camera has not ended yet.", hint=_end_by_force()) from error
    if "error" in answer:
        raise error_from(answer)
    return answer


def error_message(error: F2FError) -> Message:
    """An error as a message."""
    return {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}


def error_from(message: Message) -> F2FError:
    """The error of such a message, of the class that its exit code stands for."""
    kinds = {kind.exit_code: kind for kind in (ModelError, ConfigError, DeviceError, ProfileError, InputError)}
    kind = kinds.get(message.get("exit_code", 1), F2FError)
    return kind(str(message["error"]), hint=str(message.get("hint", "")))


def _spare() -> int | None:
    """A descriptor to give up when there is no other; None where there is none at all, which must not end the camera."""
    with contextlib.suppress(OSError):
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _take_lock(path: Path) -> int:
    """The lock, held by this process; `CameraRuns` where another one has it."""
    lock = -1
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    except OSError as error:
        if lock >= 0:
            os.close(lock)
        if isinstance(error, BlockingIOError):
            raise CameraRuns(
                f"A camera is running already (process {_holder()}).",
                hint="Stop it with `f2fcam stop`, then start again.",
            ) from error
        raise F2FError(
            f"The lock {path} cannot be taken: {error.strerror}.",
            hint="Set XDG_RUNTIME_DIR to a folder of yours on a disk of this machine.",
        ) from error
    return lock


def _holder() -> str:
    """The process number of the camera that has the lock."""
    with contextlib.suppress(OSError, F2FError):
        return lock_path().read_text(encoding="ascii").strip() or "?"
    return "?"


def _end_by_force() -> str:
    return f"Try again; if it hangs, end it with `kill -9 {_holder()}`."
