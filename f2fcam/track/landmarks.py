"""Sparse landmarks: the detector protocol, MediaPipe FaceMesh behind it, a playback fake, and the names of its points.

The points are numbered as in MediaPipe FaceMesh with refined landmarks: 468 on the skin, 10 on the irises. Left and
right are the person's own; a frontal unmirrored face has its left eye at the image's right.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from f2fcam.errors import F2FError

POINTS = 478
IRISES = slice(468, 478)

RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER = 61, 291
"""Corners of the outer lip line."""
RIGHT_INNER_CORNER, LEFT_INNER_CORNER = 78, 308
"""Corners of the inner lip line."""
INNER_LIP_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LIP_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Inner lip lines from the right corner to the left; equal positions lie opposite each other."""
INNER_LIP_PAIRS = tuple(zip(INNER_LIP_UPPER[1:-1], INNER_LIP_LOWER[1:-1], strict=True))
OUTER_LIP_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LIP_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
INNER_LIPS = INNER_LIP_UPPER + INNER_LIP_LOWER[-2:0:-1]
"""Closed loop around the mouth's opening."""
OUTER_LIPS = OUTER_LIP_UPPER + OUTER_LIP_LOWER[-2:0:-1]
"""Closed loop around the red of the lips."""
LIPS = tuple(sorted(set(INNER_LIPS + OUTER_LIPS)))

RIGHT_EYE_OUTER, RIGHT_EYE_INNER = 33, 133
LEFT_EYE_OUTER, LEFT_EYE_INNER = 263, 362
EYE_CORNERS = (RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_INNER, LEFT_EYE_OUTER)
RIGHT_LID_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
RIGHT_LID_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
LEFT_LID_UPPER = (263, 466, 388, 387, 386, 385, 384, 398, 362)
LEFT_LID_LOWER = (263, 249, 390, 373, 374, 380, 381, 382, 362)
"""Lid margins from the outer corner to the inner; equal positions lie opposite each other."""
RIGHT_LID_PAIRS = tuple(zip(RIGHT_LID_UPPER[1:-1], RIGHT_LID_LOWER[1:-1], strict=True))
LEFT_LID_PAIRS = tuple(zip(LEFT_LID_UPPER[1:-1], LEFT_LID_LOWER[1:-1], strict=True))
RIGHT_EYE = RIGHT_LID_UPPER + RIGHT_LID_LOWER[-2:0:-1]
LEFT_EYE = LEFT_LID_UPPER + LEFT_LID_LOWER[-2:0:-1]
"""Closed loops around the eyes' openings."""
RIGHT_IRIS, LEFT_IRIS = (468, 469, 470, 471, 472), (473, 474, 475, 476, 477)
"""Iris: centre, then four points of the rim."""

RIGHT_BROW_UPPER, RIGHT_BROW_LOWER = (70, 63, 105, 66, 107), (46, 53, 52, 65, 55)
LEFT_BROW_UPPER, LEFT_BROW_LOWER = (300, 293, 334, 296, 336), (276, 283, 282, 295, 285)
"""Brow lines from the outer end to the inner."""
RIGHT_BROW = RIGHT_BROW_UPPER + RIGHT_BROW_LOWER
LEFT_BROW = LEFT_BROW_UPPER + LEFT_BROW_LOWER

NOSE_BRIDGE = (168, 6, 197, 195, 5)
"""From between the eyes downwards."""
NOSE_TIP, NOSE_BASE = 4, 2
CHIN = 152
CHIN_LINE = (149, 176, 148, 152, 377, 400, 378)
"""The chin's lower edge, which is skin rather than outline in most views."""
STABLE = (*EYE_CORNERS, 168, 6, 197, 195, 5, 4, 122, 351)
"""Points that expressions hardly move: eye corners, bridge and ridge of the nose."""
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""Closed loop from the middle of the forehead over the person's left; slides over the skin with the view."""

