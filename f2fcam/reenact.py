"""One frame through all stages: the line of the way of a frame, pure over explicit state; no threads, no devices.

    landmarks -> track -> transfer   (`track.actor.act`, once per source picture)
    mouth + eyes                     (`retouch`, once per output picture)
    render                           (`draw`, after it)

`show` is the last two, `step` all of it. The engine runs the three parts in three threads, `render` runs them over a file,
tests over a synthetic person. The actor's own picture never reaches the output: `retouch` and `draw` see the target's frame
and an expression, nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from jaxtyping import Float32, UInt8

from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Person
from f2fcam.frame import Frame
from f2fcam.mouth.aperture import APERTURES, ApertureName
from f2fcam.mouth.database import ApertureDatabase, kept_pixels
from f2fcam.mouth.retouch import Displayed, Retoucher, RetouchState
from f2fcam.profile import LARGE, Profile, StoredArrays, damaged
from f2fcam.render import Rasterizer
from f2fcam.render import view as rendering
from f2fcam.render.complexion import Complexion
from f2fcam.render.composite import Patch
from f2fcam.render.detail import DETAILS, Detail, details, enlarged_into, reduced_picture
from f2fcam.render.shade import Appearance, LightState
from f2fcam.render.view import TargetView
from f2fcam.track.actor import Acted, ActorState, ActorWorkspace, Status, act
from f2fcam.transfer import fit_shortfall

LEAST_STRENGTH = 1e-3
"""Below this share of the actor's expression the target's own frame is the output, bit for bit."""


@dataclass(frozen=True, slots=True)
class TargetFrame:
    """The frame of the target that playback chose.

    Attributes:
        row: its row in the profile. index: its number in the clip that was enrolled.
        view: the picture with what enrolment fitted to it. usable: the fit may be trusted.
    """

    row: int
    index: int
    view: TargetView
    usable: bool = True


@dataclass(frozen=True, slots=True)
class Output:
    """A finished picture of the target, before the badge. Arrays live in the workspace until its next use.

    Attributes:
        rgb: the picture. mask: 255 where it may differ from the target frame.
        status: what it shows; `idle` where the target's frame has no good fit and is shown as it is.
        source_index, target_index: numbers of the frames in their clips' files.
        expression: what the target shows.
        timings: milliseconds per stage.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"]
    status: Status
    source_index: int
    target_index: int
    timestamp_ns: int
    expression: Float32[np.ndarray, " 76"]
    timings: dict[str, float]


@dataclass(frozen=True, slots=True)
class RenderState:
    """What one output picture hands to the next: which mouth and eyes are shown, and the change of light."""

    retouch: RetouchState = field(default_factory=RetouchState)
    light: LightState = field(default_factory=LightState)


@dataclass(frozen=True, slots=True)
class State:
    """Everything that one frame hands to the next."""

    actor: ActorState = field(default_factory=ActorState)
    render: RenderState = field(default_factory=RenderState)


