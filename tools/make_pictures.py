"""Before and after, for each mechanism: the pictures of `docs/pictures`, all of people who do not exist.

    python tools/make_pictures.py [--output FOLDER]

alice's film is generated, so that the truth is known: what her face would look like with the expression of another frame
stands beside what the program makes of it, with a mechanism and without. Takes a minute.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from f2fcam.enrolled_complexion import ComplexionBuilder  # noqa: E402
from f2fcam.face.morphable import FaceModel, load_face_model  # noqa: E402
from f2fcam.mouth.retouch import Displayed, RetouchState  # noqa: E402
from f2fcam.profile import Profile  # noqa: E402
from f2fcam.profile_store import open_profile  # noqa: E402
from f2fcam.reenact import RenderWorkspace, TargetFrame  # noqa: E402
from f2fcam.render import view as rendering  # noqa: E402
from f2fcam.synthetic.alice import LIGHT, alice, alice_script  # noqa: E402
from f2fcam.synthetic.clip import SyntheticClip  # noqa: E402
from f2fcam.synthetic.scene import Camera  # noqa: E402
from f2fcam.target_clip import TargetClip  # noqa: E402
from f2fcam.transfer import prepare_transfer, transfer  # noqa: E402
from tools.make_alice import FPS, SIZE  # noqa: E402

WIDTH_PX = 330
"""Of each crop on its page: faults are looked for, not hidden."""
CAPTION_PX, GAP_PX = 26, 4
JPEG_QUALITY = 88

Box = tuple[int, int, int, int]
FACE: Box = (285, 80, 565, 440)
"""Left, top, right and bottom of the crops, pixels of alice's film."""
MOUTH: Box = (345, 290, 500, 430)
EYES: Box = (310, 150, 535, 245)
CHIN: Box = (300, 290, 550, 470)


class Studio:
    """alice's profile, and the generator that filmed her."""

    def __init__(self) -> None:
        self.model: FaceModel = load_face_model()
        self.profile: Profile = open_profile("alice", ROOT / "profiles")
        self.clip = TargetClip(self.profile)
        camera = Camera.facing(*SIZE, distance_mm=550.0, drop_mm=16.0)
        self.scene = SyntheticClip(alice(), alice_script(), camera, LIGHT, cells=6, supersampling=2.0, blur_px=0.5)
        self.workspace = RenderWorkspace(self.model, self.profile)

    def expression(self, row: int) -> np.ndarray:
        """What was fitted to a frame."""
        return self.clip.frame(row).view.performance.expression

    def truth(self, row: int, like: int) -> np.ndarray:
        """The generator's picture of the head of frame `row` with the expression of frame `like`."""
        expression = self.scene.performance(like / FPS).expression
        return self.scene.picture(replace(self.scene.performance(row / FPS), expression=expression))

    def show(
        self,
        row: int,
        expression: np.ndarray,
        *,
        patches: bool = True,
        light: bool = True,
        plain: bool = False,
        skin: bool = True,
    ) -> np.ndarray:
        """The program's picture of a row, see `picture`; without `light` its shading stays as it is."""
        target = self.clip.frame(row)
        if not light:
            target = replace(target, view=_flat(target.view))
        return self.picture(target, expression, patches=patches, plain=plain, skin=skin)

    def picture(
        self,
        target: TargetFrame,
        expression: np.ndarray,
        *,
        patches: bool = True,
        plain: bool = False,
        skin: bool = True,
    ) -> np.ndarray:
        """The program's picture: with enrolled mouths and eyes, changes of skin, or the paper's plain model."""
        view, row = target.view, target.row
        found, tint = (), None
        if skin and not plain and self.workspace.complexion is not None:
            own = target.view.performance.expression
            moved = self.workspace.memory.motion(own, expression)
            tint = self.workspace.complexion.log_gain(row, own, expression, moved)
        if patches and self.workspace.retoucher is not None:
            displayed = Displayed(target.row, target.view.rgb, target.view.performance, tint)
            _, found = self.workspace.retoucher.retouch(RetouchState(), displayed, expression, 0.0)
        appearance = "model" if plain else "video"
        memory = self.workspace.memory
        return rendering.render_frame(view, expression, memory, found, appearance, tint=tint).rgb.copy()


