"""The levels below full quality: tracking still follows a real face, and the picture has no fault."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f2fcam.benchmark.target import write_zoomed
from f2fcam.capture.video import VideoFile
from f2fcam.deadline import Quality
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.frame import Frame
from f2fcam.live import LivePipeline
from f2fcam.mouth.reduced import reduced_crop
from f2fcam.reenact import RenderState, RenderWorkspace, draw, retouch
from f2fcam.render.detail import DETAILS, LEAST_FACE_PX, details, enlarged_into, reduced_picture
from f2fcam.source_person import nobody
from f2fcam.source_side import Casting, SourceSide
from f2fcam.target_clip import TargetClip
from f2fcam.track import effort
from f2fcam.track.actor import Acted, ActorState, follow, make_actor
from f2fcam.track.fit import FitConfig
from f2fcam.track.landmarks import MediaPipeDetector
from f2fcam.track.tracker import Tracked
from tests import enrolled
from tests.conftest import CLIPS

FOLLOWED, SETTLED = 60, 12
ALIKE = (0.985, 0.98, 0.96)
"""Least correlation of the expression with that at full quality, by level."""
EACH_ALIKE = (0.96, 0.95, 0.90)
"""The same, each shape that moves by itself, on average. Measured: 0.996, 0.993, 0.982 and 0.987, 0.981, 0.958."""
LIKENESS_DB, MOST_APART = 43.0, 25.0
"""Of what is touched to full quality; and the most that a spot of 9 x 9 pixels differs, in grey levels."""


def test_full_quality_is_what_it_was():
    config = FitConfig()
    assert effort.levels(config)[0] is config
    assert [sum(level.steps) for level in effort.levels(config)] == [4, 2, 2, 2]
    assert [level.samples for level in effort.levels(config)] == [4096, 4096, 4096, 2048]
    assert DETAILS[0].scale == 1 and DETAILS[0].fade == "flow"
    same = {name: value for name, value in asdict(config).items() if name not in ("steps", "face_px", "samples")}
    for level in effort.levels(config):
        assert asdict(level) | same == asdict(level)


@pytest.fixture(scope="module")
def followed() -> list[np.ndarray]:
    """The actor's expressions in a real clip, (frames, 76) at each level, from the same landmarks."""
    name = "selfie_glasses.mp4"
    if not (CLIPS / name).exists():
        pytest.skip(f"{name} is not at {CLIPS}")
    model, detector = load_face_model(), MediaPipeDetector()
    with VideoFile(CLIPS / name, max_side=960) as video:
        person = nobody(Intrinsics.guess(*video.size))
        actor = make_actor(model, person, person)
        states = [ActorState() for _ in actor.fitters]
        shown: list[list[np.ndarray]] = [[] for _ in actor.fitters]
        for number, frame in zip(range(FOLLOWED), video, strict=False):
            landmarks = detector.detect(frame.rgb)
            for level in range(len(actor.fitters)):
                picture = Frame(frame.rgb, number, frame.timestamp_ns)
                states[level], acted = follow(states[level], picture, landmarks, actor, level)
                assert acted.status == "tracked" and acted.source is not None, f"level {level} lost frame {number}"
                shown[level].append(acted.source)
    detector.close()
    return [np.array(expressions)[SETTLED:] for expressions in shown]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_every_level_follows_a_real_face(followed: list[np.ndarray], level: int):
    full, less = followed[0], followed[level]
    assert np.corrcoef(full.ravel(), less.ravel())[0, 1] > ALIKE[level - 1]
    moving = np.flatnonzero(full.std(axis=0) > 0.03)
    each = [np.corrcoef(full[:, k], less[:, k])[0, 1] for k in moving]
    assert len(each) >= 5 and np.mean(each) > EACH_ALIKE[level - 1]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory):
    """With a face of 400 x 530 pixels, for which there are all levels."""
    folder = tmp_path_factory.mktemp("large")
    profile = write_zoomed(enrolled.profile(), load_face_model(), (640, 640), folder, lambda done, total: None)
    opened = TargetClip(profile)
    yield opened
    opened.close()


def acted(target: TargetClip, row: int) -> Acted:
    """A mouth that opens and shuts, and lids too."""
    names = load_face_model().expression_names
    expression = target.frame(row).view.performance.expression.copy()
    for name, most in (("jawOpen", 0.5), ("eyeBlinkLeft", 0.4), ("eyeBlinkRight", 0.4), ("mouthSmileLeft", 0.3)):
        expression[names.index(name)] += most * (1 + np.sin(row))
    return Acted("tracked", expression, 1.0, expression, None, Tracked("tracked"), row, round(row * 1e9 / enrolled.FPS))


