"""Mouth and eye retrieval: descriptors, database, choice, the inside's map, light, and patches that show what they should."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import ambient
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.face.state import Performance, Person
from f2fcam.mouth import build, descriptor
from f2fcam.mouth import database as db
from f2fcam.mouth import retrieve as retrieving
from f2fcam.mouth.aperture import APERTURES, PersonAperture, apertures
from f2fcam.mouth.build import DatabaseBuilder, TrackedClip, blur_of, build_databases
from f2fcam.mouth.coverage import mouth_coverage
from f2fcam.mouth.interior import (
    COLUMNS,
    InsideMap,
    Rim,
    _inside_source,
    content,
    darkness,
    even_content,
    rim_coverage,
)
from f2fcam.mouth.light import colour_match, darkest, log_gain, shading_ratio
from f2fcam.mouth.patch import _feather
from f2fcam.mouth.retouch import Displayed, Retoucher, RetouchState, _fade
from f2fcam.mouth.retrieve import DISPLAYED, FADE_S, NONE, RetrievalState, retrieve
from f2fcam.overlap import in_order
from f2fcam.profile import LARGE
from f2fcam.profile_store import open_profile
from f2fcam.reenact import aperture_databases

FRAMES = 30
SIZE = (360, 400)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="module")
def person() -> Person:
    camera = Intrinsics(700.0, SIZE[0] / 2, SIZE[1] / 2, *SIZE)
    return Person(np.zeros(80, np.float32), np.zeros(80, np.float32), camera, np.zeros(76, np.float32))


def performance(model: FaceModel, **weights: float) -> Performance:
    expression = np.zeros(76, np.float32)
    for name, weight in weights.items():
        expression[model.expression_names.index(name)] = weight
    pose = RigidTransform(
        so3_exp(np.array([0.02, 0.05, 0.0])) @ np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 620.0])
    )
    return Performance(expression, pose, ambient(0.8))


def act(model: FaceModel, k: int) -> Performance:
    """A mouth that opens over the clip, and eyes that blink in its middle."""
    blink = float(np.clip(1 - abs(k - 15) / 3, 0, 1))
    return performance(model, jawOpen=0.8 * k / FRAMES, eyeBlinkLeft=blink, eyeBlinkRight=blink)


def picture(model: FaceModel, person: Person, k: int) -> np.ndarray:
    """Smooth noise, another one per frame, with a dark mouth: enough to recognise pixels by."""
    noise = np.random.default_rng(k).uniform(90, 200, (SIZE[1] // 8, SIZE[0] // 8, 3)).astype(np.float32)
    image = cv2.resize(noise, SIZE, interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    shown = act(model, k)
    points = model.geometry(person.identity, shown.expression)[model.loops["lips"]]
    pixels = person.intrinsics.project(shown.camera_from_model.apply(points))
    cv2.fillPoly(image, [pixels.astype(np.int32)], (30, 12, 12))
    return image


def detected(model: FaceModel, person: Person, shown: Performance) -> tuple[np.ndarray, np.ndarray]:
    rows = model.rows(model.landmarks)
    camera = shown.camera_from_model.apply(rows.positions(person.identity, shown.expression))
    return person.intrinsics.project(camera), (camera[:, 2] - 620.0) * person.intrinsics.focal / 620.0


@pytest.fixture(scope="module")
def clip(model: FaceModel, person: Person) -> tuple[TrackedClip, list[np.ndarray]]:
    shown = [act(model, k) for k in range(FRAMES)]
    found = [detected(model, person, p) for p in shown]
    tracked = TrackedClip(
        shown,
        np.stack([f[0] for f in found]).astype(np.float32),
        np.stack([f[1] for f in found]).astype(np.float32),
        np.ones(FRAMES, bool),
    )
    return tracked, [picture(model, person, k) for k in range(FRAMES)]


@pytest.fixture(scope="module")
def databases(model: FaceModel, person: Person, clip):
    return build_databases(model, person, clip[0], enumerate(clip[1]))


def test_halves_of_a_rim_run_from_right_to_left(model: FaceModel):
    points = model.subdivide(model.mean)
    for aperture in apertures(model).values():
        upper, lower = (points[aperture.vertices[half]] for half in (aperture.upper, aperture.lower))
        assert upper[0] == pytest.approx(lower[0])
        assert upper[-1] == pytest.approx(lower[-1])
        assert upper[0, 0] < upper[-1, 0]
        assert upper[1:-1, 1].mean() >= lower[1:-1, 1].mean()
        assert aperture.alpha.min() >= 0
        assert (aperture.alpha[aperture.upper] > 0.99).all()
        assert aperture.alpha.max() <= 1


def test_a_patch_is_part_of_the_face(model: FaceModel, person: Person):
    shown = performance(model, jawOpen=0.5, mouthSmileLeft=0.7, eyeBlinkLeft=0.5)
    whole = person.intrinsics.project(shown.camera_from_model.apply(model.geometry(person.identity, shown.expression)))
    rows = model.rows(model.landmarks).positions(person.identity, shown.expression)
    for aperture in apertures(model).values():
        geometry = PersonAperture(model, person, aperture)
        placed = geometry.place(shown, np.zeros((len(aperture.landmarks), 2), np.float32))
        np.testing.assert_allclose(placed.pixels, whole[aperture.vertices], atol=2e-2)
        np.testing.assert_allclose(geometry.landmarks(shown.expression), rows[aperture.landmarks], atol=1e-3)


def test_misfit_moves_the_patch(model: FaceModel, person: Person):
    shown = performance(model)
    geometry = PersonAperture(model, person, apertures(model)["mouth"])
    none = np.zeros((len(geometry.aperture.landmarks), 2), np.float32)
    shift = none + np.array([3.0, -2.0], np.float32)
    still, moved = geometry.place(shown, none), geometry.place(shown, shift)
    np.testing.assert_allclose(moved.pixels - still.pixels, np.broadcast_to(shift[:1], still.pixels.shape), atol=0.05)
    inner = geometry.place(shown, none, shift)
    opaque, edge = geometry.aperture.alpha > 0.999, geometry.aperture.alpha < 1e-3
    assert (inner.pixels - still.pixels)[opaque].mean(axis=0) == pytest.approx([3, -2], abs=0.1)
    assert np.abs(inner.pixels - still.pixels)[edge].mean() < 0.3


def flat_rim(height: float, top: float = 0.0) -> Rim:
    """An opening 63 px wide from (0, top) to (63, top + height) in picture axes."""
    edge = np.full(COLUMNS, top, np.float32)
    return Rim(np.eye(2, 3), 0.0, 63.0, edge, edge + np.float32(height))


def source_of(inside: InsideMap, x: float, y: float) -> tuple[float, float]:
    maps, numbers = inside.arrays()
    sx, sy, _, _ = _inside_source(
        np.float32(x), np.float32(y), maps, numbers,
        inside.new.upper, inside.new.lower, inside.old.upper, inside.old.lower, inside.content.give,
    )  # fmt: skip
    return float(sx), float(sy)


def test_what_a_patch_replaces_is_drawn_where_the_patch_has_it(model: FaceModel, person: Person):
    """`pull` is what `place` does to the opaque part, in pixels of the vertices that the frame's own mesh shares."""
    geometry = PersonAperture(model, person, apertures(model)["mouth"])
    aperture, shown = geometry.aperture, performance(model, jawOpen=0.2)
    random = np.random.default_rng(2)
    count = aperture.spread.shape[1]
    own, lent = (random.normal(0, 3, (count, 2)).astype(np.float32) for _ in range(2))
    moved = geometry.place(shown, own, lent).pixels - geometry.place(shown, own).pixels
    pull = aperture.operator @ geometry.pull(own, lent)
    assert np.abs(pull).max() > 1
    np.testing.assert_allclose(moved, pull, atol=0.05)
    np.testing.assert_array_equal(geometry.pull(own, own), 0)


