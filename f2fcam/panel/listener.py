"""A port of this machine, for this machine only."""

from __future__ import annotations

import socket

from f2fcam.errors import DeviceError


def listen(port: int, purpose: str, *, otherwise: int | None = None) -> socket.socket:
    """A listening socket, opened before the server's process so that its address is known at once and stays."""
    listener: socket.socket | None = None
    try:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(16)
    except OSError as error:
        if listener is not None:
            listener.close()
            if otherwise is not None:
                return listen(otherwise, purpose)
        raise DeviceError(
            f"Port {port} for {purpose} cannot be used: {error.strerror}.", hint="Name another port, or none."
        ) from error
    return listener
