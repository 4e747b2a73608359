"""The few pods that a video source says to PipeWire, as bytes (`DECISIONS` 19): libspa builds them in inline header code.

A pod is two 32-bit words, the size of its body and its type, then the body, padded to eight bytes; numbers are in the machine's
order. `tools/pods.c` makes the same pods with libspa's own builder; a test compares them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

Size = tuple[int, int]

TYPE_ID, TYPE_INT, TYPE_RECTANGLE, TYPE_FRACTION, TYPE_OBJECT, TYPE_CHOICE = 3, 4, 10, 11, 15, 19
OBJECT_FORMAT, OBJECT_BUFFERS, OBJECT_META = 0x40003, 0x40004, 0x40005
PARAM_ENUM_FORMAT, PARAM_FORMAT, PARAM_BUFFERS, PARAM_META = 3, 4, 5, 6
CHOICE_RANGE, CHOICE_FLAGS = 1, 4

MEDIA_TYPE, MEDIA_SUBTYPE = 1, 2
VIDEO_FORMAT, VIDEO_SIZE, VIDEO_RATE, COLOR_RANGE, COLOR_MATRIX = 0x20001, 0x20003, 0x20004, 0x2000C, 0x2000D
VIDEO, RAW = 2, 1
I420, YUY2 = 2, 4
LIMITED_RANGE, BT601 = 2, 4

BUFFERS, BLOCKS, BLOCK_SIZE, STRIDE, DATA_TYPE = 1, 2, 3, 4, 6
COUNT_RANGE = (4, 2, 16)
"""Buffers of the stream: wanted, least, most."""
MEMORY_FD = 2
META_TYPE, META_SIZE = 1, 2
META_HEADER, META_HEADER_BYTES = 1, 32


@dataclass(frozen=True, slots=True)
class Layout:
    """How a picture lies in a buffer, in bytes."""

    size: int
    stride: int

    @staticmethod
    def of(pixels: int, size: Size) -> Layout:
        """Of a picture whose format is `I420` or `YUY2`."""
        width, height = size
        return Layout(width * height * 2, width * 2) if pixels == YUY2 else Layout(width * height * 3 // 2, width)


def offered_format(pixels: int, size: Size, fps: float) -> bytes:
    """What can be read: one size, BT.601 in limited range, and any rate up to ours, since a reader may leave pictures out."""
    rate = rate_of(fps)
    return _object(
        OBJECT_FORMAT,
        PARAM_ENUM_FORMAT,
        {
            MEDIA_TYPE: _id(VIDEO),
            MEDIA_SUBTYPE: _id(RAW),
            VIDEO_FORMAT: _id(pixels),
            VIDEO_SIZE: _pod(TYPE_RECTANGLE, struct.pack("=II", *size)),
            VIDEO_RATE: _choice(CHOICE_RANGE, _fraction(rate), _fraction((0, 1)), _fraction(rate)),
            COLOR_RANGE: _id(LIMITED_RANGE),
            COLOR_MATRIX: _id(BT601),
        },
    )


def rate_of(fps: float) -> tuple[int, int]:
    """Numerator and denominator of a rate: whole, of broadcast (30000 / 1001), or in thousandths.

    Not by `fractions`: it loads `decimal`, and the placeholder is to be up at once.
    """
    for denominator in (1, 1001):
        if abs(fps * denominator - round(fps * denominator)) < 1e-3:
            return round(fps * denominator), denominator
    return round(fps * 1000), 1000


def wanted_buffers(layout: Layout) -> bytes:
    """Buffers of one block each, in memory that both sides map."""
    return _object(
        OBJECT_BUFFERS,
        PARAM_BUFFERS,
        {
            BUFFERS: _choice(CHOICE_RANGE, *map(_int, COUNT_RANGE)),
            BLOCKS: _int(1),
            BLOCK_SIZE: _int(layout.size),
            STRIDE: _int(layout.stride),
            DATA_TYPE: _choice(CHOICE_FLAGS, _int(1 << MEMORY_FD)),
        },
    )


def wanted_header() -> bytes:
    """Each buffer with a header, which has the picture's time."""
    return _object(OBJECT_META, PARAM_META, {META_TYPE: _id(META_HEADER), META_SIZE: _int(META_HEADER_BYTES)})


def agreed_format(pod: bytes) -> tuple[int, Size] | None:
    """Pixel format and size in a pod that PipeWire says; None where it has none."""
    properties = _properties(pod)
    pixels, size = properties.get(VIDEO_FORMAT), properties.get(VIDEO_SIZE)
    if pixels is None or size is None or len(pixels) < 4 or len(size) < 8:
        return None
    width, height = struct.unpack_from("=II", size)
    return struct.unpack_from("=I", pixels)[0], (width, height)


def _pod(kind: int, body: bytes) -> bytes:
    return struct.pack("=II", len(body), kind) + body + bytes(-len(body) % 8)


def _id(value: int) -> bytes:
    return _pod(TYPE_ID, struct.pack("=I", value))


def _int(value: int) -> bytes:
    return _pod(TYPE_INT, struct.pack("=i", value))


def _fraction(value: tuple[int, int]) -> bytes:
    return _pod(TYPE_FRACTION, struct.pack("=II", *value))


def _choice(kind: int, *pods: bytes) -> bytes:
    """Pods of one type and size in one: the wanted value first, then what bounds it."""
    size, value_type = struct.unpack_from("=II", pods[0])
    values = b"".join(pod[8 : 8 + size] for pod in pods)
    return _pod(TYPE_CHOICE, struct.pack("=IIII", kind, 0, size, value_type) + values)


def _object(kind: int, parameter: int, properties: dict[int, bytes]) -> bytes:
    body = b"".join(struct.pack("=II", key, 0) + pod for key, pod in properties.items())
    return _pod(TYPE_OBJECT, struct.pack("=II", kind, parameter) + body)


def _properties(pod: bytes) -> dict[int, bytes]:
    """The properties of an object, each as its body; of a choice, the first value's."""
    size, kind = struct.unpack_from("=II", pod)
    found: dict[int, bytes] = {}
    if kind != TYPE_OBJECT:
        return found
    at, end = 16, min(8 + size, len(pod))
    while at + 16 <= end:
        key, _, size, kind = struct.unpack_from("=IIII", pod, at)
        body = pod[at + 16 : at + 16 + size]
        found[key] = body[16:] if kind == TYPE_CHOICE else body
        at += 16 + size + -size % 8
    return found