_RIGHT_CHEEKBONE, _LEFT_CHEEKBONE = 234, 454

LOOK_EVERY = 30
"""Pictures from one search for further faces to the next, while those that were there are followed."""

_CALCULATORS = (
    *("core.constant_side_packet", "core.gate", "core.split_vector", "tensor.image_to_tensor", "tensor.inference"),
    *("tensor.tensors_to_classification", "tensor.tensors_to_detections", "tensor.tensors_to_floats"),
    *("tensor.tensors_to_landmarks", "tflite.ssd_anchors", "util.association", "util.detections_to_rects"),
    *("util.landmarks_refinement", "util.logic", "util.non_max_suppression", "util.rect_transformation"),
    "util.thresholding",
)
_OPTIONS = ("framework.tool.switch_container", *(f"calculators.{name}_calculator" for name in _CALCULATORS))
"""Messages with options of the graph's nodes: what is not imported is lost without a word when Python passes the graph on."""

_POINT_MESSAGE = np.dtype(
    {"names": ["x", "y", "z"], "formats": ["<f4"] * 3, "offsets": [3, 8, 13], "itemsize": 17},
)
"""A landmark in a serialised list."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """One face's points in one picture.

    Attributes:
        xy: pixels, origin at the image's corner.
        z: depth relative to the head's middle in pixels, smaller is nearer; MediaPipe's estimate, good for shape only.
        confidence: 0..1; falls for points that turn away from the camera, 0 outside the picture.
    """

    xy: Float32[np.ndarray, "478 2"]
    z: Float32[np.ndarray, " 478"]
    confidence: Float32[np.ndarray, " 478"]

    @property
    def points(self) -> Float32[np.ndarray, "478 3"]:
        """Pixels and depth as one array."""
        return np.column_stack([self.xy, self.z])

    @property
    def eye_distance(self) -> float:
        """Distance of the outer eye corners in pixels, depth included: the unit of every relative error."""
        apart = self.points[LEFT_EYE_OUTER] - self.points[RIGHT_EYE_OUTER]
        return float(np.sqrt(apart @ apart))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the points on the skin, in pixels."""
        skin = self.xy[:468]
        (left, top), (right, bottom) = skin.min(axis=0), skin.max(axis=0)
        return float(left), float(top), float(right), float(bottom)


class LandmarkDetector(Protocol):
    """Finds the actor's landmarks in a picture.

    `faces` is the number of faces in the last picture. A detector carries state from picture to picture: `reset` it
    at a cut.
    """

    faces: int

    def detect(self, rgb: UInt8[np.ndarray, "h w 3"]) -> Landmarks | None:
        """The actor's landmarks, or None when there is no face."""
        ...

    def reset(self) -> None:
        """Forget the last picture."""
        ...

    def close(self) -> None:
        """Give back what the detector holds."""
        ...


class FakeDetector:
    """Plays back given landmarks, one a call, whatever the picture; after the last there is no face."""

    def __init__(self, landmarks: Sequence[Landmarks | None]) -> None:
        self._landmarks = list(landmarks)
        self._next = 0
        self.faces = 0

    def detect(self, rgb: UInt8[np.ndarray, "h w 3"]) -> Landmarks | None:
        """The next of the given landmarks."""
        found = self._landmarks[self._next] if self._next < len(self._landmarks) else None
        self._next += 1
        self.faces = int(found is not None)
        return found

    def reset(self) -> None:
        """Nothing to forget: the given sequence goes on."""

    def close(self) -> None:
        """Drop what was left to play."""
        self._landmarks = []