def test_blur_is_told_from_openings_that_have_few_edges():
    """Shut mouths are as sharp as pictures of shut mouths are, and a blurred open one is not excused by them."""
    openness = np.linspace(0, 1, 200).astype(np.float32)
    sharpness = 10 + 30 * openness.astype(np.float64)
    sharpness[[20, 150]] /= 2
    blur = blur_of(sharpness, openness)
    np.testing.assert_allclose(blur[[20, 150]], 1.0, atol=0.4)
    assert np.delete(blur, [20, 150]).max() < 0.35
    assert len(blur_of(np.zeros(0), np.zeros(0, np.float32))) == 0


def test_a_blurred_mouth_is_not_enlarged(model, person, databases, clip):
    """What blur costs grows with how far the opening has to be stretched."""
    database = replace(databases["mouth"], gloom=np.zeros_like(databases["mouth"].gloom))
    blurred = replace(database, blur=np.full_like(database.blur, 0.5))
    geometry = PersonAperture(model, person, apertures(model)["mouth"])
    entry = np.array([10])

    def cost(k: int) -> float:
        query = retrieving.make_query(database, geometry, act(model, k).expression, 10, np.eye(3))
        return float(db.distances(blurred, query, entry)[0] - db.distances(database, query, entry)[0])

    own = float(database.blur[10])
    assert own < 0.1
    assert cost(10) == pytest.approx((0.5 - own) * db.W_BLUR, rel=0.02)
    assert cost(25) > 2 * cost(10)