def _flat(view: rendering.TargetView) -> rendering.TargetView:
    """The frame as if the light came from everywhere: shapes change no shading."""
    lighting = view.performance.lighting.copy()
    lighting[1:] = 0
    return replace(view, performance=replace(view.performance, lighting=lighting))


@dataclass(frozen=True, slots=True)
class Sheet:
    """A picture of `docs/pictures`: rows of pictures of one size under one line of captions."""

    name: str
    captions: tuple[str, ...]
    rows: list[list[np.ndarray]]


def appearance(studio: Studio) -> Sheet:
    """The paper draws the model with its colours; here the target's own pixels are carried along."""
    wanted = studio.expression(SMILE)
    pictures = [studio.show(REST, wanted, plain=True), studio.show(REST, wanted)]
    return _compared(studio, "appearance", ("the paper's model", "her own pixels"), FACE, [(REST, SMILE, pictures)])


def mouth(studio: Studio) -> Sheet:
    """A mouth opens on a frame where it is shut, smiles where it talks, and shuts where it is open."""
    rows = []
    for row, like in ((REST, AH), (OH, SMILE), (SMILE, REST)):
        wanted = studio.expression(like)
        rows.append((row, like, [studio.show(row, wanted, patches=False), studio.show(row, wanted)]))
    return _compared(studio, "mouth", ("the frame alone, warped", "enrolled mouths"), MOUTH, rows)


def eyes(studio: Studio) -> Sheet:
    """Lids close on an open eye, half and fully, and open on a closed one."""
    rows = []
    for row, like in ((REST, BLINK), (REST, HALF_SHUT), (BLINK, REST)):
        wanted = studio.expression(like)
        rows.append((row, like, [studio.show(row, wanted, patches=False), studio.show(row, wanted)]))
    return _compared(studio, "eyes", ("the frame alone, warped", "enrolled eyes"), EYES, rows)


def light(studio: Studio) -> Sheet:
    """The same pixels under the same light on another shape: cheeks that rise catch it, folds lose it."""
    rows = []
    for row, like in ((REST, SMILE), (SMILE, REST)):
        wanted = studio.expression(like)
        pictures = [studio.show(row, wanted, light=False, skin=False), studio.show(row, wanted, skin=False)]
        rows.append((row, like, pictures))
    return _compared(studio, "light", ("light unchanged", "light follows the shape"), FACE, rows)


def skin(studio: Studio) -> Sheet:
    """What no light explains: for this page alice's chin is reddened as her jaw drops, and the program has to find out."""
    frames, usable = studio.profile.frames, studio.clip.usable
    builder = ComplexionBuilder(studio.model, studio.profile.person, frames, usable)
    for row in np.flatnonzero(usable):
        builder.add(int(row), _reddened(studio, studio.clip.frame(int(row)).view))
    hers, studio.workspace.complexion = studio.workspace.complexion, builder.build()
    crops = []
    for row, like in ((AH, REST), (REST, AH)):
        wanted, target = studio.expression(like), studio.clip.frame(row)
        red = replace(target, view=replace(target.view, rgb=_reddened(studio, target.view)))
        made = [studio.picture(red, wanted, skin=learnt) for learnt in (False, True)]
        acted = replace(target.view.performance, expression=wanted)
        truth = _reddened(studio, replace(target.view, rgb=studio.truth(row, like), performance=acted))
        crops.append([_crop(picture, FACE) for picture in (red.view.rgb, *made, truth)])
    studio.workspace.complexion = hers
    return Sheet("skin", ("her frame, reddened", "light alone", "skin as learnt", "truth"), crops)


def _reddened(studio: Studio, view: rendering.TargetView) -> np.ndarray:
    """The picture with a chin that is as red as the jaw is low."""
    jaw = studio.model.expression_names.index("jawOpen")
    fitted, neutral = view.performance.expression, studio.profile.person.neutral
    chin = studio.model.regions["chin"][: len(studio.model.mean), None].astype(np.float32) / 255
    tint = chin * np.float32(np.clip(fitted[jaw] - neutral[jaw], 0, 1)) * np.float32(REDDENS)
    return rendering.render_frame(view, fitted, studio.workspace.memory, tint=tint).rgb.copy()


