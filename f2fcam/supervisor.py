"""The process that owns the camera: it always shows something, whatever happens to the engine (`DECISIONS` 16).

Standard library only, so that the placeholder is up within 0.3 s and no broken library can take the camera away. One loop,
one thread: pictures from the ring, the badge, the sink; the engine's messages; commands; signals. Its parts: `output` (the
device), `engine_process`, `on_demand` (who looks), `notify` (the service manager), `status`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from f2fcam import choices
from f2fcam.audio.process import SoundProcess, reason_against
from f2fcam.channel import Channel, Message, reap
from f2fcam.choices import Choices
from f2fcam.config import parse_gate
from f2fcam.control import COMMANDS, ControlServer, error_message
from f2fcam.engine_process import EngineProcess, Limits, State
from f2fcam.errors import ConfigError, DeviceError, F2FError, ProfileError
from f2fcam.logs import TRIM_EVERY_S, log_folder, trim
from f2fcam.memory import leave_no_dumps
from f2fcam.notify import Notifier
from f2fcam.on_demand import IDLE_FPS, Attention
from f2fcam.output import Output
from f2fcam.pacing import Pacer
from f2fcam.panel.metrics_process import MetricsProcess
from f2fcam.publish.barcode import stamp_barcode, wall_clock_ms
from f2fcam.ring import Ring, i420_bytes
from f2fcam.signals import caught_signals
from f2fcam.status import Tally, status_message
from f2fcam.trust.badge import stamp_i420
from f2fcam.trust.placeholder import placeholder_i420

if TYPE_CHECKING:
    from f2fcam.config import StartConfig

log = logging.getLogger(__name__)

Announce = Callable[[str, str], None]

ENGINE = [sys.executable, "-m", "f2fcam.engine_main"]
HOLD_S = 5.0
"""How long the last picture stays when the engine is gone; then the placeholder says so."""


@dataclass(slots=True)
class Switch:
    """A change of profile that is under way."""

    asker: Channel
    previous: str
    paused: bool


class Supervisor:
    """One running camera.

    `every_frame` sends each picture of a file once, without pace, and ends with the file. `announce("open", device)` is
    called when the device is there with a placeholder, `announce("on air", profile)` at the first picture, `announce("no sound",
    why)` when there should be sound and is none for now.
    """

    def __init__(
        self,
        config: StartConfig,
        *,
        engine: list[str] | None = None,
        limits: Limits | None = None,
        every_frame: bool = False,
        announce: Announce | None = None,
    ) -> None:
        self._announce = announce or _announce_nothing
        self._config, self._every_frame = config, every_frame
        self._limits = limits or Limits()
        self._engine_command = engine or ENGINE
        self._profile = config.profile
        self._clients: list[Channel] = []
        self._switch: Switch | None = None
        self._stopping = self._paused = self._fresh = False
        self._number = self._captured_ns = 0
        self._attention = Attention(config.idle_s)
        self._shown_since: float | None = None
        self._last_fresh = self._now = self._started = time.monotonic()
        self._tally = Tally()
        self._notifier, self._trim_at = Notifier(), 0.0
        self._metrics: MetricsProcess | None = None
        self._signals = 0

    def run(self) -> int:
        """Serve until stopped; 0, or the error that made it impossible is raised."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._close_clients)  # last of all: who asked for the end sees that it is reached
            self._control = ControlServer()
            stack.callback(self._control.close)
            wake = stack.enter_context(caught_signals())
            self._output = Output(self._config.sink, self._config.size, self._config.fps)
            stack.callback(self._output.close)
            if self._config.metrics_port is not None:
                self._metrics = MetricsProcess(self._config.metrics_port, self._now)
                stack.callback(self._metrics.close)
            self._width, self._height = self._output.size
            self._ring = Ring.create(self._width, self._height)
            stack.callback(self._ring.close)
            size = i420_bytes(self._width, self._height)
            self._picture, self._spare = bytearray(size), bytearray(size)
            self._pacer = Pacer(self._config.fps, self._now)
            self._engine = EngineProcess(self._engine_command, self._ring, self._limits)
            self._engine.patient = self._notifier.present
            stack.callback(self._engine.close)
            self._sound = self._open_sound()
            stack.callback(self._sound.close)
            self._take_up()
            self._engine.start(self._engine_setup(), self._now)  # loads on another core while the placeholder is drawn
            self._show()
            self._notifier.ready()
            self._announce("open", str(self._output.device))
            try:
                self._loop(wake)
            except F2FError as error:
                self._notifier.stopping()  # closing may take longer than the watchdog waits
                if isinstance(error, ProfileError):  # it may have been switched to: the next start is for the usual one
                    choices.forget()
                raise
            choices.forget()
        return 0

    def _take_up(self) -> None:
        """What held in a service that crashed holds in the one that is started in its place."""
        if not self._notifier.present:
            choices.forget()
            return
        before = choices.kept()
        self._paused = before.paused
        self._sound.mute(before.muted)
        self._profile = before.profile or self._profile

    def _loop(self, wake: int) -> None:
        while not (self._stopping and self._engine.state is State.ENDED):
            waiting: list[Any] = [wake, self._control, self._ring, *self._clients]
            engine = self._engine.channel()
            waiting += [channel for channel in (engine, self._sound.channel()) if channel is not None]
            sink = self._output.attended
            if sink is not None:
                waiting.append(sink)
            ready, _, _ = select.select(waiting, [], [], self._timeout_s())
            self._now = time.monotonic()
            if wake in ready:
                self._signals += len(os.read(wake, 64))
                self._stop()
            if self._control in ready:
                self._accept()
            for client in [client for client in self._clients if client in ready]:
                self._answer(client)
            if sink in ready:
                self._output.attend(self._now)
            self._engine.step(self._now)
            self._look_for_readers()
            self._take_picture()
            self._follow_engine()
            self._show()
            self._sound.step(self._now, self._tally.lateness.recent())
            self._keep_house()

    def _timeout_s(self) -> float:
        times = [
            self._engine.wait_s(self._now),
            self._sound.wait_s(self._now),
            self._remaining_s(),
            self._notifier.wait_s(self._now),
        ]
        if not self._every_frame:
            times.append(self._pacer.wait_s(self._now, fresh=self._fresh))
        return max(0.0, min(times))

    def _remaining_s(self) -> float:
        """Seconds until the wanted duration, counted from the first picture, is over."""
        if self._shown_since is None or self._config.duration_s is None or self._stopping:
            return math.inf
        return self._shown_since + self._config.duration_s - self._now

    def _keep_house(self) -> None:
        """What has nothing to do with pictures: the service manager, the metrics' process, the logs."""
        self._notifier.alive(self._now)
        self._notifier.status(f"{self._profile}: {self._state()}, {self._output.device or 'no device'}")
        if self._metrics is not None:
            self._metrics.step(self._now)
        if self._now >= self._trim_at:
            self._trim_at = self._now + TRIM_EVERY_S
            self._control.keep_place()
            trim(log_folder())
            reap()

    def _look_for_readers(self) -> None:
        """Rest while nobody looks, and while paused; the last picture stays, as a reader's first one."""
        config = self._config
        always = config.always_on or self._every_frame
        if self._attention.look(None if always else self._output.readers, self._now):
            self._pacer.change(config.fps if self._attention.awake else IDLE_FPS, self._now)
        self._engine.rest(self._paused or not self._attention.awake)
        if self._engine.resting and self._engine.state is State.RUNNING:
            self._last_fresh = self._now  # it is well, and no picture is due

    def _take_picture(self) -> None:
        """Get the engine's newest picture, if there is one, and put the badge on it."""
        frame = self._ring.newest(self._spare, self._number)
        if frame is None:
            return
        self._number = frame.number
        self._engine.frame_seen()
        if self._paused and self._shown_since is not None:
            return
        self._picture, self._spare = self._spare, self._picture
        stamp_i420(self._picture, self._width, self._height)
        if self._config.barcode:
            stamp_barcode(self._picture, self._width, self._height, wall_clock_ms(frame.captured_ns))
        self._tally.skipped += self._fresh
        self._fresh, self._captured_ns, self._last_fresh = True, frame.captured_ns, self._now
        if self._shown_since is None:
            self._shown_since = self._now
            self._announce("on air", self._profile)

    def _show(self) -> None:
        """Send what is due: a new picture, the last one again, or the placeholder."""
        if self._remaining_s() <= 0:
            self._stop()
        if self._every_frame:
            if self._fresh:
                self._send(self._picture, round(self._tally.sent * 1e9 / self._config.fps))
                self._ring.consumed(self._number)
            return
        if not self._pacer.due(self._now, fresh=self._fresh):
            return
        picture = self._picture
        if not self._fresh:
            caption = self._caption()
            if caption is not None:
                picture = placeholder_i420(self._width, self._height, caption)
                if self._output.keeps_time and self._shown_since is None:
                    self._pacer.sent(self._now)  # a recording begins with its first picture
                    return
        self._pacer.sent(self._now)
        self._send(picture, time.monotonic_ns())

    def _caption(self) -> str | None:
        """What the placeholder says; None when the last picture is to stay."""
        trouble = self._engine.trouble
        if isinstance(trouble, ProfileError):
            return "TARGET REFUSED"  # at once, and paused or not: nothing of the target may be seen any more
        missing = isinstance(trouble, DeviceError)
        if self._shown_since is None:
            return "NO WEBCAM" if missing else "STARTING"
        lost = self._engine.state is not State.RUNNING and not self._paused
        if not lost or self._now - self._last_fresh <= HOLD_S:
            return None
        return "NO WEBCAM" if missing else "RESTARTING"

    def _send(self, picture: bytearray | bytes, timestamp_ns: int) -> None:
        if not self._output.send(picture, timestamp_ns, self._now, ending=self._stopping):
            return
        if self._fresh:
            age_ms = (time.monotonic_ns() - self._captured_ns) / 1e6
            self._tally.latency.add(age_ms)
            self._tally.lateness.add(age_ms, self._now)
        self._fresh = False
        self._tally.sent += 1
        self._tally.rate.add(self._now)

    def _open_sound(self) -> SoundProcess:
        config = self._config
        off = reason_against(config.sound, config.source, self._output.uri)
        if off is not None and config.sound != "off":
            log.info("No sound: %s.", off)
        return SoundProcess(
            config.sound,
            parse_gate(config.sound_gate),
            off=off,
            idle_s=None if config.always_on else config.idle_s,
            tell=lambda reason: self._announce("no sound", reason),
        )

    def _engine_setup(self) -> Message:
        config = self._config
        return {
            "profile": self._profile,
            "profiles": str(config.profiles) if config.profiles else None,
            "source": config.source,
            "size": (self._width, self._height),
            "fps": config.fps,
            "quality": config.quality,
            "every_frame": self._every_frame,
            "loop": not (self._every_frame or self._output.keeps_time),
        }

    def _follow_engine(self) -> None:
        """Act on what became of the engine."""
        engine = self._engine
        switch = self._switch
        if switch is not None and engine.on_air:
            switch.asker.send({"profile": self._profile})
            self._switch = None
            self._keep_choices()
        if self._stopping or engine.state is not State.ENDED:
            return
        if engine.failure is None:  # the file's end
            self._stop()
        elif switch is not None:
            switch.asker.send(error_message(engine.failure))
            self._switch, self._profile, self._paused = None, switch.previous, switch.paused
            self._keep_choices()
            engine.start(self._engine_setup(), self._now)
            engine.on_air = True  # it was: no reason to give up
        else:
            raise engine.failure

    def _stop(self) -> None:
        """End in good order: engine first. A second signal ends it at once."""
        if self._signals > 1:
            self._engine.close()
        if not self._stopping:
            self._stopping = True
            if self._switch is not None:
                self._switch.asker.send(error_message(stopping_error()))
            self._notifier.stopping()
            self._engine.stop(self._now)

    def _accept(self) -> None:
        client = self._control.accept()
        if client is not None:
            self._clients.append(client)

    def _answer(self, client: Channel) -> None:
        commands = {
            "status": self._status,
            "stop": self._command_stop,
            "pause": self._command_pause,
            "resume": self._command_resume,
            "recalibrate": self._command_recalibrate,
            "mute": lambda: self._command_mute(True),
            "unmute": lambda: self._command_mute(False),
        }
        for message in client.receive():
            name = str(message.get("command"))
            try:
                if name == "switch":
                    self._command_switch(client, str(message.get("profile", "")))
                elif name in commands:
                    client.send(commands[name]())
                else:
                    raise ConfigError(f"There is no command {name!r}.", hint=f"Use {', '.join(COMMANDS)}.")
            except F2FError as error:
                client.send(error_message(error))
        if client.ended:
            self._clients.remove(client)
            client.close()

    def _command_stop(self) -> Message:
        self._stop()
        return {"state": "stopping"}

    def _command_pause(self) -> Message:
        self._paused = True
        self._keep_choices()
        self._look_for_readers()
        return {"state": "paused"}

    def _command_resume(self) -> Message:
        self._paused = False
        self._keep_choices()
        self._look_for_readers()
        return {"state": self._state()}

    def _command_recalibrate(self) -> Message:
        self._engine.send("recalibrate")
        return {"state": self._state()}

    def _command_mute(self, muted: bool) -> Message:
        if not self._sound.running:
            raise F2FError(
                "The camera carries no sound.", hint="Start it with --sound MICROPHONE, or see `f2fcam status`."
            )
        self._sound.mute(muted)
        self._keep_choices()
        return {"muted": muted}

    def _keep_choices(self) -> None:
        profile = self._profile if self._switch is None else self._switch.previous
        choices.keep(Choices(self._paused, self._sound.muted, profile if profile != self._config.profile else None))

    def _command_switch(self, client: Channel, profile: str) -> None:
        """Change the profile; the answer comes when it is on the air, or the old one is loaded again."""
        if self._stopping:
            raise stopping_error()
        if self._switch is not None:
            raise F2FError("Another switch is under way.", hint="Wait for it, then try again.")
        if not profile:
            raise ConfigError("No profile was named.", hint="Give a name from `f2fcam profile list`.")
        self._switch = Switch(client, self._profile, self._paused)
        self._profile, self._paused = profile, False
        self._keep_choices()
        self._engine.on_air = self._engine.patient = False
        self._engine.start(self._engine_setup(), self._now)
        left = self._ring.newest(self._spare, self._number)
        if left is not None:
            self._number = left.number  # the old engine's last picture says nothing of the new one

    def _state(self) -> str:
        if self._stopping:
            return "stopping"
        if self._paused:
            return "paused"
        if self._engine.state is State.WAITING:
            return "restarting"
        return "asleep" if self._engine.resting and not self._attention.awake else self._engine.state.value

    def _status(self) -> Message:
        return status_message(
            self._config,
            self._engine,
            self._output,
            self._tally,
            sound=self._sound.status(),
            metrics=self._metrics.url if self._metrics is not None else None,
            logs=log_folder(),
            state=self._state(),
            profile=self._profile,
            uptime_s=self._now - self._started,
            now=self._now,
        )

    def _close_clients(self) -> None:
        for client in self._clients:
            client.close()


def start(config: StartConfig, *, announce: Announce | None = None) -> int:
    """Run the camera that `config` describes, here and until it is stopped; see `Supervisor`."""
    leave_no_dumps()
    return Supervisor(config, announce=announce).run()


def stopping_error() -> F2FError:
    """For those who want something of a camera that ends."""
    return F2FError("The camera is stopping.", hint="Start it again with `f2fcam start --profile NAME`.")


def _announce_nothing(event: str, what: str) -> None:
    pass
