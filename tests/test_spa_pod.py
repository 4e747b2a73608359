"""Pods are those of libspa's own builder (`tools/pods.c`), byte for byte, and what the server says is read."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from f2fcam.publish.spa_pod import (
    I420,
    YUY2,
    Layout,
    agreed_format,
    offered_format,
    rate_of,
    wanted_buffers,
    wanted_header,
)

GOLDEN = dict(line.split() for line in (Path(__file__).parent / "golden" / "pods.txt").read_text().splitlines())
SIZE = (1280, 720)


@pytest.mark.parametrize(("name", "pixels"), [("I420", I420), ("YUY2", YUY2)])
def test_formats_and_buffers_are_those_of_the_library(name: str, pixels: int):
    assert offered_format(pixels, SIZE, 30.0).hex() == GOLDEN[f"format-{name}"]
    assert wanted_buffers(Layout.of(pixels, SIZE)).hex() == GOLDEN[f"buffers-{name}"]


def test_header_is_that_of_the_library():
    assert wanted_header().hex() == GOLDEN["header"]


@given(st.sampled_from([I420, YUY2]), st.integers(1, 4096), st.integers(1, 4096), st.floats(1, 120))
def test_what_is_offered_can_be_read(pixels: int, width: int, height: int, fps: float):
    pod = offered_format(pixels, (width, height), fps)
    assert agreed_format(pod) == (pixels, (width, height))
    assert len(pod) % 8 == 0 and struct.unpack_from("=I", pod)[0] == len(pod) - 8


@pytest.mark.parametrize(
    ("fps", "rate"), [(30.0, (30, 1)), (30000 / 1001, (30000, 1001)), (29.97, (29970, 1000)), (7.5, (7500, 1000))]
)
def test_rates_are_written_as_fractions(fps: float, rate: tuple[int, int]):
    assert rate_of(fps) == rate
    assert struct.pack("=II", *rate) in offered_format(I420, SIZE, fps)


def test_a_choice_stands_for_its_first_value():
    """Servers may say a format whose choices are not made: the first value is the wanted one."""
    plain = struct.pack("=II", 4, 3) + struct.pack("=II", I420, 0)
    choice = struct.pack("=IIIIII", 20, 19, 3, 0, 4, 3) + struct.pack("=II", YUY2, 0)
    pod = offered_format(I420, SIZE, 30.0)
    assert pod.count(plain) >= 1
    changed = pod[8:].replace(struct.pack("=II", 0x20001, 0) + plain, struct.pack("=II", 0x20001, 0) + choice)
    assert agreed_format(struct.pack("=II", len(changed), 15) + changed) == (YUY2, SIZE)


@pytest.mark.parametrize("pod", [wanted_header(), struct.pack("=IIII", 4, 3, 7, 0)])
def test_other_pods_have_no_format(pod: bytes):
    assert agreed_format(pod) is None


@given(st.integers(0, 215))
def test_a_pod_that_is_cut_off_does_no_harm(length: int):
    pod = offered_format(I420, SIZE, 30.0)
    assert agreed_format(pod[: max(8, length)]) in (None, (I420, SIZE))
