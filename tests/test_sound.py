"""The sound: a delay that changes without clicks and does not drift, devices found by name, a process that comes again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f2fcam.audio import RATE, virtual_microphone, worker
from f2fcam.audio.clock import SampleClock
from f2fcam.audio.delay_line import AWAY_S, HELD_S, MOST_STRETCH, DelayLine, SoundState
from f2fcam.audio.gate import Fader, Gate
from f2fcam.audio.portaudio import find_cable, find_microphone
from f2fcam.audio.process import UNKNOWN_MS, SoundProcess, reason_against
from f2fcam.audio.resampling import HALF, interpolated
from f2fcam.cli.tables import _sound
from f2fcam.config import StartConfig, parse_gate
from f2fcam.errors import ConfigError, DeviceError
from f2fcam.status import COLD, Lateness

BLOCK = 480
AHEAD_S = 0.04
"""Of a simulated output: what is pulled is heard so much later."""


def simulate(
    line: DelayLine,
    seconds: float,
    sound: Callable[[np.ndarray], np.ndarray],
    target_s: Callable[[float], float],
    *,
    faster_in: float = 0.0,
    faster_out: float = 0.0,
    jitter_s: float = 0.0,
    block: int = BLOCK,
    rate: float = RATE,
    lost: Callable[[float], bool] = lambda now: False,
) -> tuple[np.ndarray, np.ndarray]:
    """Two devices whose clocks are off by `faster` (relative) and whose reports come late; what is played, and its delays.

    `sound` gives the captured sound at times; `lost` says when capture stands still.
    """
    chance = np.random.default_rng(1)
    period_in, period_out = 1 / (rate * (1 + faster_in)), 1 / (rate * (1 + faster_out))
    captured = played = 0
    out, delays = [], []
    while (now := played * period_out) < seconds:
        while (captured + block) * period_in <= now + 1e-9:
            times = (captured + np.arange(block)) * period_in
            captured += block
            if not lost(times[0]):
                line.push(sound(times).astype(np.float32), captured * period_in + abs(chance.normal(0, jitter_s)))
        line.aim(target_s(now))
        out.append(line.pull(block, now + AHEAD_S + abs(chance.normal(0, jitter_s))))
        delays.append((now, line.state.delay_s))
        played += block
    return np.concatenate(out), np.array(delays)


def sine(frequency: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda times: 0.5 * np.sin(2 * np.pi * frequency * times)


def outside_db(sound: np.ndarray, frequency: float, width: float) -> float:
    """The loudest share of what is not the tone, of any stretch of 0.17 s; a click is heard in all of the spectrum."""
    size = 8192
    window, frequencies = np.blackman(size), np.fft.rfftfreq(size, 1 / RATE)
    shares = []
    for start in range(0, len(sound) - size, size // 2):
        power = np.abs(np.fft.rfft(sound[start : start + size] * window)) ** 2
        shares.append(power[np.abs(frequencies - frequency) > width].sum() / power.sum())
    return 10 * np.log10(max(shares))


@given(st.floats(50, 18_000), st.floats(0.97, 1.03), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_interpolation_is_what_the_sine_is_there(frequency: float, speed: float, start: float):
    ring = np.sin(2 * np.pi * frequency / RATE * np.arange(2048)).astype(np.float32)
    positions = HALF + 100 + start + speed * np.arange(BLOCK)
    error = interpolated(ring, positions) - np.sin(2 * np.pi * frequency / RATE * positions)
    assert np.abs(error).max() < 1e-3


def test_ring_goes_round():
    ring = np.sin(2 * np.pi * np.arange(4800) / 48).astype(np.float32)
    inside = interpolated(ring, 1000.25 + np.arange(BLOCK))
    across = interpolated(ring, 1000.25 + 4800 * 7 + 3792 + np.arange(BLOCK))
    assert np.allclose(across, interpolated(np.roll(ring, 1000), 992.25 + 4800 + np.arange(BLOCK)), atol=1e-6)
    assert np.allclose(inside, np.sin(2 * np.pi * (1000.25 + np.arange(BLOCK)) / 48), atol=1e-4)


@given(st.floats(-3e-4, 3e-4), st.floats(0, 0.003))
@settings(max_examples=20, deadline=None)
def test_clock_learns_the_rate_through_the_jitter(faster: float, jitter_s: float):
    chance, clock = np.random.default_rng(2), SampleClock(RATE)
    period = 1 / (RATE * (1 + faster))
    for count in range(BLOCK, RATE * 60, BLOCK):
        clock.update(count, 100 + count * period + abs(chance.normal(0, jitter_s)))
    assert abs(clock.period_s / period - 1) < 5e-5
    late_s = clock.time_of(count) - (100 + count * period)
    assert -0.0005 <= late_s < 0.0005 + jitter_s
    assert clock.count_at(clock.time_of(12_345.5)) == pytest.approx(12_345.5, abs=1e-3)


def test_clock_follows_a_device_that_has_changed_and_counts_lost_samples():
    clock = SampleClock(RATE)
    for count in range(BLOCK, RATE * 10, BLOCK):
        clock.update(count, count / RATE + (0.012 if count > RATE * 5 else 0.0))
    assert clock.time_of(count) == pytest.approx(count / RATE + 0.012, abs=1e-3) and clock.losses == 0
    for more in range(count + BLOCK, RATE * 12, BLOCK):
        clock.update(more, more / RATE + 0.2)
    assert clock.time_of(more) == pytest.approx(more / RATE + 0.2, abs=1e-3) and clock.losses == 1


def test_one_late_report_moves_nothing():
    clock = SampleClock(RATE)
    for count in range(BLOCK, RATE * 10, BLOCK):
        clock.update(count, count / RATE + (0.5 if count == RATE * 9 else 0.0))
    assert clock.time_of(count) == pytest.approx(count / RATE, abs=5e-4) and clock.losses == 0


@pytest.mark.parametrize("frequency", [300.0, 1000.0, 8000.0])
def test_delay_changes_without_clicks(frequency: float):
    """Up, down and faster than it can follow: nothing but the tone, a little higher or lower."""
    line = DelayLine(RATE)
    sound, delays = simulate(line, 24, sine(frequency), lambda now: 0.1 if now < 5 or now > 16 else 0.2, jitter_s=0.002)
    at = dict(delays[::100])
    assert abs(at[4.0] - 0.1) < 0.001 and abs(at[15.0] - 0.2) < 0.006 and abs(at[23.0] - 0.1) < 0.01
    bent = MOST_STRETCH * 1.2 * frequency
    assert outside_db(sound[RATE:], frequency, bent + 100) < -75
    speeds = np.diff(delays[100:, 1]) / (BLOCK / RATE)
    assert np.abs(speeds).max() < MOST_STRETCH * 1.2
    assert line.state.xruns == 0


def test_a_click_would_be_seen():
    sound = sine(1000.0)(np.arange(RATE) / RATE)
    assert outside_db(sound, 1000.0, 150) < -85
    assert outside_db(np.delete(sound, range(20_000, 20_012)), 1000.0, 150) > -40


def test_no_drift_in_an_hour_of_two_clocks():
    """200 ppm apart would be 0.7 s. At a low rate, for the time's sake: what counts is how often clocks report."""
    rate = 4000
    line = DelayLine(rate)
    options = {"faster_in": 1e-4, "faster_out": -1e-4, "jitter_s": 0.002, "block": rate // 10, "rate": rate}
    _, delays = simulate(line, 3600, np.zeros_like, lambda now: 0.3, **options)
    settled = delays[delays[:, 0] > 60, 1]
    assert np.abs(settled - 0.3).max() < 0.003
    assert abs(settled[-1000:].mean() - settled[:1000].mean()) < 0.0005
    assert line.state.xruns == 0


def test_sound_comes_out_as_late_as_asked():
    """A step in the sound, at the time at which it is heard; not only what the line believes of itself."""
    line = DelayLine(RATE)
    sound, _ = simulate(line, 12, lambda times: (times >= 10.0).astype(float), lambda now: 0.12)
    heard_s = int(np.argmax(sound > 0.5)) / RATE + AHEAD_S
    assert heard_s == pytest.approx(10.12, abs=0.001)


def test_delay_is_never_less_than_the_devices_allow():
    line = DelayLine(RATE)
    sound, delays = simulate(line, 12, sine(1000.0), lambda now: 0.01)
    state = line.state
    assert state.floor_s > AHEAD_S and delays[-1, 1] == pytest.approx(state.floor_s, abs=0.002)
    assert outside_db(sound[4 * RATE :], 1000.0, 150) < -75


def test_a_microphone_that_stands_still_is_counted_fades_and_comes_back():
    line = DelayLine(RATE)
    sound, delays = simulate(line, 12, sine(1000.0), lambda now: 0.1, lost=lambda now: 5 < now < 5.5)
    assert line.state.xruns >= 1
    assert np.abs(np.diff(sound)).max() < 0.08  # the tone's own steepest step is 0.065
    assert np.abs(sound[round(5.3 * RATE) : round(5.4 * RATE)]).max() < 1e-4
    assert np.abs(sound[-RATE:]).max() > 0.45 and delays[-1, 1] == pytest.approx(0.1, abs=0.005)


def test_a_gap_is_no_reason_for_a_longer_delay():
    """Half a second without a sample is one hiccup, not fifty blocks that came late."""
    line, floors = DelayLine(RATE), []

    def target_s(now: float) -> float:
        floors.append(line.state.floor_s)
        return 0.1

    simulate(line, 12, sine(1000.0), target_s, lost=lambda now: 5 < now < 5.5)
    assert max(floors) < 0.08


def test_a_device_that_becomes_slower_for_good_is_followed():
    """Blocks of capture that come 150 ms later than before, none lost."""
    line, late = DelayLine(RATE), []
    for number in range(1200):
        now = number * BLOCK / RATE
        arrived = number if number < 500 else max(500, number - 15)
        while len(late) < arrived:
            end = len(late) + 1
            times = (end - 1) * BLOCK / RATE + np.arange(BLOCK) / RATE
            line.push(sine(1000.0)(times).astype(np.float32), end * BLOCK / RATE)
            late.append(now)
        line.aim(0.1)
        line.pull(BLOCK, now + AHEAD_S)
    assert 0.19 < line.state.floor_s < 0.25 and line.state.delay_s > 0.19
    assert line.state.xruns <= 2


def test_a_device_that_is_late_only_at_the_beginning_does_not_stay_so():
    """A sink that has been played ahead for somebody else: its first half second is half a second late."""
    line = DelayLine(RATE)
    for number in range(400):
        line.push(np.zeros(BLOCK, np.float32), (number + 1) * BLOCK / RATE)
        line.aim(0.1)
        line.pull(BLOCK, number * BLOCK / RATE + (0.5 if number < 50 else AHEAD_S))
        if number == 40:
            assert line.state.floor_s > 0.4
    assert line.state.floor_s < 0.08 and line.state.delay_s == pytest.approx(0.1, abs=0.01)


def test_a_delay_that_is_suddenly_another_is_put_right_at_once():
    """One cross-fade, not seconds of speeding up."""
    line = DelayLine(RATE)
    sound, delays = simulate(line, 10, sine(1000.0), lambda now: 0.1 if now < 5 else 0.6)
    wrong = (np.abs(delays[:, 1] - 0.1) > 0.01) & (np.abs(delays[:, 1] - 0.6) > 0.01)
    assert wrong[200:].sum() == 0 and delays[-1, 1] == pytest.approx(0.6, abs=0.002)
    assert np.abs(np.diff(sound)).max() < 0.07


def test_nothing_that_is_being_overwritten_is_read():
    line = DelayLine(RATE)
    for number in range(300):
        line.push(np.zeros(BLOCK, np.float32), (number + 1) * BLOCK / RATE)
        line.aim(0.1)
        line.pull(BLOCK, number * BLOCK / RATE + 6.0)  # a device that plays six seconds later
    assert line.state.floor_s > 5 and line.state.delay_s <= HELD_S - AWAY_S + 0.01


def test_what_was_said_while_muted_is_never_heard():
    """A tone while muted, silence otherwise; a delay of half a second, so that it would come out after unmuting."""
    line, heard = DelayLine(RATE), []
    for number in range(400):
        line.muted = 100 <= number < 200
        end = (number + 1) * BLOCK
        tone = sine(1000.0)((end - BLOCK + np.arange(BLOCK)) / RATE)
        line.push((tone if 110 <= number < 200 else tone * 0).astype(np.float32), end / RATE)
        line.aim(0.5)
        heard.append(line.pull(BLOCK, end / RATE + AHEAD_S))
    assert np.abs(np.concatenate(heard)).max() < 1e-6


def test_gate_stays_open_until_a_late_voice_has_been_heard():
    """With a delay of more than a second the last of it comes out long after it was captured."""
    sound, _ = simulate(
        DelayLine(RATE, gate_db=-50), 10, lambda times: sine(500.0)(times) * (times < 6), lambda now: 1.5, block=BLOCK
    )
    last = round((6 + 1.5 - AHEAD_S) * RATE)
    assert np.abs(sound[last - RATE // 10 : last - RATE // 50]).max() > 0.49


def test_a_few_lost_samples_are_not_followed_by_seconds_of_silence():
    """0.12 s of capture are lost: too little for a jump by itself, and more than there is in hand."""
    line = DelayLine(RATE)
    sound, delays = simulate(line, 12, sine(1000.0), lambda now: 0.1, lost=lambda now: 5 < now < 5.12)
    loud = np.abs(sound.reshape(-1, BLOCK)).max(axis=1) > 0.2
    assert (~loud[520:]).sum() < 80 and np.abs(delays[700:, 1] - 0.1).max() < 0.002
    assert np.abs(np.diff(sound)).max() < 0.08


def test_mute_and_unmute_are_soft():
    line, heard = DelayLine(RATE), []
    for part, muted in enumerate((False, True, False)):
        line.muted = muted
        for number in range(200):
            end = (part * 200 + number + 1) * BLOCK
            line.push(sine(1000.0)((end - BLOCK + np.arange(BLOCK)) / RATE).astype(np.float32), end / RATE)
            line.aim(0.1)
            heard.append(line.pull(BLOCK, end / RATE + AHEAD_S))
    sound = np.concatenate(heard)
    assert np.abs(sound[210 * BLOCK : 400 * BLOCK]).max() == 0
    assert np.abs(sound[450 * BLOCK :]).max() > 0.45 and np.abs(np.diff(sound)).max() < 0.07


def test_gate_opens_at_once_and_closes_late():
    gate = Gate(RATE, threshold_db=-50)
    loud, quiet = np.full(BLOCK, 0.1, np.float32), np.full(BLOCK, 0.0005, np.float32)
    assert gate.is_open(loud) and all(gate.is_open(quiet) for _ in range(59))
    assert not gate.is_open(quiet) and gate.is_open(loud)
    assert Gate(RATE).is_open(quiet * 0)


def test_gate_silences_noise_and_no_voice():
    """It looks ahead by the delay: the voice's first sample is whole."""
    chance = np.random.default_rng(3)

    def sound(times: np.ndarray) -> np.ndarray:
        voice = (times > 6) & (times < 7)
        return np.where(voice, sine(500.0)(times), 0.0003 * chance.standard_normal(len(times)))

    played, _ = simulate(DelayLine(RATE, gate_db=-50), 10, sound, lambda now: 0.1)
    begin = round((6 + 0.1 - AHEAD_S) * RATE)
    assert np.abs(played[begin - RATE : begin - RATE // 10]).max() == 0
    assert np.abs(played[begin : begin + RATE // 50]).max() > 0.49
    assert np.abs(played[-RATE:]).max() == 0


@given(st.lists(st.tuples(st.integers(1, 700), st.booleans()), max_size=12))
def test_fader_never_jumps(parts: list[tuple[int, bool]]):
    fader = Fader(RATE)
    gains = np.concatenate([[0.0], *(fader.gains(count, is_open=state) for count, state in parts)])
    assert np.abs(np.diff(gains)).max(initial=0) < 0.008 and gains.min() >= 0 and gains.max() <= 1


APIS = [{"name": "MME"}, {"name": "Windows WASAPI"}, {"name": "Core Audio"}]


def device(name: str, api: int, inputs: int = 0, outputs: int = 0) -> dict:
    return {"name": name, "hostapi": api, "max_input_channels": inputs, "max_output_channels": outputs}


WINDOWS = [
    device("Microphone (USB)", 0, inputs=2),
    device("CABLE Input (VB-Audio Virtual C", 0, outputs=2),
    device("CABLE Output (VB-Audio Virtual Cable)", 1, inputs=2),
    device("CABLE Input (VB-Audio Virtual Cable)", 1, outputs=2),
    device("Microphone (USB)", 1, inputs=2),
]
MACOS = [device("MacBook Microphone", 2, inputs=1), device("BlackHole 2ch", 2, inputs=2, outputs=2)]


def test_cables_are_found_by_name():
    assert find_cable(WINDOWS, APIS) == (3, "CABLE Output")
    assert find_cable(MACOS, APIS) == (1, "BlackHole")
    with pytest.raises(DeviceError, match="virtual cable"):
        find_cable(MACOS[:1], APIS)


def test_the_cable_is_no_microphone():
    assert find_microphone(WINDOWS, APIS, "auto", 0) == 0
    assert find_microphone(WINDOWS, APIS, "auto", 2) == 4  # the default is the cable's own end
    assert find_microphone(WINDOWS, APIS, "usb", 0) == 4
    assert find_microphone(MACOS, APIS, "auto", 1) == 0
    with pytest.raises(DeviceError, match="'nobody'"):
        find_microphone(MACOS, APIS, "nobody", 0)


def test_our_microphone_is_not_our_input(monkeypatch: pytest.MonkeyPatch):
    sources = "1\tf2f_sink.monitor\n2\tf2f_microphone\n3\tspeakers.monitor\n4\tusb.mic\n5\tinternal.mic\n"
    answers = {
        ("list", "short", "sources"): sources,
        ("info",): "Default Source: f2f_microphone\n",
        ("list", "sources"): "Source #5\n\tName: internal.mic\n\tDescription: Laptop Microphone\n",
    }
    monkeypatch.setattr(virtual_microphone, "_pactl", lambda *words: answers[words])
    assert virtual_microphone.chosen_microphone("auto") == "usb.mic"
    assert virtual_microphone.chosen_microphone("laptop") == "internal.mic"
    assert virtual_microphone.chosen_microphone("speakers.monitor") == "speakers.monitor"
    with pytest.raises(DeviceError, match="no microphone 'f2f_mic"):
        virtual_microphone.chosen_microphone("f2f_microphone")


def test_auto_wants_a_live_actor_and_a_camera():
    assert reason_against("auto", "webcam:0", "preview") == "the output is no camera"
    assert reason_against("auto", "synthetic", "pipewire") == "the actor is no live camera"
    assert reason_against("off", "webcam:0", "v4l2") == "switched off"
    assert reason_against("headset", "synthetic", "null") is None
    assert reason_against("auto", "webcam:0", "v4l2:/dev/video9") is None


@pytest.mark.parametrize("text", ["loud", "3", "-500", "nan", ""])
def test_gate_levels_are_checked(text: str):
    with pytest.raises(ConfigError, match="gate"):
        StartConfig("alice", sound_gate=text)
    assert parse_gate("-50") == -50 and parse_gate("off") is None


FAKE = """
import sys, time
from f2fcam.channel import from_parent
channel, setup = from_parent()
if setup["microphone"] == "none":
    channel.send({"error": "There is no microphone.", "hint": "Plug one in.", "exit_code": 3})
    sys.exit(1)
told = dict(setup)
for message in channel.messages():
    if message.get("command") == "close":
        break
    told |= message
    report = {"state": "on", "microphone": "m", "device": "d", "delay_ms": told["latency_ms"], "told_mute": told["muted"]}
    channel.send({"report": report})
    if message.get("latency_ms") == 66.0:
        sys.exit(9)
"""


REMOVED: list[bool] = []


def until(process: SoundProcess, ready: Callable[[dict], bool], latency_ms: float | None = 100.0) -> dict:
    """Let real time go by for the child, and the fast clock that we give for the rest."""
    deadline, now = time.monotonic() + 20, 0.0
    while not ready(status := process.status()):
        assert time.monotonic() < deadline, status
        now += 0.3
        process.step(now, latency_ms)
        time.sleep(0.01)
    return status


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("F2FCAM_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("PULSE_SERVER", "tests")
    monkeypatch.setattr(virtual_microphone.shutil, "which", lambda name: name)
    monkeypatch.setattr("f2fcam.audio.process.remove_virtual_microphone", lambda: REMOVED.append(True))
    REMOVED.clear()
    made: list[SoundProcess] = []

    def make(wanted: str, off: str | None = None, **options) -> SoundProcess:
        made.append(SoundProcess(wanted, None, off=off, command=[sys.executable, "-c", FAKE], **options))
        return made[-1]

    yield make
    for process in made:
        process.close()


def test_process_is_told_and_comes_again_muted_as_it_was(ours):
    process = ours("auto")
    assert until(process, lambda status: status["state"] == "on")["delay_ms"] == 100
    process.mute(True)
    until(process, lambda status: status.get("told_mute") is True)
    until(process, lambda status: status["restarts"] == 1, latency_ms=66.0)
    status = until(process, lambda status: status["state"] == "on")
    assert status["told_mute"] is True and status["muted"]


def test_missing_microphone_is_said_once_and_tried_again(ours, caplog: pytest.LogCaptureFixture):
    status = until(process := ours("none"), lambda status: status["restarts"] >= 3)
    assert "There is no microphone. Plug one in." in str(status["reason"])
    assert len([record for record in caplog.records if "No sound for now" in record.message]) == 1
    assert "There is no microphone" in _sound(process.status())


def test_process_starts_before_anybody_knows_how_late_the_picture_is(ours):
    """The microphone is there for programs to be chosen; told is nothing that nobody knows."""
    process = ours("auto")
    process.step(0.0, None)
    process.step(0.3, None)
    process.mute(True)
    assert until(process, lambda status: status["state"] == "on", latency_ms=None)["delay_ms"] == UNKNOWN_MS


def test_why_there_is_no_sound_is_told(ours):
    told: list[str] = []
    until(ours("none", tell=told.append), lambda status: status["restarts"] >= 2)
    assert told == ["There is no microphone. Plug one in."]


@pytest.mark.skipif(sys.platform != "linux", reason="a server is wanted on Linux only")
@pytest.mark.parametrize("wanted", ["auto", "headset"])
def test_a_sound_server_that_comes_later_is_found(
    ours, wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    monkeypatch.delenv("PULSE_SERVER")
    monkeypatch.setenv("PULSE_RUNTIME_PATH", str(tmp_path))
    process = ours(wanted)
    for second in range(20):
        process.step(float(second), 100.0)
    status = process.status()
    assert status["state"] == "waiting" and "no PulseAudio or PipeWire sound server runs" in status["reason"]
    assert len([record for record in caplog.records if "No sound for now" in record.message]) == 1
    (tmp_path / "native").touch()
    until(process, lambda status: status["state"] == "on")


def test_what_a_killed_run_left_goes_with_a_start_without_sound(ours, tmp_path: Path):
    killed = ours("auto")
    until(killed, lambda status: status["state"] == "on")
    assert not REMOVED
    ours("off", off="switched off")
    assert REMOVED == [True]
    ours("off", off="switched off")
    assert REMOVED == [True]  # a camera that never had sound leaves other cameras' alone


def test_off_starts_nothing(ours):
    process = ours("auto", off="the output is no camera")
    process.step(0.0, 100.0)
    assert process.channel() is None and process.status() == {"state": "off", "reason": "the output is no camera"}
    assert not process.running and _sound(process.status()) == "off, the output is no camera"


class FakeDevices:
    microphone, output, xruns, failure = "m", "d", 2, None

    def __init__(self) -> None:
        self.blocks = [0, 0]

    def start(self, push, pull) -> None:
        self.push, self.pull = push, pull

    def too_slow(self, delay_s: float) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def test_hung_device_is_noticed(monkeypatch: pytest.MonkeyPatch):
    devices, now = FakeDevices(), [100.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    sound = worker.Sound(devices, None)
    sound.start()
    sound.follow({"latency_ms": 90.0, "muted": True})
    report = sound.report()
    assert report["target_ms"] == 100.0 and report["xruns"] == 2 and report["delay_ms"] is None
    devices.blocks, now[0] = [5, 0], 106.0
    with pytest.raises(DeviceError, match="d for 5 s"):
        sound.report()


SETUP = {"microphone": "auto", "gate_db": None, "muted": False, "latency_ms": 150.0, "idle_s": 10.0}


class Desk:
    """A sound process without a sound server: a clock, devices, listeners, and what it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.listeners, self.opened, self.said = 100.0, 0, [], []
        self.missing = self.moved = False
        self.asked_s: list[float] = []
        monkeypatch.setattr(worker.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(worker, "count_listeners", lambda: self.listeners)
        monkeypatch.setattr(worker, "is_whole", lambda: True)
        monkeypatch.setattr(worker, "records_itself", lambda process: self.moved)
        monkeypatch.setattr(worker, "chosen_microphone", lambda wanted: "other" if self.missing else "m")
        monkeypatch.setattr(worker, "open_devices", self._open)

    def _open(self, microphone: str, delay_s: float) -> FakeDevices:
        self.asked_s.append(delay_s)
        if self.missing:
            raise DeviceError("There is no microphone.", hint="Plug one in.")
        self.opened.append(FakeDevices())
        return self.opened[-1]

    def run(self, sound: worker.OnDemand, seconds: float) -> dict:
        for _ in range(round(seconds * 10)):
            sound.step()
            self.now += 0.1
            for devices in self.opened[-1:]:
                devices.blocks = [devices.blocks[0] + 1, devices.blocks[1] + 1]
                devices.push(np.zeros(4800, np.float32), self.now)
                devices.pull(4800, self.now + AHEAD_S)
        return self.said[-1]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


NEW_LISTENER = {("new", "source-output")}


def test_microphone_is_closed_while_nobody_listens(desk: Desk):
    sound = worker.OnDemand(SETUP, desk.said.append, counted=True)
    assert desk.run(sound, 5)["report"]["state"] == "on"
    report = desk.run(sound, 10)["report"]
    assert report["state"] == "asleep" and desk.opened[0].closed and report["xruns"] == 2
    said = len(desk.said)
    desk.run(sound, 20)
    assert len(desk.said) == said and len(desk.opened) == 1
    desk.listeners = 1
    sound.heed(NEW_LISTENER)
    sound.step()
    assert len(desk.opened) == 2
    report = desk.run(sound, 60)["report"]
    assert report["state"] == "on" and report["listeners"] == 1 and report["xruns"] == 4
    desk.listeners = 0
    sound.heed({("remove", "source-output")})
    assert desk.run(sound, 9)["report"]["state"] == "on"
    assert desk.run(sound, 2)["report"]["state"] == "asleep"


@pytest.mark.parametrize("counted", [True, False])
def test_always_on_where_it_is_wanted_or_nobody_can_tell(desk: Desk, counted: bool):
    sound = worker.OnDemand(SETUP | {"idle_s": None if counted else 10.0}, desk.said.append, counted=counted)
    assert desk.run(sound, 100)["report"]["state"] == "on" and len(desk.opened) == 1


def test_a_microphone_is_found_when_it_comes(desk: Desk):
    desk.missing, desk.listeners = True, 1
    sound = worker.OnDemand(SETUP, desk.said.append, counted=True)
    assert desk.run(sound, 20)["error"] == "There is no microphone."
    assert len(desk.said) == len(desk.asked_s) == 1
    desk.missing = False
    sound.heed({("new", "source")})
    assert desk.run(sound, 1)["report"]["state"] == "on"


def test_another_default_microphone_is_taken(desk: Desk):
    desk.listeners = 1
    sound = worker.OnDemand(SETUP, desk.said.append, counted=True)
    desk.run(sound, 2)
    sound.heed({("change", "server")})
    assert len(desk.opened) == 1 and not hasattr(desk.opened[0], "closed")
    desk.missing = True  # the name is another one now
    sound.heed({("change", "server")})
    assert desk.opened[0].closed


def test_a_recorder_that_was_moved_to_our_own_microphone_is_opened_anew(desk: Desk):
    desk.listeners, desk.moved = 1, False
    sound = worker.OnDemand(SETUP, desk.said.append, counted=True)
    desk.run(sound, 2)
    sound.heed({("change", "source-output")})
    assert len(desk.opened) == 1 and not hasattr(desk.opened[0], "closed")
    desk.moved = True
    sound.heed({("change", "source-output")})
    assert desk.opened[0].closed
    desk.run(sound, 1)
    assert len(desk.opened) == 2


def test_what_a_process_records_is_looked_up(monkeypatch: pytest.MonkeyPatch):
    stream = 'Source Output #{0}\n\tDriver: x\n\tSource: {1}\n\tProperties:\n\t\tapplication.process.id = "{2}"\n'
    answers = {
        ("list", "short", "sources"): "1\tf2f_sink.monitor\n2\tf2f_microphone\n22\tusb.mic\n",
        ("list", "source-outputs"): "\n".join([stream.format(7, 2, 100), stream.format(8, 22, 200)]),
    }
    monkeypatch.setattr(virtual_microphone, "_pactl", lambda *words: answers[words])
    assert [virtual_microphone.records_itself(number) for number in (100, 200, 300)] == [True, False, False]


def test_devices_that_are_too_slow_are_opened_anew_and_kept_otherwise(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    state, desk.listeners = SoundState(0.1, 0.08, 0.1, 0, False), 1
    monkeypatch.setattr(DelayLine, "state", property(lambda line: state))
    sound = worker.OnDemand(SETUP, desk.said.append, counted=True)
    desk.run(sound, 2)
    sound.follow({"latency_ms": 70.0})
    desk.run(sound, 2)
    assert desk.asked_s == [0.15, 0.07]
    state = SoundState(0.1, 0.11, 0.1, 0, False)
    desk.run(sound, 10)
    assert len(desk.opened) == 2


def test_our_microphone_is_whole_only_once(monkeypatch: pytest.MonkeyPatch):
    sink = "\tmodule-null-sink\tsink_name=f2f_sink rate=48000\n"
    source = "\tmodule-remap-source\tmaster=f2f_sink.monitor source_name=f2f_microphone\n"
    listed = ["", "1" + sink, f"1{sink}2{source}", f"1{sink}2{sink}", f"1{sink}2{source}3{sink}4{source}"]
    monkeypatch.setattr(virtual_microphone, "_pactl", lambda *words: listed[0])
    found = []
    while listed:
        found.append(virtual_microphone.is_whole())
        listed.pop(0)
    assert found == [False, False, True, False, False]


def test_sound_is_held_back_by_the_age_of_what_is_seen_on_average():
    """Half of the time that a picture stays comes to its age; pictures of a cold engine do not count."""
    lateness, now = Lateness(), 100.0
    for number in range(100):
        now += 0.04
        lateness.add(900.0 if number < COLD else 90.0, now)
        assert (lateness.recent() is None) == (number < COLD)
    assert lateness.recent() == pytest.approx(110.0)
    now += 30
    for number in range(COLD):
        lateness.add(2000.0, now + number / 25)
        assert lateness.recent() == pytest.approx(110.0)
