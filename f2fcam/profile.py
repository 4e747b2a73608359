"""What enrolment yields: a folder with everything needed to act a target, signed, verified file by file, without pickle.

`ProfileDraft` writes one, `load_profile` reads and checks one; `profile_store` finds, lists, exports, imports and deletes them.
A profile of another format version, another face model or with an expired consent is refused in words.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8

from f2fcam.config import read_toml
from f2fcam.errors import ConfigError, F2FError, InputError, ProfileError
from f2fcam.face.camera import Intrinsics
from f2fcam.face.rigid import RigidTransform
from f2fcam.face.state import Performance, Person
from f2fcam.profile_search import MANIFEST
from f2fcam.trust import signing
from f2fcam.trust.consent import Consent, consent_from_table

FORMAT = 1
"""Version of the files' meaning; raised whenever a reader of the last one would misread."""

TARGET = "target.mp4"
TEXTURE = "texture.png"
PREVIEW = "preview.jpg"
REPORT = "report.html"
PERSON = "person.npz"
FRAMES = "frames.npz"
REQUIRED = (PERSON, FRAMES, TARGET)

GROUPS = ("mouth", "complexion", "playback", "enrolment")
"""Arrays of later stages, each in a file of its own: mouths and eyes; how the skin's colour goes with the expression;
transitions; what enrolment learned beside the fit."""

LARGE = "pixel_steps"
"""Part of a mouth's (or an eye's) arrays that is as large as all others together, and is not read before it is asked for."""

LEVEL2_VERTICES, LANDMARKS = 53_390, 478
STATUSES: dict[str, int] = {"tracked": 0, "occluded": 3, "lost": 4}
"""What became of an enrolled frame, and its number in `TrackedFrames.status`; only tracked ones are acted."""

_AGAIN = "Enrol the video again with `f2fcam enroll VIDEO --name NAME`."


@dataclass(frozen=True, slots=True)
class TrackedFrames:
    """The target's performance, one row per frame of `target.mp4`.

    Attributes:
        index: frame numbers in the clip that was enrolled. time_s: their times from its first picture.
        expressions: absolute. rotations, translations: `camera_from_model` at the stored size.
        landmarks: detected, pixels of the stored size. boxes: the face, x0 y0 x1 y1 in those pixels.
        status: a number of `STATUSES`. residual: whitened photometric error per sample, root mean square.
        visibility: packed bits of the level-2 vertices that the frame shows.
    """

    index: Int32[np.ndarray, " n"]
    time_s: Float64[np.ndarray, " n"]
    expressions: Float32[np.ndarray, "n 76"]
    rotations: Float32[np.ndarray, "n 3 3"]
    translations: Float32[np.ndarray, "n 3"]
    lightings: Float32[np.ndarray, "n 9 3"]
    landmarks: Float32[np.ndarray, "n 478 2"]
    boxes: Float32[np.ndarray, "n 4"]
    status: UInt8[np.ndarray, " n"]
    residual: Float32[np.ndarray, " n"]
    visibility: UInt8[np.ndarray, "n 6674"]

    def __len__(self) -> int:
        return len(self.index)

    def performance(self, row: int) -> Performance:
        """Expression, pose and light of a row."""
        pose = RigidTransform(self.rotations[row], self.translations[row])
        return Performance(self.expressions[row], pose, self.lightings[row])

    def visible(self, row: int) -> UInt8[np.ndarray, " 53390"]:
        """1 per level-2 vertex that the row's frame shows."""
        return np.unpackbits(self.visibility[row], count=LEVEL2_VERTICES)


def pack_visibility(visible: UInt8[np.ndarray, "n 53390"]) -> UInt8[np.ndarray, "n 6674"]:
    """Rows of `TrackedFrames.visibility`."""
    return np.packbits(visible.astype(bool), axis=-1)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file has to be."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A profile's label.

    Attributes:
        model_hash: of the face model that the coefficients belong to.
        detector: name and version of the landmark detector.
        source: name of the enrolled video. rate: its frames per second. size: of the stored pictures.
        counts: for the user, such as frames, keyframes, mouth clusters.
        public_key: of the user who made it.
    """

    name: str
    created: datetime.datetime
    version: str
    model_hash: str
    detector: str
    source: str
    rate: Fraction
    size: tuple[int, int]
    counts: Mapping[str, int]
    consent: Consent
    files: Mapping[str, FileRecord]
    public_key: str

    @property
    def own(self) -> bool:
        """This user made it."""
        return signing.is_users(self.public_key)


@dataclass(frozen=True, slots=True)
class Profile:
    """An enrolled target, ready to be acted."""

    name: str
    directory: Path
    manifest: Manifest
    person: Person
    frames: TrackedFrames
    mouth: Mapping[str, np.ndarray] = field(default_factory=dict)
    complexion: Mapping[str, np.ndarray] = field(default_factory=dict)
    playback: Mapping[str, np.ndarray] = field(default_factory=dict)
    enrolment: Mapping[str, np.ndarray] = field(default_factory=dict)

    def open_target(self) -> Any:
        """The stored clip (`capture.video.VideoFile`); its frame numbers are the rows of `frames`."""
        from f2fcam.capture.video import VideoFile

        try:
            video = VideoFile(self.directory / TARGET)
        except InputError as error:
            raise damaged(self.directory / TARGET, error.message) from error
        if len(video.times_ns) != len(self.frames):
            raise damaged(self.directory / TARGET, f"it has {len(video.times_ns)} frames instead of {len(self.frames)}")
        return video


def load_profile(directory: Path, *, model_hash: str | None = None, today: datetime.date | None = None) -> Profile:
    """Read and verify a profile; `ProfileError` names the file that is wrong. `model_hash`: `None` takes the installed one's."""
    manifest = verify_profile(directory)
    manifest.consent.require_valid(today)
    if model_hash is None:
        from f2fcam.face.morphable import load_face_model

        model_hash = load_face_model().hash
    if manifest.model_hash != model_hash:
        raise ProfileError(f"The profile {manifest.name} was made with another face model.", hint=_AGAIN)

    def read(group: str) -> Mapping[str, np.ndarray]:
        path = directory / f"{group}.npz"
        return StoredArrays(path, manifest.files[path.name].sha256)

    return Profile(
        name=directory.name,
        directory=directory,
        manifest=manifest,
        person=_read(directory / PERSON, person_from),
        frames=read_frames(directory),
        **{group: read(group) for group in GROUPS if f"{group}.npz" in manifest.files},
    )