def pictures(target: TargetClip, level_of: Callable[[int], int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outputs and masks of the target's good frames."""
    workspace, state = RenderWorkspace(load_face_model(), target.profile), RenderState()
    assert workspace.details == DETAILS
    made = []
    for row in np.flatnonzero(target.usable)[::3].tolist():
        openings, retouched = retouch(
            state.retouch, acted(target, row), target.frame(row), workspace, None, level_of(row)
        )
        light, output = draw(state.light, retouched, workspace)
        state = RenderState(openings, light)
        outside = output.mask == 0
        assert np.array_equal(output.rgb[outside], target.frame(row).view.rgb[outside])
        made.append((output.rgb.copy(), output.mask > 0))
    return made


@pytest.fixture(scope="module")
def at_full(target: TargetClip) -> list[tuple[np.ndarray, np.ndarray]]:
    return pictures(target, lambda row: 0)


@pytest.mark.parametrize("level", [1, 2, 3, None])
def test_a_lower_level_shows_the_same_face(
    target: TargetClip, at_full: list[tuple[np.ndarray, np.ndarray]], level: int | None
):
    """The frame around the face untouched, no pixel of it far from full quality once details are blurred away; and so where
    the level changes from picture to picture (None)."""
    less = pictures(target, lambda row: row % len(DETAILS) if level is None else level)
    for (rgb, mask), (other, other_mask) in zip(at_full, less, strict=True):
        apart = rgb.astype(np.float32) - other
        touched = mask | other_mask
        assert 10 * np.log10(255**2 / max(float((apart[touched] ** 2).mean()), 1e-9)) > LIKENESS_DB
        assert np.abs(cv2.blur(apart, (9, 9))).max() < MOST_APART
        assert (mask != other_mask).mean() < 0.03


def test_a_small_face_is_not_made_smaller():
    for face_px in (50.0, 240.0, 479.0, 480.0, 2000.0):
        levels = details(face_px)
        assert levels[0] == DETAILS[0] and levels[-1].fade == "none"
        assert all(detail.scale == 1 or detail.scale * face_px >= LEAST_FACE_PX for detail in levels)
        assert len({detail.words for detail in levels}) == len(levels) >= 3
        assert all(b.scale <= a.scale for a, b in itertools.pairwise(levels))
    assert details(2000.0) == DETAILS


@pytest.mark.parametrize("scale", [Fraction(1, 2), Fraction(2, 3)])
@pytest.mark.parametrize("corner", [(0, 0), (37, 52), (40, 54)])
def test_a_reduced_crop_is_the_reduced_pictures(scale: Fraction, corner: tuple[int, int]):
    """Wherever it lies; what the crop's border repeats aside."""
    noise = np.random.default_rng(3).uniform(0, 255, (180, 200, 3)).astype(np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), 3.0)
    picture = np.clip(128 + 8 * (picture - picture.mean()), 0, 255).astype(np.uint8)
    x, y = corner
    crop, left, top = reduced_crop(picture[y : y + 90, x : x + 101], x, y, float(scale))
    small = reduced_picture(picture, scale)[top : top + crop.shape[0], left : left + crop.shape[1]]
    apart = np.abs(small.astype(int) - crop)[3:-3, 3:-3]
    assert apart.mean() < 1.5 and apart.max() < 14


@given(st.sampled_from([Fraction(1, 2), Fraction(2, 3)]), st.integers(31, 60), st.integers(31, 60), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_enlarged_lies_where_it_was(scale: Fraction, width: int, height: int, data: st.DataObject):
    """A ramp at part of the size, enlarged within any region, is the ramp again; around it nothing is written."""
    ramp = np.add.outer(2.0 * np.arange(height), 1.5 * np.arange(width))
    out = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)
    small = reduced_picture(out, scale)
    rows, columns = small.shape[:2]
    x0, y0 = data.draw(st.integers(0, columns - 2)), data.draw(st.integers(0, rows - 2))
    x1, y1 = data.draw(st.integers(x0 + 1, columns)), data.draw(st.integers(y0 + 1, rows))
    mask, out_mask = np.full((y1 - y0, x1 - x0), 255, np.uint8), np.zeros((height, width), np.uint8)
    written = np.full_like(out, 255)
    enlarged_into(small, (x0, y0, x1, y1), mask, scale, written, out_mask)
    assert (written[out_mask == 0] == 255).all()
    apart = np.abs(written.astype(int) - out)[2:-3, 2:-3][out_mask[2:-3, 2:-3] > 0]
    assert not apart.size or apart.max() <= 4  # a region's edge repeats its last pixel
    area = (min(x1 / scale, width) - x0 / scale) * (min(y1 / scale, height) - y0 / scale)
    assert abs(float((out_mask > 0).sum() - area)) <= 3 * (width + height)


def test_quality_travels_with_the_frame_through_the_pipeline():
    """What `track` was told reaches the tracker, the mouth and the picture."""
    profile, model = enrolled.profile(), load_face_model()
    source = SourceSide(model, MediaPipeDetector(), Casting.of(profile, actor=nobody(Intrinsics.guess(288, 288))))
    pipeline = LivePipeline(profile, source, model=model)
    try:
        assert len(pipeline.levels.tracking) == len(effort.WORDS) and len(pipeline.levels.picture) == 3
        lowest = Quality(len(pipeline.levels.tracking) - 1, len(pipeline.levels.picture) - 1)
        tracked = pipeline.track(enrolled.frames(enrolled.ACTOR)[0], lowest)
        retouched = pipeline.retouch(tracked)
        assert tracked.quality == lowest and retouched.detail.words == pipeline.levels.picture[-1]
        assert pipeline.render(retouched).status == "tracked"
    finally:
        pipeline.close()
