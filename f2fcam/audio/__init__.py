"""The microphone, as late as the picture: captured, delayed by the picture's latency, played into "F2F Microphone".

- `clock`, `resampling`, `delay_line`, `gate`: the numerics, pure state with time as an argument;
- `pulse`: streams of PulseAudio's and PipeWire's sound server; `portaudio`: sounddevice, where there is no such server;
- `virtual_microphone`: the device that other programs select;
- `worker`: the process that does it all; `process`: the camera's view of it, standard library only.
"""

RATE = 48_000
"""Samples a second, one channel: what calls carry."""
MICROPHONE = "F2F Microphone"