def read_frames(directory: Path) -> TrackedFrames:
    """The fit of every frame; verify the profile first."""
    return _read(directory / FRAMES, _frames)


def read_group(directory: Path, group: str) -> dict[str, np.ndarray]:
    """The arrays of one of `GROUPS`; verify the profile first."""
    return _read(directory / f"{group}.npz", dict)


class StoredArrays(Mapping[str, np.ndarray]):
    """A verified file's arrays, of which the `LARGE` ones are read at each use.

    Attributes:
        sha256: of the file: equal ones hold equal arrays.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        self.sha256 = sha256
        self._path = path
        with _opened(path) as stored:
            self._names: list[str] = stored.files
            self._arrays = {name: stored[name] for name in self._names if _part(name) != LARGE}

    def __getitem__(self, name: str) -> np.ndarray:
        if _part(name) != LARGE or name not in self._names:
            return self._arrays[name]
        if not self.is_there():
            raise damaged(self._path, "it has been replaced or removed meanwhile")
        with _opened(self._path) as stored:
            return stored[name]

    def is_there(self) -> bool:
        """Whether it is still the file that was opened."""
        try:
            return file_hash(self._path) == self.sha256
        except OSError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def verify_profile(directory: Path) -> Manifest:
    """Check the signature, and every file against the manifest; files that do not belong there are refused too."""
    manifest = read_manifest(directory)
    present = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if not p.is_dir()} - {MANIFEST}
    foreign = sorted(name for name in present - set(manifest.files) if not name.startswith("."))
    if foreign:
        raise ProfileError(
            f"{directory / foreign[0]} does not belong to the profile.", hint="Remove the file, or enrol again."
        )
    for name, record in manifest.files.items():
        path = directory / name
        if not path.is_file() or path.is_symlink():
            raise damaged(path, "it is missing")
        if path.stat().st_size != record.size:
            raise damaged(path, "its size is wrong")
        if file_hash(path) != record.sha256:
            raise damaged(path, "its contents are not what was enrolled")
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """The signed label, without looking at the other files."""
    path = directory / MANIFEST
    if not path.is_file():
        raise damaged(path, "it is missing")
    try:
        table = read_toml(path)
        version = table["format"]
        if version != FORMAT:
            newer = isinstance(version, int) and version > FORMAT
            hint = "Install a newer f2fcam." if newer else _AGAIN
            raise ProfileError(
                f"The profile {directory.name} has format {version}; this f2fcam reads {FORMAT}.", hint=hint
            )
        signature = table.pop("signature")
        if not signing.verify(signed_bytes(table), signature["public_key"], signature["value"]):
            raise damaged(path, "its signature does not fit")
        return _manifest(table, signature["public_key"])
    except ConfigError as error:
        raise damaged(path, error.message) from error
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def _manifest(table: dict[str, Any], public_key: str) -> Manifest:
    target = table["target"]
    files = {name: FileRecord(r["sha256"], int(r["bytes"])) for name, r in table["files"].items()}
    for name in files:
        if Path(name).name != name or name.startswith(".") or "\\" in name:
            raise ValueError(f"the file name {name!r}")
    if not set(REQUIRED) <= set(files):
        raise ValueError("a required file is not listed")
    return Manifest(
        name=table["name"],
        created=table["created"],
        version=table["f2fcam"],
        model_hash=table["face_model"],
        detector=table["detector"],
        source=target["source"],
        rate=Fraction(target["rate"]),
        size=(int(target["width"]), int(target["height"])),
        counts=dict(table["counts"]),
        consent=consent_from_table(table["consent"], "its consent"),
        files=files,
        public_key=public_key,
    )


def manifest_table(manifest: Manifest) -> dict[str, Any]:
    """The manifest as TOML writes it, without the signature."""
    return {
        "format": FORMAT,
        "name": manifest.name,
        "created": manifest.created,
        "f2fcam": manifest.version,
        "face_model": manifest.model_hash,
        "detector": manifest.detector,
        "target": {
            "source": manifest.source,
            "rate": str(manifest.rate),
            "width": manifest.size[0],
            "height": manifest.size[1],
        },
        "counts": dict(manifest.counts),
        "consent": manifest.consent.as_table(),
        "files": {name: {"sha256": r.sha256, "bytes": r.size} for name, r in sorted(manifest.files.items())},
    }


def signed_bytes(table: Mapping[str, Any]) -> bytes:
    """What the signature covers: everything in the manifest, in a form that no TOML writer can change."""
    return json.dumps(table, sort_keys=True, ensure_ascii=False, default=lambda value: value.isoformat()).encode()


def file_hash(path: Path) -> str:
    """SHA-256, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def damaged(path: Path, reason: str) -> ProfileError:
    """The error for a file of a profile that is not as it was enrolled."""
    return ProfileError(f"{path} is damaged or foreign: {reason.rstrip('.')}.", hint=_AGAIN)


