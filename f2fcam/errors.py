"""Everything that f2fcam raises on purpose.

F2FError                exit 1   the work failed
├── ConfigError         exit 2   wrong usage: a file that is not there, a bad name, no consent
├── DeviceError         exit 3   a webcam or camera device is missing
├── ProfileError        exit 4   a profile is unknown, invalid or not allowed
├── InputError          exit 5   the input video cannot be used
└── ModelError          exit 1   the face model's file is missing, damaged or of another version

A message says in one sentence what failed; `hint` says in one sentence which command mends it.
"""

from __future__ import annotations


class F2FError(Exception):
    """A failure that the user is told about without a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(F2FError):
    """Wrong usage: a bad option, name or file."""

    exit_code = 2


class DeviceError(F2FError):
    """A webcam or a camera device is missing or went away."""

    exit_code = 3


class ProfileError(F2FError):
    """A profile is unknown, damaged, foreign or not allowed."""

    exit_code = 4


class InputError(F2FError):
    """An input video cannot be used."""

    exit_code = 5


class ModelError(F2FError):
    """The face model's file cannot be used."""
