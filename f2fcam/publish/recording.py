"""A video file as a sink. This side checks the path; `publish.video_sink` encodes in another process."""

from __future__ import annotations

import os
from pathlib import Path

from f2fcam.errors import ConfigError, F2FError
from f2fcam.publish.partial import keep_partial
from f2fcam.publish.process import ProcessSink


def open_recording(path: str, size: tuple[int, int], fps: float) -> ProcessSink:
    """Record what the camera shows into `path`, at a constant `fps`."""
    file = Path(path).absolute()
    if not file.parent.is_dir():
        raise ConfigError(f"The folder {file.parent} does not exist.", hint="Make it, or choose another --sink.")
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ConfigError(f"{file} cannot be written.", hint="Choose another --sink.")
    return Recording(file, size, fps)


class Recording(ProcessSink):
    """What was recorded stays, even where the encoder is killed."""

    def __init__(self, file: Path, size: tuple[int, int], fps: float) -> None:
        self._file = file
        super().__init__("recording", str(file), size, fps, options={"path": str(file)}, keeps_time=True)

    def close(self) -> None:
        """Let the encoder finish; raises what went wrong while it did."""
        try:
            super().close()
        except F2FError:
            keep_partial(self._file)
            raise
