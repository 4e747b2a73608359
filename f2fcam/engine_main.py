"""The engine's process from its first moment: `python -m f2fcam.engine_main`, as the supervisor runs it.

What both sides need is loaded, the tracker is forked, and each goes on with its own part. Until then nothing is collected:
modules make no garbage to speak of, and looking for it takes a quarter of the time that they take to load.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from f2fcam.errors import DeviceError, F2FError
from f2fcam.logs import log_folder
from f2fcam.memory import go_first

T = TypeVar("T")


def main() -> None:
    """Serve the supervisor; does not return."""
    gc.disable()
    go_first()
    missing = _unless_refused(lambda: require_webcam(str(json.loads(sys.argv[-1])["source"])))
    if missing is not None:
        sys.exit(_told(missing))
    from f2fcam.source_process import start_tracker

    tracker = _unless_refused(lambda: start_tracker(log_folder() / "tracker.log"))

    from f2fcam import engine
    from f2fcam.capture import open_source
    from f2fcam.live import open_pipeline

    gc.freeze()
    gc.enable()

    def pipeline(setup: engine.EngineSetup, size: tuple[int, int]) -> engine.Pipeline:
        if isinstance(tracker, F2FError):
            raise tracker
        return open_pipeline(setup.profile, setup.profiles, setup.source, size, tracker)

    engine.exit_now(engine.main(pipeline, open_source))


def require_webcam(source: str) -> None:
    """`DeviceError` where a webcam is no device at all: it may be missing for days, and loading takes seconds of a core."""
    kind, _, where = source.partition(":")
    if kind != "webcam" or not (where.isdecimal() or where.startswith("/")) or sys.platform != "linux":
        return
    path = Path(f"/dev/video{int(where)}" if where.isdecimal() else where)
    if not path.exists():
        raise DeviceError(
            f"The webcam {path} is not there.", hint="Plug it in, or see `f2fcam doctor` for those that are."
        )


def _told(error: F2FError) -> int:
    from f2fcam.channel import from_parent
    from f2fcam.control import error_message

    channel, _ = from_parent()
    channel.send(error_message(error))
    return error.exit_code


def _unless_refused(start: Callable[[], T]) -> T | F2FError:
    """What comes of `start`, or why not: the supervisor is told once it listens, which is later."""
    try:
        return start()
    except F2FError as error:
        return error


if __name__ == "__main__":
    main()