class MediaPipeDetector:
    """MediaPipe FaceMesh with refined lids, lips and irises. Not for use from two threads at once.

    Args:
        static: treat every picture by itself instead of following the face from the last one.
        max_faces: how many faces are looked for; the actor is the largest near the last one.
    """

    def __init__(self, static: bool = False, max_faces: int = 2) -> None:
        self.faces = 0
        self._last: tuple[float, float, float] | None = None
        self._static, self._pictures, self._missing = static, 0, 0
        with _QUIET, _without_native_stderr():
            self._mesh = _face_mesh(static, max_faces)
            # The graph loads, and logs, at its first face: let that happen here rather than at the first frame.
            self._find(_painted_face(), look=True)
        self.reset()

    @property
    def version(self) -> str:
        """Name and version, kept in profiles."""
        return f"mediapipe-face-mesh {importlib.metadata.version('mediapipe')}"

    def detect(self, rgb: UInt8[np.ndarray, "h w 3"]) -> Landmarks | None:
        """The actor's landmarks, or None when there is no face."""
        height, width = rgb.shape[:2]
        rgb = np.ascontiguousarray(rgb)
        look = self._static or self.faces == 0 or self._missing > 0 or self._pictures % LOOK_EVERY == 0
        found = self._find(rgb, look)
        if not found and not look:
            found = self._find(rgb, look=True)
        scale = np.array([width, height, width], np.float32)
        faces = [_coordinates(face) * scale for face in found]
        self._pictures += 1
        self._missing = LOOK_EVERY if len(faces) < self.faces else max(self._missing - 1, 0)
        self.faces = len(faces)
        if not faces:
            return None
        actor = faces[0] if len(faces) == 1 else self._choose(faces)
        self._last = _place(actor)
        return Landmarks(actor[:, :2].copy(), actor[:, 2].copy(), _confidence(actor, width, height))

    def _choose(self, faces: list[np.ndarray]) -> np.ndarray:
        """The largest near the last one; without a last one, the largest."""

        def score(face: np.ndarray) -> float:
            x, y, size = _place(face)
            if self._last is None:
                return size
            last_x, last_y, last_size = self._last
            return size * float(np.exp(-((x - last_x) ** 2 + (y - last_y) ** 2) / (0.5 * last_size) ** 2))

        return max(faces, key=score)

    def reset(self) -> None:
        """Forget the last picture; for cuts. A blank picture does it; the graph's own reset would load it again."""
        self._last = None
        self.faces = self._pictures = self._missing = 0
        self._find(np.zeros((64, 64, 3), np.uint8), look=True)

    def close(self) -> None:
        """Close the graph."""
        self._mesh.close()

    def _find(self, rgb: UInt8[np.ndarray, "h w 3"], look: bool) -> list[Any]:
        """The faces that are being followed and, with `look`, new ones."""
        return self._mesh.process({"image": rgb, "look": look}).multi_face_landmarks or []


def _coordinates(face: Any) -> Float32[np.ndarray, "478 3"]:
    """x, y, z of a landmark list; its points' Python objects would cost as much as a tenth of the network.

    A point is serialised as its tag and length, then the tags and values of its three floats.
    """
    message = np.frombuffer(face.SerializeToString(), _POINT_MESSAGE)
    return np.stack([message["x"], message["y"], message["z"]], axis=1)


def _place(face: Float32[np.ndarray, "478 3"]) -> tuple[float, float, float]:
    """Centre and size of a face in pixels."""
    low, high = face[:468, :2].min(axis=0), face[:468, :2].max(axis=0)
    x, y = (low + high) / 2
    return float(x), float(y), float(max(high - low))