def test_no_edge_of_a_patch_is_steep():
    """A fold leaves a jump of coverage inside the patch: from both of its sides it fades out over the feather's width."""
    alpha = np.full((60, 80), 255, np.uint8)
    alpha[:20] = 90
    _feather(alpha, 10.0)
    down, across = np.diff(alpha.astype(int), axis=0), np.diff(alpha.astype(int), axis=1)
    assert max(np.abs(down).max(), np.abs(across).max()) <= 255 / 10 + 1
    assert (alpha[19:21, 15:65] == 0).all()
    assert alpha[40, 40] == 255 and alpha[12, 40] == 90
    slope = np.tile(np.linspace(0, 255, 50).astype(np.uint8), (40, 1))
    slope = np.concatenate([slope, slope[:, ::-1]], axis=1)
    slope[:8], slope[-8:] = 0, 0
    kept = slope.copy()
    _feather(kept, 10.0)
    np.testing.assert_array_equal(kept[20], slope[20])


@given(x=st.floats(1, 62), y=st.floats(0.5, 19.5))
@settings(max_examples=60, deadline=None)
def test_the_same_mouth_shows_its_own_inside(x: float, y: float):
    inside = InsideMap(flat_rim(20), flat_rim(20), np.eye(2, 3), np.eye(2, 3), 1.0, even_content())
    assert source_of(inside, x, y) == pytest.approx((x, y), abs=1e-3)


def test_closing_lips_cover_teeth_that_stay_where_they_are():
    jaw = np.array([[1.0, 0, 0], [0, 1, 12]])  # the jaw comes up by 12 of 20 px
    inside = InsideMap(flat_rim(8), flat_rim(20), np.eye(2, 3), jaw, 1.0, even_content())
    assert source_of(inside, 30, 3) == pytest.approx((30, 3), abs=1e-3)
    assert source_of(inside, 30, 7.5)[1] <= 20.0


@given(height=st.floats(2, 60), old=st.floats(2, 40), lift=st.floats(-10, 10), place=st.floats(0.01, 0.99))
@settings(max_examples=150, deadline=None)
def test_nothing_comes_from_beyond_the_old_rim(height: float, old: float, lift: float, place: float):
    jaw = np.array([[1.0, 0, 0], [0, 1, old - height]])
    inside = InsideMap(flat_rim(height, lift), flat_rim(old), np.eye(2, 3), jaw, 1.0, even_content())
    _, y = source_of(inside, 30, lift + place * height)
    assert -1e-3 <= y <= old + 1e-3


