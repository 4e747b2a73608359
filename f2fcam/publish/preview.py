"""A page on this machine that shows the live picture. This side opens the port; `panel.server` serves it elsewhere."""

from __future__ import annotations

from f2fcam.errors import ConfigError
from f2fcam.panel.listener import listen
from f2fcam.publish.process import ProcessSink

PORT = 8321
"""Where the page is, unless another program has the port: then a free one."""


def open_preview(where: str, size: tuple[int, int], fps: float) -> ProcessSink:
    """The page on `127.0.0.1`; `where` is a port or empty."""
    if where and not (where.isdecimal() and int(where) <= 65535):
        raise ConfigError(f"{where!r} is no port number.", hint="Write --sink preview or --sink preview:8321.")
    page = "the preview page"
    listener = listen(int(where), page) if where else listen(PORT, page, otherwise=0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with listener:
        return ProcessSink(
            "preview", url, size, fps, inherit=(listener.fileno(),), options={"listener": listener.fileno()}
        )
