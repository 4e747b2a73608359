"""The engine's real threads and webcam code around a pipeline that finds no face: vivid's test pattern has none."""

from __future__ import annotations

from typing import Any

from f2fcam import engine
from f2fcam.capture import FrameSource, open_source
from f2fcam.deadline import FULL, Quality
from f2fcam.frame import Frame
from tests.fake_engine import FakeOutput, FakePipeline

SIZE, FPS = (320, 180), 15.0
"""What an emulated processor can decode."""


class Faceless(FakePipeline):
    """Looks at each picture and says `lost`; what it shows is a pattern of its own, as the target's idle frames would be."""

    _contrast = 0.0

    def track(self, frame: Frame, quality: Quality = FULL) -> int:
        self._contrast = float(frame.rgb[::4, ::4].std())
        return frame.index

    def render(self, tracked: int) -> FakeOutput:
        output = super().render(tracked)
        output.status = "lost"
        return output

    def report(self) -> dict[str, Any]:
        return {"faces": 0, "contrast": round(self._contrast, 1)}


def open_small(uri: str) -> FrameSource:
    """The source at a size for this processor."""
    return open_source(uri, SIZE, FPS)


if __name__ == "__main__":
    engine.exit_now(engine.main(lambda setup, size: Faceless(setup), open_small))