class RenderWorkspace:
    """The target side's tools and memory; knows nothing of the source."""

    def __init__(
        self,
        model: FaceModel,
        profile: Profile,
        appearance: Appearance = "video",
        rasterizer: Rasterizer | None = None,
    ) -> None:
        self.memory = rendering.Workspace(model, rasterizer)
        self.appearance: Appearance = appearance
        self._person = profile.person
        self.complexion = complexion_of(profile)
        databases = aperture_databases(profile)
        self.retoucher = Retoucher(model, profile.person, databases) if databases else None
        self.shortfall = fit_shortfall(model)
        boxes = profile.frames.boxes
        self.details = details(float(np.median(boxes[:, 3] - boxes[:, 1])) if len(boxes) else 0.0)
        self._reduced: dict[Fraction, tuple[Person, Retoucher | None]] = {}
        self._small: tuple[int, Fraction, TargetView] | None = None

    def retoucher_at(self, scale: Fraction) -> Retoucher | None:
        """For pictures of that part of the size."""
        return self.retoucher if scale == 1 else self._at(scale)[1]

    def view_at(self, target: TargetFrame, scale: Fraction) -> TargetView:
        """The frame at that part of its size; a frame is often shown twice."""
        if scale == 1:
            return target.view
        if self._small is None or self._small[:2] != (target.row, scale):
            view = replace(target.view, rgb=reduced_picture(target.view.rgb, scale), person=self._at(scale)[0])
            self._small = target.row, scale, view
        return self._small[2]

    def _at(self, scale: Fraction) -> tuple[Person, Retoucher | None]:
        if scale not in self._reduced:
            person = replace(self._person, intrinsics=self._person.intrinsics.scaled(float(scale)))
            self._reduced[scale] = person, self.retoucher.reduced(scale) if self.retoucher else None
        return self._reduced[scale]

    def mask(self, shape: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
        """A blank mask."""
        mask = self.memory.scratch.take("declared mask", shape, np.uint8)
        mask[:] = 0
        return mask


@dataclass(frozen=True, slots=True)
class Workspace:
    """Both sides, for one thread."""

    actor: ActorWorkspace
    render: RenderWorkspace


def aperture_databases(profile: Profile) -> dict[ApertureName, ApertureDatabase]:
    """The profile's mouths and eyes; none for a profile without."""
    try:
        parts = {name: [key for key in profile.mouth if key.startswith(f"{name}/")] for name in APERTURES}
        if not all(parts.values()):
            return {}
        return {name: _database(profile.mouth, name, keys) for name, keys in parts.items()}
    except (KeyError, ValueError, IndexError) as error:
        raise damaged(profile.directory / "mouth.npz", f"{type(error).__name__}: {error}") from error


def _database(stored: Mapping[str, np.ndarray], name: ApertureName, keys: list[str]) -> ApertureDatabase:
    """One opening's. The crops of a profile's file are unpacked once, and lie in a file of ours from then on."""
    steps = f"{name}/{LARGE}"
    arrays = {key.partition("/")[2]: stored[key] for key in keys if key != steps}
    if isinstance(stored, StoredArrays) and steps in keys:
        start, size = arrays["start"], arrays["size"]
        arrays["pixels"] = kept_pixels(stored.sha256, name, lambda: stored[steps], start, size, stored.is_there)
    elif steps in keys:
        arrays[LARGE] = stored[steps]
    return ApertureDatabase.from_arrays(arrays)


def complexion_of(profile: Profile) -> Complexion | None:
    """How the profile's skin changes; None for a profile without."""
    if not profile.complexion:
        return None
    try:
        complexion = Complexion.from_arrays(profile.complexion)
        if len(complexion.rest) != len(profile.frames):
            raise ValueError("not one row per frame")
        return complexion
    except (KeyError, ValueError) as error:
        raise damaged(profile.directory / "complexion.npz", f"{type(error).__name__}: {error}") from error


def step(state: State, source_frame: Frame, target_frame: TargetFrame, workspace: Workspace) -> tuple[State, Output]:
    """Source picture and target frame in, output picture out."""
    actor_state, acted, timings = act(state.actor, source_frame, workspace.actor)
    render_state, output = show(state.render, acted, target_frame, workspace.render, timings)
    return State(actor_state, render_state), output


@dataclass(frozen=True, slots=True)
class Retouched:
    """What is to be drawn; owns its arrays.

    Attributes:
        expression: what the target shows; None: its frame stays untouched.
        tint: how its skin's colours change (`Complexion.log_gain`). patches: mouth and eyes.
        timings: milliseconds per stage so far.
        detail: how finely it is made. view: the target's frame as it is drawn on, smaller at a lower level.
    """

    acted: Acted
    target: TargetFrame
    expression: Float32[np.ndarray, " 76"] | None
    tint: Float32[np.ndarray, "m 3"] | None
    patches: tuple[Patch, ...]
    timings: dict[str, float]
    detail: Detail
    view: TargetView

    @property
    def time_s(self) -> float:
        """Of the source picture."""
        return self.acted.timestamp_ns * 1e-9


def show(
    state: RenderState,
    acted: Acted,
    target: TargetFrame,
    workspace: RenderWorkspace,
    timings: dict[str, float] | None = None,
) -> tuple[RenderState, Output]:
    """The target's frame with the actor's expression, as far as `acted.strength` goes; untouched where it has no good fit."""
    openings, retouched = retouch(state.retouch, acted, target, workspace, timings)
    light, output = draw(state.light, retouched, workspace)
    return RenderState(openings, light), output


def retouch(
    state: RetouchState,
    acted: Acted,
    target: TargetFrame,
    workspace: RenderWorkspace,
    timings: dict[str, float] | None = None,
    level: int = 0,
) -> tuple[RetouchState, Retouched]:
    """The expression that the target's frame is to show, with its mouth and eyes, at a level of `workspace.details`."""
    start = time.perf_counter()
    times = dict(timings or {}) | {"mouth": 0.0}
    if acted.expression is None or acted.strength < LEAST_STRENGTH or not target.usable:
        return state, Retouched(acted, target, None, None, (), times, DETAILS[0], target.view)
    own = target.view.performance.expression
    change = np.float32(acted.strength) * (acted.expression - own)
    expression = own + change + workspace.shortfall @ change
    tint, patches = None, ()
    if workspace.complexion is not None:
        tint = workspace.complexion.log_gain(target.row, own, expression, workspace.memory.motion(own, expression))
    detail = workspace.details[level]
    view, retoucher = workspace.view_at(target, detail.scale), workspace.retoucher_at(detail.scale)
    if retoucher is not None:
        displayed = Displayed(target.row, view.rgb, view.performance, tint)
        state, patches = retoucher.retouch(state, displayed, expression, acted.timestamp_ns * 1e-9, detail.fade)
    times["mouth"] = (time.perf_counter() - start) * 1e3
    return state, Retouched(acted, target, expression, tint, patches, times, detail, view)


def draw(state: LightState, retouched: Retouched, workspace: RenderWorkspace) -> tuple[LightState, Output]:
    """The output picture."""
    start = time.perf_counter()
    acted, target, expression = retouched.acted, retouched.target, retouched.expression
    mask = workspace.mask(target.view.rgb.shape[:2])
    if expression is None:
        state, rgb, expression = LightState(), target.view.rgb, target.view.performance.expression
    else:
        share = state.share(target.row, retouched.time_s)
        rendered = rendering.render_frame(
            retouched.view, expression, workspace.memory, retouched.patches, workspace.appearance, state.gain, share,
            retouched.tint,
        )  # fmt: skip
        state = LightState(rendered.light, target.row, retouched.time_s)
        x0, y0, x1, y1 = rendered.region
        if retouched.detail.scale == 1:
            mask[y0:y1, x0:x1] = rendered.mask
            rgb = rendered.rgb
        else:
            rgb = workspace.memory.scratch.take("enlarged", target.view.rgb.shape, np.uint8)
            np.copyto(rgb, target.view.rgb)
            enlarged_into(rendered.rgb, rendered.region, rendered.mask, retouched.detail.scale, rgb, mask)
    times = retouched.timings | {"render": (time.perf_counter() - start) * 1e3}
    status: Status = acted.status if target.usable else "idle"
    return state, Output(rgb, mask, status, acted.index, target.index, acted.timestamp_ns, expression, times)
