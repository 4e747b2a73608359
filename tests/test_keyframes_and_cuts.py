"""Keyframe choice and shot cuts."""

from __future__ import annotations

import numpy as np

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import ambient
from f2fcam.face.morphable import load_face_model
from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.face.state import Performance, Person
from f2fcam.overlay import fit_picture
from f2fcam.track.keyframes import Candidate, choose_keyframes, light_direction
from f2fcam.track.pose import pose_from_landmarks, similarity
from f2fcam.track.tracker import is_cut, thumbnail

FRONTAL = np.diag([1.0, -1.0, -1.0])


def candidate(yaw=0.0, jaw=0.0, misfit=1.0, sharp=10.0, light=(0.0, 0.0, 0.0)):
    expression = np.zeros(76, np.float32)
    expression[0] = jaw
    pose = RigidTransform(so3_exp(np.array([0.0, yaw, 0.0])) @ FRONTAL, np.array([0.0, 0, 600]))
    return Candidate(Performance(expression, pose, ambient()), misfit, sharp, np.array(light))


def test_keyframes_cover_pose_and_expression():
    pool = [candidate(yaw=0.001 * i) for i in range(30)] + [candidate(yaw=0.4), candidate(yaw=-0.4), candidate(jaw=0.8)]
    chosen = choose_keyframes(pool, 4)
    assert {30, 31, 32} < set(chosen) and len(set(chosen)) == 4


def test_blurred_and_misfitted_frames_are_left_out():
    pool = [candidate(yaw=0.01 * i) for i in range(20)]
    pool += [candidate(yaw=1.0, sharp=1.0), candidate(yaw=-1.0, misfit=9.0)]
    chosen = choose_keyframes(pool, 6)
    assert not {20, 21} & set(chosen)


def test_keyframes_cover_the_light():
    pool = [candidate(yaw=0.001 * i) for i in range(20)] + [candidate(light=(0.0, 0.0, 0.5))]
    assert 20 in choose_keyframes(pool, 2)


def test_blurred_frames_only_fill_up():
    """Nine sharp frames and three blurred ones, one of them turned far: it comes tenth, not second."""
    pool = [candidate(yaw=0.01 * i) for i in range(9)] + [candidate(yaw=0.1 * i, sharp=1.0) for i in (1, -1, 9)]
    for count in range(2, 10):
        assert max(choose_keyframes(pool, count)) < 9
    assert choose_keyframes(pool, 10) == [*range(9), 11]


def test_the_side_of_the_light_is_seen_whatever_the_pose():
    model, camera = load_face_model(), Intrinsics(900.0, 160.0, 160.0, 320, 320)
    nobody = Person(np.zeros(80, np.float32), np.zeros(80, np.float32), camera, np.zeros(76, np.float32))
    for turn in (-0.3, 0.0, 0.3):
        pose = RigidTransform(so3_exp(np.array([0.0, turn, 0.0])) @ FRONTAL, np.array([0.0, 0, 900]))
        for side in (-0.3, 0.3):
            light = ambient()
            light[3] = side * light[0]
            acted = Performance(np.zeros(76, np.float32), pose, light)
            picture = fit_picture(model, nobody, acted, np.full((320, 320, 3), 128, np.uint8), camera)[:, 640:]
            y, z, x = light_direction(model, acted, np.ascontiguousarray(picture), camera)
            assert abs(x - side) < 0.06 and abs(y) < 0.1 and abs(z) < 0.1


def test_too_few_candidates_are_all_taken():
    assert choose_keyframes([candidate(), candidate(yaw=0.1)], 6) == [0, 1]


def test_similarity_recovers_a_known_motion():
    rng = np.random.default_rng(0)
    points, rotation = rng.normal(size=(20, 3)) * 50, so3_exp(np.array([0.3, -0.5, 0.2]))
    scale, found, shift = similarity(points, 2.5 * points @ rotation.T + [5, -3, 8], np.ones(20))
    assert abs(scale - 2.5) < 1e-9
    np.testing.assert_allclose(found, rotation, atol=1e-9)
    np.testing.assert_allclose(shift, [5, -3, 8], atol=1e-9)


def test_pose_from_landmarks_is_near_the_truth_for_a_far_camera():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(60, 3)) * [50, 60, 30]
    pose = RigidTransform(so3_exp(np.array([0.1, 0.3, 0.0])) @ FRONTAL, np.array([40.0, -30, 3000]))
    camera = Intrinsics(4000.0, 320.0, 240.0, 640, 480)
    at = pose.apply(points)
    found = pose_from_landmarks(points, camera.project(at), (at[:, 2] - 3000) * 4000 / 3000, np.ones(60), camera)
    np.testing.assert_allclose(found.rotation, pose.rotation, atol=0.02)
    np.testing.assert_allclose(found.translation, pose.translation, rtol=0.02, atol=1.0)


def test_a_cut_is_a_cut_and_a_lamp_is_not():
    y, x = np.mgrid[0:180, 0:320]
    room = np.stack([(x % 64 > 32) * 160 + y // 4] * 3, axis=2).astype(np.uint8)
    other = room[::-1, ::-1].copy()
    other[60:, :200] = 250
    brighter = np.clip(room.astype(int) + 30, 0, 255).astype(np.uint8)
    assert is_cut(thumbnail(room), thumbnail(other))
    assert not is_cut(thumbnail(room), thumbnail(brighter))
    assert not is_cut(None, thumbnail(room))