def person_arrays(person: Person) -> dict[str, np.ndarray]:
    """`person.npz`."""
    camera = person.intrinsics
    arrays = {
        "identity": np.asarray(person.identity, np.float32),
        "albedo": np.asarray(person.albedo, np.float32),
        "neutral": np.asarray(person.neutral, np.float32),
        "intrinsics": np.array(
            [camera.focal, camera.center_x, camera.center_y, camera.width, camera.height], np.float64
        ),
    }
    if person.vertex_albedo is not None:
        arrays["vertex_albedo"] = np.asarray(person.vertex_albedo, np.float32)
    if person.landmark_offset is not None:
        arrays["landmark_offset"] = np.asarray(person.landmark_offset, np.float32)
    if person.shut is not None:
        arrays["shut"] = np.asarray(person.shut, np.float32)
    return arrays


def person_from(arrays: dict[str, np.ndarray]) -> Person:
    """The inverse of `person_arrays`; ValueError or KeyError where the arrays are none."""
    shapes: dict[str, tuple[int, ...]] = {"identity": (80,), "albedo": (80,), "neutral": (76,), "intrinsics": (5,)}
    optional = {"vertex_albedo": (LEVEL2_VERTICES, 3), "landmark_offset": (LANDMARKS, 3), "shut": (76,)}
    shapes |= {name: shape for name, shape in optional.items() if name in arrays}
    _require(arrays, shapes)
    focal, center_x, center_y, width, height = arrays["intrinsics"].tolist()
    return Person(
        identity=arrays["identity"],
        albedo=arrays["albedo"],
        intrinsics=Intrinsics(focal, center_x, center_y, int(width), int(height)),
        neutral=arrays["neutral"],
        vertex_albedo=arrays.get("vertex_albedo"),
        landmark_offset=arrays.get("landmark_offset"),
        shut=arrays.get("shut"),
    )


FRAME_ARRAYS: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "index": (np.int32, ()),
    "time_s": (np.float64, ()),
    "expressions": (np.float32, (76,)),
    "rotations": (np.float32, (3, 3)),
    "translations": (np.float32, (3,)),
    "lightings": (np.float32, (9, 3)),
    "landmarks": (np.float32, (478, 2)),
    "boxes": (np.float32, (4,)),
    "status": (np.uint8, ()),
    "residual": (np.float32, ()),
    "visibility": (np.uint8, (-(-LEVEL2_VERTICES // 8),)),
}
"""`frames.npz`: type, and shape after the first axis."""


def frame_arrays(frames: TrackedFrames) -> dict[str, np.ndarray]:
    """`frames.npz`; raises `ValueError` for a row missing or of the wrong shape."""
    arrays = {name: np.ascontiguousarray(getattr(frames, name), kind) for name, (kind, _) in FRAME_ARRAYS.items()}
    _frames(arrays)
    return arrays


def _frames(arrays: dict[str, np.ndarray]) -> TrackedFrames:
    count = len(arrays["index"])
    _require(arrays, {name: (count, *rest) for name, (_, rest) in FRAME_ARRAYS.items()})
    if count == 0:
        raise ValueError("no frame")
    return TrackedFrames(**{name: arrays[name] for name in FRAME_ARRAYS})


def _require(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has the shape {arrays[name].shape} instead of {shape}")
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} has values that are no numbers")


def _read(path: Path, build: Callable[[dict[str, np.ndarray]], Any]) -> Any:
    """Build something from the arrays of a file; never unpickles."""
    with _opened(path) as stored:
        return build({name: stored[name] for name in stored.files})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file of arrays, and what goes wrong with it, as ours: a foreign zip fails in any of a dozen ways."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            yield stored
    except F2FError:
        raise
    except Exception as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def _part(name: str) -> str:
    return name.rpartition("/")[2]