def _confidence(face: Float32[np.ndarray, "478 3"], width: int, height: int) -> Float32[np.ndarray, " 478"]:
    """FaceMesh gives none per point: how much a point faces the camera, from an ellipsoid through the head.

    The ellipsoid sits midway between the points before the ears, its half-axes are half that width and the chin's drop.
    """
    middle = (face[_RIGHT_CHEEKBONE] + face[_LEFT_CHEEKBONE]) / 2
    across = face[_LEFT_CHEEKBONE] - face[_RIGHT_CHEEKBONE]
    half_width = max(float(np.sqrt(across @ across)) / 2, 1.0)
    down = face[CHIN] - face[10]
    down = down - across * (down @ across) / max(float(across @ across), 1.0)
    half_height = max(float(np.sqrt(down @ down)) / 2, 1.0)
    offset = face - middle
    along = offset @ (down / (2 * half_height))
    normal = offset / half_width**2
    normal += np.outer(along * (1 / half_height**2 - 1 / half_width**2), down / (2 * half_height))
    normal /= np.sqrt((normal**2).sum(axis=1, keepdims=True)) + 1e-12
    confidence = np.clip((0.3 - normal[:, 2]) / 0.5, 0.05, 1.0)
    inside = (face[:, 0] >= 0) & (face[:, 1] >= 0) & (face[:, 0] < width) & (face[:, 1] < height)
    return np.where(inside, confidence, 0.0).astype(np.float32)


_QUIET = threading.Lock()
"""Redirecting standard error is a matter of the whole process: one at a time."""


@contextlib.contextmanager
def _without_native_stderr() -> Iterator[None]:
    """Send what C++ libraries write to standard error to nowhere; MediaPipe's start-up chatter has no other switch."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _face_mesh(static: bool, max_faces: int) -> Any:
    """FaceMesh in the caller's own thread, and its search for new faces only in pictures that come with `look`.

    The search costs half as much as the landmarks; MediaPipe's own graph repeats it in every picture until `max_faces`
    are there. Imported late, since it takes a second or two.
    """
    try:
        _without_its_start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for options in _OPTIONS:
                importlib.import_module(f"mediapipe.{options}_pb2")
            from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig
            from mediapipe.python.solution_base import SolutionBase
    except ImportError as error:
        raise F2FError(
            f"MediaPipe cannot be loaded ({error}).",
            hint="Install f2fcam's dependencies again under Python 3.10 to 3.12: pip install --force-reinstall f2fcam.",
        ) from error
    graph = resources.files("mediapipe") / "modules/face_landmark/face_landmark_front_cpu.binarypb"
    config = CalculatorGraphConfig.FromString(graph.read_bytes())
    for node in config.node:
        for k, stream in enumerate(node.input_stream):
            if stream == "DISALLOW:prev_has_enough_faces":
                node.input_stream[k] = "ALLOW:look"
    config.input_stream.append("LOOK:look")
    config.executor.add(type="ApplicationThreadExecutor")
    return SolutionBase(
        graph_config=config,
        side_inputs={"num_faces": max_faces, "with_attention": True, "use_prev_landmarks": not static},
        outputs=["multi_face_landmarks"],
    )


def _without_its_start() -> None:
    """Let parts of MediaPipe be imported but not what its own `__init__` imports: every solution, Matplotlib and sound.

    They would cost 40 MB and most of a second; the package stands in `sys.modules` without having run.
    """
    spec = None if "mediapipe" in sys.modules else importlib.util.find_spec("mediapipe")
    if spec is not None:
        sys.modules["mediapipe"] = importlib.util.module_from_spec(spec)


def _painted_face(size: int = 256) -> UInt8[np.ndarray, "256 256 3"]:
    """A crude face that the detector takes for one."""
    picture = np.full((size, size, 3), 90, np.uint8)
    skin, hair, shade, red = (224, 172, 140), (60, 40, 30), (190, 130, 105), (160, 75, 75)
    ellipses = [((128, 130), (62, 84), skin), ((128, 70), (64, 36), hair), ((128, 110), (56, 44), skin)]
    for x in (102, 154):
        ellipses += [((x, 112), (13, 6), (250, 250, 250)), ((x, 112), (6, 6), hair), ((x, 96), (16, 3), hair)]
    ellipses += [((128, 140), (5, 22), shade), ((128, 156), (13, 5), shade), ((128, 180), (24, 7), red)]
    for center, axes, colour in ellipses:
        cv2.ellipse(picture, center, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), 1.5)
