"""The actor's side in a process of its own: tracking and rendering then share no interpreter, and each has a core.

The source picture is developed in memory that both map; the parent asks for one performance and waits for the answer, which
holds none of the picture: the process that makes the output does nothing else with the actor's pixels.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import mmap
import os
import socket
import sys
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from f2fcam.channel import Child, Forked, die_with_parent, from_parent
from f2fcam.control import error_from, error_message
from f2fcam.deadline import FULL, Quality
from f2fcam.errors import F2FError
from f2fcam.face.morphable import load_face_model
from f2fcam.frame import Frame
from f2fcam.memory import give_back
from f2fcam.ring import anonymous_file
from f2fcam.source_side import Casting, SourceSide, Tracked

log = logging.getLogger(__name__)

COMMAND = [sys.executable, "-m", "f2fcam.source_process"]
CLOSE_WITHIN_S = 2.0
"""A tracker that has not ended by then is killed."""


class SourceProcess:
    """`Source` in a process that lives as long as this object; a broken one raises from `track`.

    `log_file` gets what it prints. Where the casting is not known yet, the tracker loads what does not depend on it until
    `cast`. A `fork` of this process shares what is loaded (`Forked`), else an interpreter is started by `command`.
    """

    def __init__(
        self, casting: Casting | None, log_file: Path, command: list[str] | None = None, *, fork: bool = False
    ) -> None:
        ours, theirs = socket.socketpair()
        self._memory = anonymous_file(mmap.PAGESIZE)
        self._map = mmap.mmap(self._memory, mmap.PAGESIZE)
        with theirs:
            files = (theirs.fileno(), self._memory)
            if fork:
                self._child = Forked(lambda: _work(Connection(files[0]), files[1]), files, log_file)
            else:
                setup = {"connection": files[0], "memory": files[1]}
                self._child = Child(command or COMMAND, setup, files, log_file)
        self._connection = Connection(ours.detach())
        self._report: dict[str, Any] = {"faces": 0, "confidence": 0.0, "actor": "starting"}
        self._recalibrate = False
        if casting is not None:
            self.cast(casting)

    def cast(self, casting: Casting) -> None:
        """Say who acts for whom; once, before the first picture."""
        with contextlib.suppress(OSError):  # it has ended already: `track` tells
            self._connection.send(casting)

    @property
    def pid(self) -> int:
        """The tracker's process number."""
        return self._child.pid

    def room(self, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
        """The shared memory, which grows with the largest picture; nobody may hold it then."""
        shape = (size[1], size[0], 3)
        count = math.prod(shape)
        if count > len(self._map):
            self._map.close()
            os.truncate(self._memory, count)
            self._map = mmap.mmap(self._memory, count)
        return np.frombuffer(self._map, np.uint8, count).reshape(shape)

    def track(self, frame: Frame, quality: Quality = FULL) -> Tracked:
        """The actor's performance in `frame`; F2FError as the tracker raised it, RuntimeError when it has ended."""
        room = self.room(frame.size)
        if not np.may_share_memory(room, frame.rgb):
            np.copyto(room, frame.rgb)
        del room  # or the map cannot be closed
        request = frame.rgb.shape, frame.index, frame.timestamp_ns, self._recalibrate, quality
        self._recalibrate = False
        try:
            answer = self._ask(request)
        except (EOFError, OSError, TypeError) as error:  # the last one: our end was closed while we read
            self._child.wait(CLOSE_WITHIN_S)
            raise RuntimeError(f"the tracker ended ({self._child.ended() or 'it closed its end'})") from error
        if "error" in answer:
            raise error_from(answer)
        self._report = answer["report"]
        return answer["tracked"]

    def recalibrate(self) -> None:
        """Take the actor's relaxed face anew, with the next frame."""
        self._recalibrate = True

    def report(self) -> dict[str, Any]:
        """What the tracker said with its last answer."""
        return self._report

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        if not self._child.wait(CLOSE_WITHIN_S):
            log.warning("the tracker did not end by itself")
        self._child.close(stacks=False)
        with contextlib.suppress(BufferError):  # a picture is being laid out: its view goes with its thread
            self._map.close()
        os.close(self._memory)

    def _ask(self, request: tuple) -> dict[str, Any]:
        """The answer; one that has ended may have said why before it read the request, which resets the connection."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(request)
        try:
            return self._connection.recv()
        except ConnectionResetError:
            return self._connection.recv()


def start_tracker(log_file: Path) -> SourceProcess:
    """A tracker that waits for its casting; on Linux a fork, which shares libraries, kernels and the face model with us.

    To be called before any thread runs, a library's included, and any device is open; a process with threads is not forked.
    """
    load_face_model()
    tasks = Path("/proc/self/task")
    fork = sys.platform.startswith("linux") and len(list(tasks.iterdir())) == 1
    if fork:
        give_back()
        gc.freeze()  # a later collection would write to every object, and so copy the pages that hold them
    return SourceProcess(None, log_file, fork=fork)


def main() -> int:
    """Answer one parent until it closes its end."""
    die_with_parent()
    _, values = from_parent()
    return _work(Connection(values["connection"]), int(values["memory"]))


def _work(connection: Connection, memory: int) -> int:
    """The exit code of a tracker that has answered until its parent closed its end, or has failed and told why."""
    gc.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    cv2.setNumThreads(1)
    try:
        _serve(connection, memory)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 0  # the parent is done, or gone
    except F2FError as error:
        _tell(connection, error_message(error))
        return error.exit_code
    except Exception as error:
        log.exception("the tracker failed")
        message = f"Tracking failed: {type(error).__name__}: {error}."
        _tell(connection, {"error": message, "hint": "Look into tracker.log beside engine.log.", "exit_code": 1})
        return 1
    return 0


def _serve(connection: Connection, memory: int) -> None:
    import f2fcam.learner  # noqa: F401  while there is nothing else to do
    from f2fcam.track.landmarks import MediaPipeDetector

    side = SourceSide(load_face_model(), MediaPipeDetector(), connection.recv())
    give_back()
    mapped = mmap.mmap(memory, mmap.PAGESIZE)
    try:
        while True:
            shape, index, timestamp_ns, again, quality = connection.recv()
            size = int(np.prod(shape))
            if size > len(mapped):
                mapped.close()
                mapped = mmap.mmap(memory, size)
            if again:
                side.recalibrate()
            rgb = np.frombuffer(mapped, np.uint8, size).reshape(shape)
            tracked = side.track(Frame(rgb, index, timestamp_ns), quality)
            del rgb  # or the map cannot grow
            connection.send({"tracked": _to_send(tracked), "report": side.report()})
    finally:
        side.close()


def _to_send(tracked: Tracked) -> Tracked:
    """Without the fit, which the target's side has no use for."""
    return replace(tracked, acted=replace(tracked.acted, tracked=replace(tracked.acted.tracked, fit=None)))


def _tell(connection: Connection, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        connection.send(message)


if __name__ == "__main__":
    sys.exit(main())
