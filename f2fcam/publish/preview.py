"""A page on this machine that shows the live picture. This side opens the port; `panel.server` serves it elsewhere."""

from __future__ import annotations

import socket

from f2fcam.errors import ConfigError, DeviceError
from f2fcam.publish.process import ProcessSink

PORT = 8321
"""Where the page is, unless another program has the port: then a free one."""


def open_preview(where: str, size: tuple[int, int], fps: float) -> ProcessSink:
    """The page on `127.0.0.1`; `where` is a port or empty."""
    if where and not (where.isdecimal() and int(where) <= 65535):
        raise ConfigError(f"{where!r} is no port number.", hint="Write --sink preview or --sink preview:8321.")
    listener = _listen(int(where)) if where else _listen(PORT, otherwise=0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with listener:
        return ProcessSink(
            "preview", url, size, fps, inherit=(listener.fileno(),), options={"listener": listener.fileno()}
        )


def _listen(port: int, *, otherwise: int | None = None) -> socket.socket:
    """A listening socket on this machine only; opened here so that the address is known at once and stays."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(16)
    except OSError as error:
        listener.close()
        if otherwise is not None:
            return _listen(otherwise)
        raise DeviceError(
            f"Port {port} for the preview page cannot be used: {error.strerror}.", hint="Use --sink preview."
        ) from error
    return listener
