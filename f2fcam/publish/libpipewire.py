"""The system's libpipewire by ctypes: one output stream on a loop that its owner drives, so that no thread of ours is needed.

Only what the library exports is called by name. Loops are an inline interface, a table of functions behind a pointer
(`struct spa_interface`), and so is read here; buffers and stream events are plain structures of its public headers.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_uint32, c_uint64, c_void_p
from functools import lru_cache
from typing import Any, Protocol

from f2fcam.errors import DeviceError
from f2fcam.publish.spa_pod import META_HEADER

LIBRARY = "libpipewire-0.3.so.0"
START_HINT = "Run `systemctl --user start pipewire wireplumber`, or use --sink preview."
INSTALL_HINT = "Run `sudo apt-get install pipewire wireplumber xdg-desktop-portal`, or use --sink preview."

ERROR, UNCONNECTED, CONNECTING, PAUSED, STREAMING = -1, 0, 1, 2, 3
"""States of a stream."""
ROUNDS = 32
"""Of a loop at once: a server that talks without end may not hold up its client."""
OUTPUT = 1
ANY_NODE = 0xFFFF_FFFF
MAP_BUFFERS, DRIVER = 1 << 2, 1 << 3
"""Flags of a stream: the library maps the buffers; pictures come when we have one."""


class StreamEvents(Protocol):
    """What happens to a stream; called from within `Stream.iterate` and `Stream.trigger` only."""

    def state_changed(self, state: int, error: str) -> None:
        """The stream has entered one of the states above; `error` says why where something failed."""
        ...

    def parameter_changed(self, kind: int, pod: bytes | None) -> None:
        """The server has set a parameter; None: it is not set any more."""
        ...

    def process(self) -> None:
        """A picture is wanted: `Stream.fill` takes it."""
        ...


class _Callbacks(ctypes.Structure):
    _fields_ = (("functions", c_void_p), ("data", c_void_p))


class _Interface(ctypes.Structure):
    _fields_ = (("type", c_char_p), ("version", c_uint32), ("callbacks", _Callbacks))


class _Loop(ctypes.Structure):
    _fields_ = (("system", c_void_p), ("loop", c_void_p), ("control", POINTER(_Interface)))


_GET_FD = CFUNCTYPE(c_int, c_void_p)
_ENTER = CFUNCTYPE(None, c_void_p)
_ITERATE = CFUNCTYPE(c_int, c_void_p, c_int)


class _LoopControl(ctypes.Structure):
    _fields_ = (
        ("version", c_uint32),
        ("get_fd", _GET_FD),
        ("add_hook", c_void_p),
        ("enter", _ENTER),
        ("leave", _ENTER),
        ("iterate", _ITERATE),
    )


class _Chunk(ctypes.Structure):
    _fields_ = (("offset", c_uint32), ("size", c_uint32), ("stride", c_int), ("flags", c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("type", c_uint32),
        ("flags", c_uint32),
        ("fd", c_int64),
        ("mapoffset", c_uint32),
        ("maxsize", c_uint32),
        ("data", c_void_p),
        ("chunk", POINTER(_Chunk)),
    )


class _Meta(ctypes.Structure):
    _fields_ = (("type", c_uint32), ("size", c_uint32), ("data", c_void_p))


class _Header(ctypes.Structure):
    _fields_ = (
        ("flags", c_uint32),
        ("offset", c_uint32),
        ("pts", c_int64),
        ("dts_offset", c_int64),
        ("seq", c_uint64),
    )


class _SpaBuffer(ctypes.Structure):
    _fields_ = (
        ("n_metas", c_uint32),
        ("n_datas", c_uint32),
        ("metas", POINTER(_Meta)),
        ("datas", POINTER(_Data)),
    )


class _Buffer(ctypes.Structure):
    _fields_ = (("buffer", POINTER(_SpaBuffer)),)


_STATE_CHANGED = CFUNCTYPE(None, c_void_p, c_int, c_int, c_char_p)
_PARAM_CHANGED = CFUNCTYPE(None, c_void_p, c_uint32, c_void_p)
_PROCESS = CFUNCTYPE(None, c_void_p)


class _StreamEvents(ctypes.Structure):
    _fields_ = (
        ("version", c_uint32),
        ("destroy", c_void_p),
        ("state_changed", _STATE_CHANGED),
        ("control_info", c_void_p),
        ("io_changed", c_void_p),
        ("param_changed", _PARAM_CHANGED),
        ("add_buffer", c_void_p),
        ("remove_buffer", c_void_p),
        ("process", _PROCESS),
    )


class _Hook(ctypes.Structure):
    """`struct spa_hook`: the library links it into a list of its own."""

    _fields_ = (("link", c_void_p * 2), ("callbacks", _Callbacks), ("removed", c_void_p), ("private", c_void_p))


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "pw_init": (None, (c_void_p, c_void_p)),
    "pw_loop_new": (POINTER(_Loop), (c_void_p,)),
    "pw_loop_destroy": (None, (POINTER(_Loop),)),
    "pw_context_new": (c_void_p, (POINTER(_Loop), c_void_p, ctypes.c_size_t)),
    "pw_context_connect": (c_void_p, (c_void_p, c_void_p, ctypes.c_size_t)),
    "pw_context_destroy": (None, (c_void_p,)),
    "pw_properties_new_string": (c_void_p, (c_char_p,)),
    "pw_stream_new": (c_void_p, (c_void_p, c_char_p, c_void_p)),
    "pw_stream_add_listener": (None, (c_void_p, POINTER(_Hook), POINTER(_StreamEvents), c_void_p)),
    "pw_stream_connect": (c_int, (c_void_p, c_int, c_uint32, c_int, POINTER(c_char_p), c_uint32)),
    "pw_stream_update_params": (c_int, (c_void_p, POINTER(c_char_p), c_uint32)),
    "pw_stream_dequeue_buffer": (POINTER(_Buffer), (c_void_p,)),
    "pw_stream_queue_buffer": (c_int, (c_void_p, POINTER(_Buffer))),
    "pw_stream_trigger_process": (c_int, (c_void_p,)),
    "pw_stream_destroy": (None, (c_void_p,)),
}


@lru_cache(maxsize=1)
def load(name: str = LIBRARY) -> Any:
    """The library, initialised; `DeviceError` where there is none."""
    try:
        library = ctypes.CDLL(name, use_errno=True)
        for function, (result, arguments) in _SIGNATURES.items():
            getattr(library, function).restype = result
            getattr(library, function).argtypes = arguments
    except (OSError, AttributeError) as error:
        raise DeviceError(f"PipeWire's library {name} cannot be used: {error}.", hint=INSTALL_HINT) from error
    library.pw_init(None, None)
    return library


class Connection:
    """A loop and a connection to the user's PipeWire server on it; `DeviceError` where none answers."""

    def __init__(self) -> None:
        self._library = load()
        self._loop = self._library.pw_loop_new(None)
        if not self._loop:
            raise _failure("No loop for PipeWire could be made", ctypes.get_errno())
        interface = self._loop.contents.control.contents.callbacks
        self._object = interface.data
        self._control = ctypes.cast(interface.functions, POINTER(_LoopControl)).contents
        self._control.enter(self._object)
        self._context = self._library.pw_context_new(self._loop, None, 0)
        error = ctypes.get_errno()
        self.core = self._library.pw_context_connect(self._context, None, 0) if self._context else None
        if not self.core:
            error = ctypes.get_errno() if self._context else error
            self.close()
            raise _failure("No PipeWire server can be reached", error)

    def fileno(self) -> int:
        """Readable when `iterate` has something to do: for `select`."""
        return self._control.get_fd(self._object)

    def iterate(self) -> None:
        """Do what is to be done now, without waiting."""
        for _ in range(ROUNDS):
            if self._control.iterate(self._object, 0) <= 0:
                return

    def close(self) -> None:
        """Hang up; the context closes the connection."""
        if self._context:
            self._library.pw_context_destroy(self._context)
        self._control.leave(self._object)
        self._library.pw_loop_destroy(self._loop)