def test_wider_opening_stretches_the_dark_and_not_the_teeth():
    image = np.full((40, 64, 3), 220, np.uint8)
    image[8:14] = 15
    outline = flat_rim(20)
    shows = content(image, outline, (0, 0))
    assert 0.4 < shows.seam < 0.7
    inside = InsideMap(flat_rim(30), outline, np.eye(2, 3), np.array([[1.0, 0, 0], [0, 1, -10]]), 1.0, shows)
    ys = np.array([source_of(inside, 30, y)[1] for y in np.arange(0.5, 30)])
    steps = np.diff(ys)
    assert (steps > -1e-4).all()
    teeth, dark = steps[(ys[:-1] < 6.5) | (ys[:-1] > 15.5)], steps[(ys[:-1] > 9) & (ys[:-1] < 13)]
    assert 1 / teeth.mean() < 1.3
    assert 1 / dark.mean() > 1.8


def test_darkness_is_counted_and_teeth_are_not():
    image = np.full((40, 64, 3), 180, np.uint8)
    image[10:20] = 15
    assert darkness(image, flat_rim(24), (0, 0)) == pytest.approx(10 / 24, abs=0.05)
    assert darkness(image, flat_rim(8), (0, 0)) == 0
    assert darkness(image, flat_rim(0), (0, 0)) == 1


def test_colour_match_finds_a_gain_that_varies_over_the_face():
    rng = np.random.default_rng(1)
    pixels = rng.uniform(0, 100, (300, 2)).astype(np.float32)
    theirs = rng.uniform(0.1, 0.6, (300, 3)).astype(np.float32)
    gain = np.exp(0.1 * (pixels[:, :1] - 50) / 50 + np.array([0.1, -0.05, 0.15], np.float32))
    ours = theirs * gain
    ours[::10] = 0.9  # a highlight is no light
    plane = colour_match(theirs, ours, pixels, np.ones(300, bool))
    fitted = [[np.exp(log_gain(plane, x, y, channel)) for channel in range(3)] for x, y in pixels]
    np.testing.assert_allclose(fitted, gain, rtol=0.06)
    assert not colour_match(theirs, ours, pixels, np.arange(300) < 5).any()


def test_shading_ratio_has_limits():
    then = np.array([1, 1, 1, -1], np.float32)
    ratio = [shading_ratio(np.float32(now), t, darkest(then)) for now, t in zip((0, 1, 9, 1), then, strict=True)]
    assert min(ratio) == pytest.approx(0.6)
    assert max(ratio) == pytest.approx(1.6)
    assert ratio[1] == 1


def test_patterns_see_texture_and_not_brightness():
    rng = np.random.default_rng(3)
    image = cv2.resize(rng.integers(0, 200, (12, 16, 3), dtype=np.uint8), (96, 64), interpolation=cv2.INTER_CUBIC)
    other = cv2.resize(rng.integers(0, 200, (24, 48, 3), dtype=np.uint8), (96, 64), interpolation=cv2.INTER_CUBIC)
    here, brighter, elsewhere = (descriptor.local_binary_patterns(i) for i in (image, image + 40, other))
    assert here.sum() == pytest.approx(1)
    near, far = descriptor.chi_squared(here, np.stack([brighter, elsewhere]))
    assert near < 0.05 < far <= 1


def test_small_gaps_count_more_than_large_ones():
    felt = descriptor.felt(np.array([[0.0] * 9, [1.0] * 9, [20.0] * 9, [21.0] * 9]), "mouth")
    assert felt[1, 0] - felt[0, 0] > 3 * (felt[3, 0] - felt[2, 0]) > 0
    assert felt[1, 4] - felt[0, 4] == pytest.approx(1)


