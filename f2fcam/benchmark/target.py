"""A target of the size that is measured, with a large face.

The bundled profile is small, and an engine publishes it enlarged: that would measure less than it says. So the chosen profile
is made into one whose stored pictures really have the wanted size: each is cut around the face and resized, and everything
that was fitted in pixels is carried over by the same zoom (camera, landmarks, boxes, visibility, the opening's misfits,
outlines and crops). Poses, expressions, light, texture and playback do not depend on it and are the profile's own, so the work
per pixel, per vertex and per mouth is that of a profile enrolled at this size; only the pictures are softer. Where a face's
surroundings end, the picture is black.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Person
from f2fcam.mouth.database import ApertureDatabase
from f2fcam.profile import TARGET, Profile, TrackedFrames, pack_visibility
from f2fcam.profile_store import ProfileDraft
from f2fcam.publish.video import VideoWriter
from f2fcam.reenact import aperture_databases

FACE_PX, FACE_IN = (450, 600), (640, 720)
"""The face is at least so wide and high in a picture of so many columns and rows, and in proportion in others."""


@dataclass(frozen=True, slots=True)
class Zoom:
    """From a stored picture's pixels to the new one's: `scale * (pixel - corner)`, the new one being of `size`."""

    corner: Float32[np.ndarray, " 2"]
    scale: float
    size: tuple[int, int]

    def pixels(self, xy: Float32[np.ndarray, "*n 2"]) -> Float32[np.ndarray, "*n 2"]:
        """Points of the stored picture in the new one."""
        return ((xy - self.corner) * np.float32(self.scale)).astype(np.float32)

    def picture(
        self, rgb: UInt8[np.ndarray, "h w 3"], at: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None
    ) -> UInt8[np.ndarray, "H W 3"]:
        """The new picture, or the part of `size` whose first pixel is `at`; black beside the stored one."""
        if self.scale < 1:
            rgb = cv2.GaussianBlur(rgb, (0, 0), 0.4 / self.scale)
        first = self.corner + (np.array(at) + 0.5) / self.scale - 0.5  # OpenCV counts from pixels' centres
        back = np.array([[1 / self.scale, 0, first[0]], [0, 1 / self.scale, first[1]]])
        return cv2.warpAffine(rgb, back, size or self.size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)

    def camera(self, camera: Intrinsics) -> Intrinsics:
        """The camera of the new picture; poses stay."""
        x, y = ((camera.center_x - self.corner[0]) * self.scale, (camera.center_y - self.corner[1]) * self.scale)
        return Intrinsics(camera.focal * self.scale, float(x), float(y), *self.size)


def zoom_to_face(boxes: Float32[np.ndarray, "n 4"], stored: tuple[int, int], size: tuple[int, int]) -> Zoom:
    """The zoom under which the clip's median face has the size that `FACE_PX` asks for.

    The part that is shown lies around it, and within the stored picture where it fits in.
    """
    lines = min(size[0] / FACE_IN[0], size[1] / FACE_IN[1])
    face = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
    scale = 1.001 * float((np.array(FACE_PX) * lines / face).max())  # not a rounding error less
    shown, whole = np.array(size) / scale, np.array(stored)
    corner = np.median(boxes[:, :2] + boxes[:, 2:], axis=0) / 2 - shown / 2
    corner = np.where(shown <= whole, np.clip(corner, 0, np.maximum(whole - shown, 0)), (whole - shown) / 2)
    return Zoom(corner.astype(np.float32), scale, size)


def write_zoomed(
    profile: Profile, model: FaceModel, size: tuple[int, int], root: Path, report: Callable[[int, int], None]
) -> Profile:
    """The profile at `size`, written into the folder `root` under its own name, whence a child process opens it."""
    zoom = zoom_to_face(profile.frames.boxes, profile.manifest.size, size)
    person = replace(profile.person, intrinsics=zoom.camera(profile.person.intrinsics))
    databases = aperture_databases(profile)
    crops = {name: _Crops(database, zoom) for name, database in databases.items()}
    count, manifest = len(profile.frames), profile.manifest
    with ProfileDraft(root, profile.name) as draft, profile.open_target() as video:
        with VideoWriter(draft.folder / TARGET, size, manifest.rate, intra_only=True) as writer:
            for frame in video:
                writer.write(zoom.picture(frame.rgb), round(float(profile.frames.time_s[frame.index]) * 1e9))
                for name in databases:
                    crops[name].take(frame.index, frame.rgb)
                report(frame.index + 1, count)
        mouth = {
            f"{name}/{key}": value for name, made in crops.items() for key, value in made.database().to_arrays().items()
        }
        groups = {"mouth": mouth, "complexion": profile.complexion, "playback": profile.playback}
        return draft.finish(
            person, _frames(profile.frames, zoom, model, person), manifest.consent,
            model_hash=manifest.model_hash, detector=manifest.detector, source=manifest.source, rate=manifest.rate,
            size=size, counts=dict(manifest.counts), **{name: arrays for name, arrays in groups.items() if arrays},
        )  # fmt: skip


def _frames(frames: TrackedFrames, zoom: Zoom, model: FaceModel, person: Person) -> TrackedFrames:
    landmarks, boxes = zoom.pixels(frames.landmarks), zoom.pixels(frames.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    visibility = []
    for row in range(len(frames)):
        performance = frames.performance(row)
        shape = model.geometry0(person.identity, performance.expression)
        points = model.subdivide(performance.camera_from_model.apply(shape).astype(np.float32))
        xy = person.intrinsics.project(points)
        inside = ((xy >= 0) & (xy < np.array(zoom.size))).all(axis=1)
        visibility.append(pack_visibility(frames.visible(row) & inside))
    return replace(frames, landmarks=landmarks, boxes=boxes, visibility=np.stack(visibility))


class _Crops:
    """An opening's database with its pictures taken anew."""

    def __init__(self, database: ApertureDatabase, zoom: Zoom) -> None:
        self._database, self._zoom = database, zoom
        self._corner = np.floor(zoom.pixels(database.corner.astype(np.float32))).astype(np.int32)
        self._size = np.ceil(database.size * np.float32(zoom.scale)).astype(np.int32)
        self._pictures: dict[int, np.ndarray] = {}

    def take(self, row: int, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """The entry of the profile's frame `row`, if it has one."""
        entry = self._database.entry_of(row)
        if entry >= 0:
            x, y = self._corner[entry].tolist()
            width, height = self._size[entry].tolist()
            self._pictures[entry] = self._zoom.picture(rgb, (x, y), (width, height))

    def database(self) -> ApertureDatabase:
        """After all frames."""
        old, scale = self._database, np.float32(self._zoom.scale)
        axes = old.rim_axes.copy()
        # along = R p + t with p = corner + p' / scale, in new pixels
        axes[:, :, 2] = scale * (axes[:, :, 2] + axes[:, :, :2] @ self._zoom.corner)
        sizes = 3 * self._size.astype(np.int64).prod(axis=1)
        pictures = [self._pictures[entry].ravel() for entry in range(len(old))]
        changed = {
            "misfit": old.misfit * scale, "rim_axes": axes, "rim_ends": old.rim_ends * scale,
            "rim_edges": old.rim_edges * scale, "corner": self._corner, "size": self._size,
            "start": np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)[: len(old)],
            "pixels": np.concatenate(pictures) if pictures else old.pixels,
        }  # fmt: skip
        return ApertureDatabase(**{f.name: changed.get(f.name, getattr(old, f.name)) for f in fields(old)})