class Stream:
    """An output stream that drives its readers: each `trigger` is one picture for all of them."""

    def __init__(self, events: StreamEvents, properties: dict[str, str], formats: Sequence[bytes]) -> None:
        self._connection = Connection()
        self._library = load()
        # The library keeps pointers to these for as long as the stream lives.
        self._events = _StreamEvents(
            version=0,
            state_changed=_STATE_CHANGED(lambda _, old, new, error: events.state_changed(new, _text(error))),
            param_changed=_PARAM_CHANGED(lambda _, kind, pod: events.parameter_changed(kind, _pod_at(pod))),
            process=_PROCESS(lambda _: events.process()),
        )
        self._hook = _Hook()
        words = " ".join(f'{key} = "{value}"' for key, value in properties.items())
        self._stream = self._library.pw_stream_new(
            self._connection.core,
            properties["node.name"].encode(),
            self._library.pw_properties_new_string(f"{{ {words} }}".encode()),
        )
        if not self._stream:
            error = ctypes.get_errno()
            self._connection.close()
            raise _failure("PipeWire makes no stream", error)
        self._library.pw_stream_add_listener(self._stream, self._hook, self._events, None)
        flags = MAP_BUFFERS | DRIVER
        result = self._library.pw_stream_connect(
            self._stream, OUTPUT, ANY_NODE, flags, _pointers(formats), len(formats)
        )
        if result < 0:
            self.close()
            raise _failure("PipeWire takes no camera", -result)

    def fileno(self) -> int:
        """Readable when `iterate` has something to do: for `select`."""
        return self._connection.fileno()

    def iterate(self) -> None:
        """Handle what the server has said, without waiting for more."""
        self._connection.iterate()

    def update_parameters(self, pods: Sequence[bytes]) -> None:
        """Answer an agreed format with how the buffers are to be."""
        self._library.pw_stream_update_params(self._stream, _pointers(pods), len(pods))

    def trigger(self) -> None:
        """Let the readers have a picture: `process` is called."""
        self._library.pw_stream_trigger_process(self._stream)

    def fill(self, picture: bytes | bytearray | memoryview, stride: int, timestamp_ns: int, number: int) -> bool:
        """Hand a picture over; False where every buffer is with a reader."""
        buffer = self._library.pw_stream_dequeue_buffer(self._stream)
        if not buffer:
            return False
        contents = buffer.contents.buffer.contents
        data = contents.datas[0]
        size = len(picture)
        fits = bool(data.data) and data.maxsize >= size
        if fits:
            memoryview((ctypes.c_ubyte * size).from_address(data.data)).cast("B")[:] = picture
        chunk = data.chunk.contents
        chunk.offset, chunk.size, chunk.stride, chunk.flags = 0, size if fits else 0, stride, 0
        for meta in contents.metas[: contents.n_metas]:
            if meta.type == META_HEADER and meta.size >= ctypes.sizeof(_Header):
                ctypes.cast(meta.data, POINTER(_Header))[0] = _Header(0, 0, timestamp_ns, 0, number)
        self._library.pw_stream_queue_buffer(self._stream, buffer)
        return fits

    def close(self) -> None:
        """Take the stream away and hang up."""
        self._library.pw_stream_destroy(self._stream)
        self._connection.close()


def _failure(what: str, number: int) -> DeviceError:
    return DeviceError(f"{what}: {os.strerror(number)}.", hint=START_HINT)


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _pod_at(address: int | None) -> bytes | None:
    """The pod that starts at `address`."""
    if not address:
        return None
    return ctypes.string_at(address, 8 + c_uint32.from_address(address).value)


def _pointers(pods: Sequence[bytes]) -> Any:
    return (c_char_p * len(pods))(*pods)