@given(turn=st.floats(-0.6, 0.6), shift=st.floats(-0.3, 0.3))
@settings(max_examples=30, deadline=None)
def test_gaze_does_not_depend_on_how_the_head_is_held(turn: float, shift: float):
    xy = np.zeros((1, 478, 2))
    xy[0, [263, 362, 473]] = [60, 0], [30, 0], [45 + 30 * shift, 3]
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    assert descriptor.gaze(2.5 * xy @ spin.T + 7, "eye_left")[0] == pytest.approx([shift, 0.1], abs=1e-5)


def test_unknown_rows_are_filled_from_both_sides():
    filled = descriptor.fill_gaps(np.array([[0.0], [9.0], [9.0], [3.0]]), np.array([True, False, False, True]))
    assert filled[:, 0] == pytest.approx([0, 1, 2, 3])


def test_clusters_and_neighbours():
    rng = np.random.default_rng(0)
    middles = rng.uniform(-20, 20, (4, 6))
    vectors = (middles[np.arange(80) % 4] + rng.normal(0, 0.3, (80, 6))).astype(np.float32)
    cluster, medoids = db.k_medoids(vectors, 4)
    assert len(medoids) == 4
    assert all(len(set(cluster[k::4])) == 1 for k in range(4))
    assert (cluster[medoids] == np.arange(4)).all()
    near = db.nearest_neighbours(vectors, 5)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2) + 1e9 * np.eye(80)
    for row in (0, 37, 79):
        assert set(near[row]) == set(np.argsort(apart[row])[:5])
    alone, only = db.k_medoids(vectors[:1], 4)
    assert list(alone) == [0] and list(only) == [0]
    assert (db.nearest_neighbours(vectors[:1]) == 0).all()


def test_database_is_stored_without_pickle(databases):
    assert db.STEPS == LARGE
    for name, database in databases.items():
        stored = io.BytesIO()
        np.savez_compressed(stored, **database.to_arrays())
        stored.seek(0)
        with np.load(stored, allow_pickle=False) as arrays:
            again = db.ApertureDatabase.from_arrays(dict(arrays))
        assert again.name == name
        assert len(again) == FRAMES
        assert (again.pixels == database.pixels).all()
        broken = database.to_arrays()
        with pytest.raises(ValueError):
            db.ApertureDatabase.from_arrays(broken | {"neighbours": broken["neighbours"] + 1000})
        with pytest.raises(ValueError):
            db.ApertureDatabase.from_arrays(broken | {db.STEPS: broken[db.STEPS][:100]})
        with pytest.raises(KeyError):
            db.ApertureDatabase.from_arrays({k: v for k, v in broken.items() if k != "shape"})


def test_crops_are_the_frames_pixels(databases, clip):
    database = databases["mouth"]
    for entry in (0, 29):
        x, y = database.corner[entry]
        width, height = database.size[entry]
        assert (database.crop(entry) == clip[1][entry][y : y + height, x : x + width]).all()


def shown_frames(model, person, databases, clip, displayed: int, wanted: Performance, count: int = 12):
    """States and patches of a still target frame that is to wear a still expression."""
    retoucher = Retoucher(model, person, databases)
    state, out = RetouchState(), []
    for k in range(count):
        target = Displayed(displayed, clip[1][displayed], clip[0].performances[displayed])
        state, patches = retoucher.retouch(state, target, wanted.expression, k / 30)
        out.append((state, patches))
    return out


@pytest.mark.parametrize("wanted", [5, 24])
def test_the_mouth_of_the_wanted_expression_is_found(model, person, databases, clip, wanted: int):
    shown = shown_frames(model, person, databases, clip, 0, act(model, wanted))
    entries = [state.openings["mouth"].entry for state, _ in shown]
    assert abs(entries[-1] - wanted) <= 2
    assert len(set(entries[4:])) == 1


def test_a_lit_mouth_is_taken_instead_of_a_black_one_of_the_same_shape(model, person, databases, clip):
    mouth = databases["mouth"]
    mouth = replace(mouth, gloom=np.full(FRAMES, 0.7, np.float32))
    lit = databases | {
        "mouth": replace(mouth, gloom=np.where(np.arange(FRAMES) == 26, 0, mouth.gloom).astype(np.float32))
    }
    shown = shown_frames(model, person, lit, clip, 0, act(model, 24))
    assert shown[-1][0].openings["mouth"].entry == 26


