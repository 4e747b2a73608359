"""The output picture: copies are exact, sampling is right, patches stay behind the lips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from f2fcam.render import Fragments
from f2fcam.render.composite import Patch, composite
from f2fcam.render.sampling import CATMULL_ROM
from f2fcam.render.scratch import Scratch
from f2fcam.render.warp import Field

SIZE = (40, 56)
REGION = (8, 6, 48, 34)
SHAPE = (28, 40)


def still_field() -> Field:
    return Field(
        shift=np.zeros((*SHAPE, 2), np.float32),
        gain=np.ones((*SHAPE, 3), np.float32),
        confidence=np.ones(SHAPE, np.float32),
        face=np.ones(SHAPE, np.float32),
        cavity=np.zeros(SHAPE, np.float32),
        opening=np.zeros(SHAPE, np.uint8),
        mask=np.full(SHAPE, 255, np.uint8),
        region=REGION,
        sampled=(0.0, 0.0, SHAPE[1] - 1.0, SHAPE[0] - 1.0),
    )


def run(frame: np.ndarray, field: Field, patches: tuple[Patch, ...] = ()) -> np.ndarray:
    return run_masked(frame, field, patches)[0]


def run_masked(frame: np.ndarray, field: Field, patches: tuple[Patch, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    out = np.empty_like(frame)
    rows, columns = field.mask.shape
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=2)[field.mask > 0]
    at = cells + field.shift[field.mask > 0]
    if len(at):
        field = replace(field, sampled=(*at.min(axis=0).tolist(), *at.max(axis=0).tolist()))
    drawn = Fragments(
        np.zeros((rows, columns), np.int32), np.full((rows, columns, 3), 1 / 3, np.float32),
        np.ones((rows, columns), np.float32), field.region,
    )  # fmt: skip
    texture, triangle = np.float32([[100, 50, 25, 0.5]]), np.zeros((1, 3), np.int32)  # premultiplied
    mask, _ = composite(frame, field, drawn, triangle, texture, np.float32([20, 10, 5]), patches, out, Scratch())
    return out, mask


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def test_a_still_field_copies_bit_for_bit_even_inside_its_mask() -> None:
    frame = noise()
    np.testing.assert_array_equal(run(frame, still_field()), frame)


def test_whole_pixel_shifts_copy_and_stay_inside_the_region() -> None:
    frame, field = noise(1), still_field()
    field.shift[..., 0], field.shift[..., 1] = 3, -2
    out = run(frame, field)
    np.testing.assert_array_equal(out[6:34, 8:48], frame[4:32, 11:51])
    out[6:34, 8:48] = frame[6:34, 8:48]
    np.testing.assert_array_equal(out, frame)


def test_fractions_of_a_pixel_interpolate_a_quadratic_exactly() -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    frame = np.repeat((60 + 2 * x + 1 * y)[..., None], 3, axis=2).astype(np.uint8)
    field = still_field()
    field.shift[..., 0], field.shift[..., 1] = 0.25, 0.5
    out = run(frame, field)
    np.testing.assert_array_equal(out[8:30, 10:44], frame[8:30, 10:44] + 1)
    np.testing.assert_allclose(CATMULL_ROM.sum(axis=1), 1, atol=1e-6)


def test_samples_beyond_the_picture_take_its_border() -> None:
    frame, field = noise(2), still_field()
    field.shift[..., 0] = 500
    np.testing.assert_array_equal(run(frame, field)[10, 20], frame[10, -1])


def test_fractions_at_the_pictures_border_are_sampled_like_inside() -> None:
    """The same picture and field, once with room around: the border repeated gives what the copied window gives."""
    frame, field = noise(4), replace(still_field(), region=(16, 12, 56, 40))
    field.shift[..., 0], field.shift[..., 1] = 0.5, 0.25
    roomy = np.pad(frame, ((8, 8), (8, 8), (0, 0)), mode="edge")
    moved = replace(field, region=(24, 20, 64, 48))
    np.testing.assert_array_equal(run(frame, field), run(roomy, moved)[8:-8, 8:-8])


def test_a_place_that_is_no_number_is_not_read() -> None:
    frame, field = noise(5), still_field()
    field.shift[4:9, 7:30] = np.nan
    sampled = (0.0, 0.0, SHAPE[1] - 1.0, SHAPE[0] - 1.0)
    out, fragments = np.empty_like(frame), Fragments(
        np.zeros(SHAPE, np.int32), np.full((*SHAPE, 3), 1 / 3, np.float32), np.ones(SHAPE, np.float32), REGION
    )  # fmt: skip
    texture, triangle = np.zeros((1, 4), np.float32), np.zeros((1, 3), np.int32)
    composite(
        frame,
        replace(field, sampled=sampled),
        fragments,
        triangle,
        texture,
        np.zeros(3, np.float32),
        (),
        out,
        Scratch(),
    )
    np.testing.assert_array_equal(out[22:, :], frame[22:, :])


def test_gain_one_half_darkens_and_masked_pixels_do_not_change() -> None:
    frame, field = np.full((*SIZE, 3), 128, np.uint8), still_field()
    field.gain[:] = 0.75
    field.mask[:, :20] = 0
    out = run(frame, field)
    assert (out[6:34, 8:28] == 128).all()
    assert (out[6:34, 28:48] == round((128 + 255 * 0.055) * 0.75 - 255 * 0.055)).all()


def test_texture_and_cavity_take_over_where_the_frame_is_not_trusted() -> None:
    frame, field = noise(3), still_field()
    field.confidence[:, :20] = 0
    field.cavity[:, 20:] = 1
    out = run(frame, field)
    np.testing.assert_allclose(out[6:34, 8:28].reshape(-1, 3), [[200, 100, 50]] * 560, atol=1)
    assert (out[6:34, 28:48] == [20, 10, 5]).all()


def test_a_patch_in_front_blends_by_its_alpha() -> None:
    frame = np.full((*SIZE, 3), 100, np.uint8)
    patch = np.full((4, 4, 3), 200, np.uint8)
    field = still_field()
    field.mask[:] = 0
    out, mask = run_masked(frame, field, (Patch(patch, np.full((4, 4), 51, np.uint8), 20, 20),))
    assert (out[20:24, 20:24] == 120).all()
    assert (mask > 0).sum() == 16, "what a patch changes is declared"
    assert (out[:20] == 100).all()


def coarse_field(stride: int) -> Field:
    """Cells over pixels 8 to 48 across and 8 to 36 down."""
    x0, y0, x1, y1 = 8 // stride, 8 // stride, 48 // stride, 36 // stride
    shape = (y1 - y0, x1 - x0)
    return Field(
        np.zeros((*shape, 2), np.float32), np.ones((*shape, 3), np.float32), np.ones(shape, np.float32),
        np.ones(shape, np.float32), np.zeros(shape, np.float32),
        np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), (x0, y0, x1, y1), (0.0, 0.0, 0.0, 0.0), stride,
    )  # fmt: skip


def test_a_coarse_field_shifts_whole_pixels_and_is_linear_between_its_cells() -> None:
    frame, field = noise(4), coarse_field(2)
    field.shift[..., 0], field.shift[..., 1] = 1.5, -1  # cells: 3 and -2 pixels
    out = run(frame, field)
    np.testing.assert_array_equal(out[8:36, 8:48], frame[6:34, 11:51])
    ramp, field = np.full((*SIZE, 3), 100, np.uint8), coarse_field(4)
    field.gain[:] = np.linspace(0.5, 1.4, 10, dtype=np.float32)[None, :, None]
    row = run(ramp, field)[20, 8:48, 0].astype(float)
    assert np.abs(np.diff(row, 2)[3:-3]).max() <= 1, "no steps from cell to cell"
    assert row[0] == row[1] == round((100 + 255 * 0.055) * 0.5 - 255 * 0.055)


def test_where_the_face_hides_a_part_of_itself_the_hidden_part_does_not_show() -> None:
    """A lip that hangs over the chin: between the two lies a shadow in the frame, of which nothing is to be seen."""
    frame, field = np.full((*SIZE, 3), 180, np.uint8), coarse_field(4)
    frame[24:28] = 10
    field.shift[:3, :, 1], field.shift[3:, :, 1] = 0, 3  # cells: 12 pixels
    assert (run(frame, field)[8:36, 8:48] == 180).all()
    field.face[3:] = 0  # the jaw before the neck
    assert (run(frame, field)[8:36, 8:48] < 150).any()


def test_only_pixels_beside_a_masked_cell_change() -> None:
    frame, field = noise(5), coarse_field(4)
    field.mask[:] = 0
    field.mask[3, 4] = 255
    field.gain[3, 4] = 0.5
    out, mask = run_masked(frame, field)
    rows, columns = np.nonzero((out != frame).any(axis=2))
    cell_y, cell_x = (2 + 3) * 4 + 1.5, (2 + 4) * 4 + 1.5
    assert np.abs(rows - cell_y).max() < 4 and np.abs(columns - cell_x).max() < 4
    changed = np.zeros(SIZE, bool)
    changed[8:36, 8:48] = mask > 0
    assert changed[rows, columns].all()
