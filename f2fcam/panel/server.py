"""Serves the live picture as MJPEG and the camera's state as JSON, on 127.0.0.1 only.

A page of another site can neither read the picture nor reach us under a name of its own (DNS rebinding): the `Host` header
must be this machine's, and answers are for our own origin.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import cv2
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from f2fcam import control
from f2fcam.errors import F2FError
from f2fcam.frame import rgb_from_i420

PAGE = Path(__file__).with_name("index.html")
HOSTS = ["127.0.0.1", "localhost"]
OWN_SITES = ("same-origin", "none")
"""Whence a browser says that the stream is wanted: our page, or the user's own address bar. Whoever looks wakes the webcam."""
BOUNDARY = b"f2fcam-frame"
JPEG_QUALITY = 85
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


class LivePicture:
    """The newest JPEG and those who wait for the next one. `put` may be called from any thread.

    `tell` is called with the number of viewers whenever it changes.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._jpeg = b""
        self._number = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self.viewers = 0

    def put(self, jpeg: bytes) -> None:
        """Show `jpeg` from now on."""
        self._jpeg, self._number = jpeg, self._number + 1
        self._wake()

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        self._wake()

    async def stream(self) -> AsyncIterator[bytes]:
        """The parts of a `multipart/x-mixed-replace` answer; a slow viewer misses pictures, none queues."""
        self._loop = asyncio.get_running_loop()
        self._count(1)
        shown = 0
        try:
            while not self._closed:
                changed = self._changed
                if self._number > shown:
                    shown, jpeg = self._number, self._jpeg
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                    yield b"--" + BOUNDARY + b"\r\n" + head + jpeg + b"\r\n"
                else:
                    await changed.wait()
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self.viewers += change
        self._tell(self.viewers)

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._notify)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class OwnOrigin:
    """Adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def build_app(picture: LivePicture, ask_status: Callable[[], dict[str, Any]]) -> Starlette:
    """The page, the stream and the state."""

    async def page(request: Request) -> Response:
        return FileResponse(PAGE, media_type="text/html; charset=utf-8")

    async def stream(request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "none") not in OWN_SITES:
            return Response("Only our own page may look.", status_code=403)
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"
        return StreamingResponse(picture.stream(), media_type=kind)

    async def status(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(ask_status))

    return Starlette(
        routes=[Route("/", page), Route("/stream", stream), Route("/status", status)],
        middleware=[Middleware(OwnOrigin), Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
    )


def running_status() -> dict[str, Any]:
    """What the running camera says about itself."""
    try:
        return control.request("status")
    except F2FError as error:
        return control.error_message(error)


class PreviewServer:
    """The far end of the preview sink: pictures in, HTTP out. Encodes only while somebody looks."""

    keeps_time = False

    def __init__(self, size: tuple[int, int], *, listener: int, tell: Callable[[int], None]) -> None:
        self.size = size
        self._listener = socket.socket(fileno=listener)
        self.device = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._picture = LivePicture(tell)
        tell(0)
        app = build_app(self._picture, running_status)
        settings = uvicorn.Config(
            app, lifespan="off", ws="none", log_level="warning", access_log=False, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, name="http")
        self._thread.start()

    @property
    def readers(self) -> int | None:
        """How many look at the page."""
        return self._picture.viewers

    def send(self, i420: bytearray | memoryview, timestamp_ns: int) -> None:
        """Show one picture."""
        if not self._picture.viewers:
            return
        rgb = rgb_from_i420(i420, *self.size)
        done, jpeg = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if done:
            self._picture.put(jpeg.tobytes())

    def close(self) -> None:
        """End the streams and the server."""
        self._picture.close()
        self._server.should_exit = True
        self._thread.join()