def test_a_blink_is_found(model, person, databases, clip):
    open_eyed = shown_frames(model, person, databases, clip, 15, performance(model, jawOpen=0.4))
    blinking = shown_frames(model, person, databases, clip, 2, act(model, 15))
    for eye in ("eye_left", "eye_right"):
        entry = open_eyed[-1][0].openings[eye].entry
        assert entry != DISPLAYED and abs(entry - 15) >= 3
        assert abs(blinking[-1][0].openings[eye].entry - 15) <= 1
    left, right = (open_eyed[-1][0].openings[eye].entry for eye in ("eye_left", "eye_right"))
    assert abs(left - right) <= 2


def test_no_eye_is_black_while_it_opens_in_a_blink(model, person, databases, clip):
    """The pictures' eyes are as bright as the rest; a shut one that is torn open would show a dark hole."""
    retoucher, state = Retoucher(model, person, databases), RetouchState()
    wanted = [act(model, 15), act(model, 15), *[performance(model, jawOpen=0.4)] * 4]
    for k, acted in enumerate(wanted):
        row = 13 + k // 2  # in the middle of its blink
        target = Displayed(row, clip[1][row], clip[0].performances[row])
        state, patches = retoucher.retouch(state, target, acted.expression, k / 30)
        for patch in [p for p in patches if p.y + p.alpha.shape[0] < SIZE[1] * 0.55]:
            assert patch.rgb[patch.alpha > 0.5].min() > 60


def test_same_expression_leaves_the_frame_alone(model, person, databases, clip):
    for displayed in (0, 12, 29):
        for state, patches in shown_frames(
            model, person, databases, clip, displayed, clip[0].performances[displayed], 3
        ):
            assert patches == ()
            assert all(state.openings[name].entry == DISPLAYED for name in APERTURES)


def test_a_patch_of_the_frame_itself_is_its_pixels(model, person, databases, clip):
    retoucher = Retoucher(model, person, databases)
    wanted = clip[0].performances[20].expression.copy()
    wanted[model.expression_names.index("jawOpen")] += 2e-4  # too little to move a pixel
    state, patches = retoucher.retouch(
        RetouchState(), Displayed(20, clip[1][20], clip[0].performances[20]), wanted, 0.0
    )
    assert state.openings["mouth"].entry == DISPLAYED
    for patch in patches:
        height, width = patch.alpha.shape
        under = clip[1][20][patch.y : patch.y + height, patch.x : patch.x + width]
        opaque = patch.alpha > 0
        assert opaque.sum() > 500
        error = (patch.rgb[opaque].astype(float) - under[opaque]) ** 2
        assert 10 * np.log10(255**2 / max(error.mean(), 1e-9)) > 45


def test_a_change_of_frame_fades_on_time(model, person, databases, clip, monkeypatch):
    """But for a mouth that has moved too far to be seen through another: that changes at once."""
    alike = replace(databases["mouth"], gloom=np.zeros(FRAMES, np.float32))
    retoucher = Retoucher(model, person, databases | {"mouth": alike})
    shut, wide = act(model, 1).expression, act(model, 28).expression
    target = Displayed(0, clip[1][0], clip[0].performances[0])
    start, closed = retoucher.retouch(RetouchState(), target, shut, 0.0)
    state, _ = retoucher.retouch(start, target, wide, 0.04)
    assert state.openings["mouth"].previous == NONE and state.openings["mouth"].mix == 1
    monkeypatch.setattr(retrieving, "GIVEN_UP", 1e6)
    state, _ = retoucher.retouch(start, target, wide, 0.04)
    first, fade_s = state.openings["mouth"], FADE_S["mouth"]
    assert first.previous != NONE and first.mix == pytest.approx(0.04 / fade_s)
    state, _ = retoucher.retouch(state, target, wide, 0.04 + fade_s / 4)
    assert state.openings["mouth"].mix == pytest.approx(0.04 / fade_s + 0.25)
    state, patches = retoucher.retouch(state, target, wide, 0.041 + fade_s)
    assert state.openings["mouth"].previous == NONE
    assert state.openings["mouth"].entry == first.entry
    dark = [(p.rgb[p.alpha > 250].max(axis=1) < 45).mean() for p in (closed[0], patches[0])]
    assert dark[1] > dark[0] + 0.1


