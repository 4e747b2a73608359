"""The synthetic person: its truth is true, its pictures show it, its script repeats."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest

from f2fcam.capture import open_source
from f2fcam.capture.synthetic import (
    DEFAULT_PERSON,
    FILM,
    FILM_FPS,
    FILM_LOOP_S,
    FILM_SIZE,
    Film,
    SyntheticSource,
    perform,
)
from f2fcam.capture.video import VideoFile
from f2fcam.errors import ConfigError
from f2fcam.face.morphable import load_face_model
from f2fcam.synthetic.acting import Script
from f2fcam.synthetic.alice import alice, alice_script
from f2fcam.synthetic.clip import SyntheticClip, write_clip
from f2fcam.synthetic.lids import lid_margin, split_margin
from f2fcam.synthetic.lights import LIGHTS, SOFT
from f2fcam.synthetic.person import SyntheticPerson, expression_weights
from f2fcam.synthetic.scene import Camera
from tests import synthetic


def test_heads_lie_outside_the_identity_basis():
    model = load_face_model()
    face = np.unique(model.triangles(0)[model.face_triangles0])
    basis = model.identity_basis[face].reshape(len(face) * 3, -1)
    for index in synthetic.PEOPLE:
        offset = (SyntheticPerson.held_out(index).skin0 - model.mean)[face]
        left = offset.ravel() - basis @ np.linalg.lstsq(basis, offset.ravel(), rcond=None)[0]
        residual = np.sqrt((left.reshape(-1, 3) ** 2).sum(1).mean())
        assert 0.2 < residual < 0.6 * np.sqrt((offset**2).sum(1).mean())


@pytest.mark.parametrize("light", LIGHTS, ids=lambda light: light.name)
def test_the_detector_finds_the_features_where_the_truth_has_them(light):
    model = load_face_model()
    shots = synthetic.keyframes(1, light)
    corners = model.triangles(2)[model.landmarks.triangle]
    for shot in shots:
        assert shot.landmarks is not None
        points = (shot.vertices_camera[corners] * model.landmarks.barycentric[..., None]).sum(1)
        offset = np.linalg.norm(shot.truth.intrinsics.project(points) - shot.landmarks.xy, axis=1)
        millimetres = offset / shot.truth.intrinsics.pixels_per_mm(shot.performance.camera_from_model.translation[2])
        assert np.median(millimetres[model.landmark_valid]) < 3.5


def test_without_gloss_the_picture_is_proportional_to_the_light():
    scene = synthetic.clip(1)
    flat = replace(SOFT, highlight=0.0)
    performance = scene.performance(0.5)
    once = scene.renderer.render_linear(performance, flat).copy()
    backdrop = np.isclose(once, scene.renderer._backdrop).all(axis=-1)
    twice = scene.renderer.render_linear(replace(performance, lighting=performance.lighting * 2), flat)
    middle = (slice(220, 300), slice(220, 300))
    assert not backdrop[middle].any()
    np.testing.assert_allclose(twice[middle], 2 * once[middle], rtol=1e-3, atol=1e-5)


def test_the_same_time_gives_the_same_picture_and_another_one_does_not():
    scene = synthetic.clip(1)
    first = scene.frame(1.0)
    assert np.array_equal(first, scene.frame(1.0))
    assert np.abs(first.astype(int) - scene.frame(1.4)).mean() > 1


@pytest.mark.parametrize("script", [Script(seed=3, loop_s=8.0, yaw_deg=15), alice_script()])
def test_a_looping_script_ends_where_it_began(script):
    model, loop = load_face_model(), script.loop_s
    for t in np.linspace(0, 3, 17):
        np.testing.assert_allclose(script.expression(model, t + loop), script.expression(model, t), atol=1e-6)
        np.testing.assert_allclose(script.head(t + loop).rotation, script.head(t).rotation, atol=1e-9)
    before, after = script.expression(model, loop - 1 / 60), script.expression(model, 1 / 60)
    assert np.abs(before - after).max() < 0.6


def test_weights_stay_in_their_bounds_and_do_something():
    model = load_face_model()
    weights = np.array([Script(seed=5).expression(model, t) for t in np.arange(0, 20, 1 / 15)])
    assert weights.min() >= 0 and weights.max() <= 1.2
    jaw = weights[:, model.expression_names.index("jawOpen")]
    assert jaw.max() > 0.15 and jaw.min() < 0.05


def test_a_blink_shuts_the_eyes_for_five_to_seven_frames():
    model, person = load_face_model(), alice()
    closed = np.array([alice_script().blink(k / 30) for k in range(360)]) > 0.02
    starts = np.flatnonzero(closed[1:] & ~closed[:-1])
    lengths = [int(np.argmin(closed[s + 1 :])) for s in starts if not closed[s + 1 :].all()]
    assert len(lengths) >= 2 and all(5 <= n <= 8 for n in lengths)
    upper, lower = split_margin(model.subdivide(model.mean), lid_margin("left"))
    rest = person.geometry(np.zeros(76, np.float32))
    shut = person.geometry(expression_weights(model, {"eyeBlinkLeft": alice_script().blink_depth}))
    middle = len(upper) // 2, len(lower) // 2
    opening = [points[upper[middle[0]], 1] - points[lower[middle[1]], 1] for points in (rest, shut)]
    assert opening[0] > 5 and opening[1] < 0.15 * opening[0]


def test_a_written_clip_shows_its_truth(tmp_path):
    scene = replace(synthetic.clip(1), noise=0.0)
    path = tmp_path / "clip.mp4"
    truths = write_clip(path, [scene, replace(scene, light=LIGHTS[1])], seconds=0.4, fps=10)
    with av.open(str(path)) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(pictures) == len(truths) == 4
    assert np.array_equal(truths[3].performance.lighting, LIGHTS[1].lighting)
    difference = np.sqrt(((pictures[1].astype(float) - scene.frame(truths[1].time_s)) ** 2).mean())
    assert difference < 4


def test_the_source_gives_frames_in_order_at_the_wished_size():
    source = open_source("synthetic:1", (160, 120), 240)
    frames = [source.grab() for _ in range(3)]
    source.close()
    assert source.info.live and source.fps == 240
    assert all(frame.size == (160, 120) for frame in frames)
    assert frames[0].index < frames[1].index < frames[2].index
    assert frames[0].timestamp_ns < frames[1].timestamp_ns < frames[2].timestamp_ns


def test_the_film_of_the_usual_person_shows_what_the_painter_would_and_ends_where_it_begins():
    source, painter = open_source("synthetic"), perform(DEFAULT_PERSON, FILM_SIZE, noise=0.0, loop_s=FILM_LOOP_S)
    assert isinstance(source, SyntheticSource)
    assert source.info.live and source.size == FILM_SIZE and source.fps == FILM_FPS
    with VideoFile(FILM) as video:
        assert len(video) == round(FILM_LOOP_S * FILM_FPS) and video.fps == FILM_FPS
        film = Film(video)
        times_s = (0.0, 0.01, 2.2, FILM_LOOP_S - 1 / FILM_FPS, FILM_LOOP_S, FILM_LOOP_S + 2.2)
        shown = [film.picture(t).astype(np.float32) for t in times_s]
    for t, picture in zip(times_s[2:4], shown[2:4], strict=True):
        assert np.abs(picture - painter.frame(t)).mean() < 1.5
    assert np.array_equal(shown[0], shown[1]) and np.array_equal(shown[0], shown[4])
    assert np.array_equal(shown[2], shown[5])
    assert np.abs(shown[4] - shown[3]).mean() < 1.5 < np.abs(shown[2] - shown[0]).mean()
    source.close()


@pytest.mark.parametrize("uri", ["synthetic:99", "synthetic:nobody"])
def test_an_unknown_person_is_refused(uri):
    with pytest.raises(ConfigError):
        open_source(uri, (160, 120), 30)


def test_alice_is_seen_by_the_detector():
    scene = SyntheticClip(alice(), alice_script(), Camera.facing(480, 360))
    assert synthetic.detector().detect(scene.frame(0.0)) is not None