REDDENS = (0.12, -0.10, -0.06)
"""Logarithm of the encoded colours' change with the jaw at its lowest."""


def chin(studio: Studio) -> Sheet:
    """The jaw drops and rises: its surroundings go with it, or the old chin is seen beside the new one."""
    rows = []
    for row, like in ((REST, AH), (AH, REST)):
        wanted = studio.expression(like)
        with patch("f2fcam.render.warp.stretch", _unstretched):
            bare = studio.show(row, wanted)
        rows.append((row, like, [bare, studio.show(row, wanted)]))
    return _compared(studio, "chin", ("the face alone moves", "its surroundings go with it"), CHIN, rows)


def reach(studio: Studio) -> Sheet:
    """A stronger actor purses lips that hers were never seen to: with as much of it as asked for, and kept within reach."""
    person, names = studio.profile.person, studio.model.expression_names
    strong = person.neutral.copy()
    for name, weight in STRONG_O.items():
        strong[names.index(name)] += weight
    seen = studio.profile.frames.expressions
    free, kept = (transfer(prepare_transfer(person, person, studio.model, known), strong) for known in (None, seen))
    acted = replace(studio.scene.performance(REST / FPS), expression=strong - person.neutral)
    pictures = [studio.show(REST, free), studio.show(REST, kept), studio.scene.picture(acted)]
    crops = [_crop(picture, MOUTH) for picture in (studio.clip.frame(REST).view.rgb, *pictures)]
    return Sheet("reach", ("her frame", "as far as asked", "within her reach", "what the actor does"), [crops])


STRONG_O = {"mouthPucker": 1.0, "mouth-pursing": 0.8, "mouth-protusion": 0.6, "jawOpen": 0.35}
"""Weights of an O beyond anything in alice's film."""


def _unstretched(shift: np.ndarray, face: np.ndarray, opening: np.ndarray, cell: int, *_: object) -> np.ndarray:
    """Instead of the membrane: nothing around the face moves."""
    rows, columns = (max(2, -(-side // cell)) for side in face.shape)
    return np.zeros((rows, columns, 2), np.float32)


REST, BLINK, HALF_SHUT, OH, AH, SMILE = 0, 26, 25, 30, 119, 129
"""Frames of alice's film."""


def _compared(
    studio: Studio, name: str, captions: tuple[str, str], box: Box, rows: list[tuple[int, int, list[np.ndarray]]]
) -> Sheet:
    """Beside each row's pictures: the frame that they were made of, and what alice would have looked like."""
    crops = []
    for row, like, made in rows:
        pictures = [studio.clip.frame(row).view.rgb, *made, studio.truth(row, like)]
        crops.append([_crop(picture, box) for picture in pictures])
    return Sheet(name, ("her frame", *captions, "truth"), crops)


def _crop(picture: np.ndarray, box: Box) -> np.ndarray:
    left, top, right, bottom = box
    crop, scale = np.ascontiguousarray(picture[top:bottom, left:right]), WIDTH_PX / (right - left)
    return cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def _sheet(sheet: Sheet) -> np.ndarray:
    """The pictures side by side on white, captions above."""
    height, width = sheet.rows[0][0].shape[:2]
    columns = len(sheet.captions)
    page = np.full(
        (CAPTION_PX + len(sheet.rows) * (height + GAP_PX), columns * (width + GAP_PX) - GAP_PX, 3), 255, np.uint8
    )
    for column, caption in enumerate(sheet.captions):
        at = (column * (width + GAP_PX) + 2, CAPTION_PX - 8)
        cv2.putText(page, caption, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        for row, pictures in enumerate(sheet.rows):
            y, x = CAPTION_PX + row * (height + GAP_PX), column * (width + GAP_PX)
            page[y : y + height, x : x + width] = pictures[column]
    return page


def sheets(studio: Studio) -> Iterator[Sheet]:
    """All of them, in the order of `docs/pictures.md`."""
    for make in (appearance, mouth, eyes, light, skin, chin, reach):
        yield make(studio)


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "pictures", help="where the pictures are stored")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    studio = Studio()
    for sheet in sheets(studio):
        path = arguments.output / f"{sheet.name}.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(_sheet(sheet), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