@pytest.mark.parametrize("stride", [1, 2])
def test_a_fade_moves_what_it_mixes(stride: int):
    """Half-way between a spot and the same spot 6 pixels aside there is one spot, not two."""
    y, x = np.mgrid[:80, :96].astype(np.float32)
    texture = 40 * np.sin(x / 5) * np.cos(y / 6)

    def spot(at: float) -> np.ndarray:
        bright = 110 + texture + 90 * np.exp(-((x - at) ** 2 + (y - 40) ** 2) / 60)
        return np.repeat(bright[..., None], 3, axis=2).astype(np.uint8)

    last, now = np.roll(spot(45), 0, axis=1), np.roll(spot(45), 6, axis=1)
    faded = _fade(last, now, 0.5, stride, "flow").astype(float)
    inside, half_way = np.s_[15:-15, 20:-20], np.roll(spot(45), 3, axis=1)
    mixed = 0.5 * last.astype(float) + 0.5 * now
    moved_error, mixed_error = (np.abs(picture - half_way)[inside].mean() for picture in (faded, mixed))
    assert moved_error < 0.4 * mixed_error


@pytest.mark.parametrize("size", [(3, 40), (15, 15), (40, 5)])
def test_the_smallest_patches_fade(size: tuple[int, int]):
    last, now = np.zeros((*size, 3), np.uint8), np.full((*size, 3), 100, np.uint8)
    np.testing.assert_allclose(_fade(last, now, 0.5, 1, "flow"), 50, atol=1)


def test_state_is_a_value(model, person, databases, clip):
    retoucher = Retoucher(model, person, databases)
    target = Displayed(3, clip[1][3], clip[0].performances[3])
    expression = act(model, 22).expression
    state, _ = retoucher.retouch(RetouchState(), target, act(model, 10).expression, 0.0)
    one, a = retoucher.retouch(state, target, expression, 0.05)
    retoucher.retouch(state, target, act(model, 2).expression, 0.05)
    other, b = retoucher.retouch(state, target, expression, 0.05)
    assert one == other
    assert all((p.rgb == q.rgb).all() and (p.alpha == q.alpha).all() for p, q in zip(a, b, strict=True))


def test_frames_that_were_not_tracked_are_left_out(model, person, clip):
    usable = clip[0].usable.copy()
    usable[10:20] = False
    built = build_databases(model, person, replace(clip[0], usable=usable), enumerate(clip[1]))
    assert not set(range(10, 20)) & set(built["mouth"].frames.tolist())
    assert len(built["mouth"]) == FRAMES - 10
    assert built["mouth"].entry_of(12) == -1
    shown = shown_frames(model, person, built, clip, 12, act(model, 13), 2)
    assert np.isfinite([p.rgb.mean() for p in shown[-1][1]]).all()


def test_databases_do_not_depend_on_the_number_of_threads(model, person, clip, databases):
    builder = DatabaseBuilder(model, person, clip[0], threads=3)
    for glances in in_order(lambda row: builder.look(row, clip[1][row]), range(FRAMES), 3, ahead=3):
        builder.add(glances)
    for name, built in builder.build().items():
        theirs = databases[name].to_arrays()
        assert all(np.array_equal(array, theirs[key]) for key, array in built.to_arrays().items())


def test_a_long_clips_crops_are_thinned_out_on_the_way(model, person, clip, databases, monkeypatch):
    """Memory holds a few budgets of crops, whatever the clip's length; rare mouths stay."""
    largest = int(databases["mouth"].size.prod(axis=1).max()) * 3
    monkeypatch.setitem(build.PIXEL_BUDGET, "mouth", 5 * largest)
    builder = DatabaseBuilder(model, person, clip[0])
    for row, picture in enumerate(clip[1]):
        builder.add(builder.look(row, picture))
        assert builder.held()["mouth"] <= build.MOST_HELD * 5 * largest
    built = builder.build()
    assert 3 <= len(built["mouth"]) <= 5 and len(built["eye_left"]) == FRAMES
    openness = databases["mouth"].measures[:, 0]
    assert np.isin(built["mouth"].frames, databases["mouth"].frames[openness > np.median(openness)]).any()
    assert np.array_equal(built["mouth"].misfit, databases["mouth"].misfit)  # every frame's lips are known all the same


def test_no_entries_at_all_shows_the_frame_itself(model, person, clip):
    built = build_databases(model, person, clip[0], [])
    shown = shown_frames(model, person, built, clip, 4, act(model, 20), 2)
    assert all(shown[-1][0].openings[name].entry == DISPLAYED for name in APERTURES)
    assert len(shown[-1][1]) == 3


def test_coverage_says_what_is_missing():
    rng = np.random.default_rng(0)
    rich = mouth_coverage(rng.uniform(0, 0.32, 4000), 0.6 + rng.uniform(-0.14, 0.14, 4000))
    assert rich.score > 0.95 and rich.missing == ()
    poor = mouth_coverage(np.abs(rng.normal(0, 0.01, 400)), 0.6 + rng.normal(0, 0.01, 400))
    assert poor.score < 0.4
    assert any("wide-open" in text for text in poor.missing)
    assert mouth_coverage(np.zeros(0), np.zeros(0)).score < 0.2


@pytest.mark.parametrize("gap", [0.0, 0.6, 6.0])
def test_an_opening_covers_what_it_is_high(gap):
    """No dots: along the mouth every column of pixels is covered alike, by the opening's height; none where it is shut."""
    edges = np.full(COLUMNS, 20.3, np.float32), np.full(COLUMNS, 20.3 + gap, np.float32)
    outline = Rim(np.array([[1.0, 0, 0], [0, 1, 0]]), 8.0, 52.0, *edges)
    coverage = rim_coverage(outline, (0, 0, 60, 40))
    heights = coverage.sum(axis=0) / 255
    assert heights[8:52] == pytest.approx(gap, abs=0.01)
    assert heights[:8].max() == heights[52:].max() == 0


@pytest.mark.parametrize("displayed", [119, 129])
def test_shut_lips_come_from_a_frame_where_they_are_shut(displayed: int):
    """alice's fits leave 2 mm between lips that touch; her film shows it, and a mouth with teeth is no choice."""
    profile = open_profile("alice", Path(__file__).resolve().parents[1] / "profiles")
    mouth = aperture_databases(profile)["mouth"]
    shut = np.flatnonzero(mouth.heights.max(axis=1) == 0)
    assert len(shut) > 10 and mouth.fitted_heights[shut].mean() > 1.0
    geometry = PersonAperture(load_face_model(), profile.person, apertures(load_face_model())["mouth"])
    performance = profile.frames.performance(displayed)
    for entry in shut[::4]:
        state = retrieve(RetrievalState(), mouth, geometry, displayed, performance, mouth.expression[entry], 0.0)
        assert mouth.heights[state.entry].max() < 0.5


@pytest.mark.parametrize(
    ("start", "size"),
    [
        (np.zeros(2), np.ones((2, 2), np.int32)),
        (np.zeros(2, np.int64), np.ones(2, np.int32)),
        (np.zeros(2, np.int64), np.ones((2, 2))),
        (np.int64(0), np.ones((1, 2), np.int32)),
    ],
)
def test_crops_without_places_are_refused(start: np.ndarray, size: np.ndarray):
    with pytest.raises(ValueError, match="crop"):
        db.unpacked(np.zeros(64, np.uint8), np.asarray(start), size)
