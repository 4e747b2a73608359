"""The command line: parse, make the values, one call, a message and an exit code. What is done is done elsewhere.

- `camera`, `work`, `profiles`, `machine`: the commands;
- `options`: what they share; `console`: what they print.

Heavy modules are imported inside the commands, so that `f2fcam --help` and `f2fcam stop` answer at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Annotated

import typer

from f2fcam import __version__
from f2fcam.cli import camera, machine, profiles, work
from f2fcam.cli.console import complain, err, out
from f2fcam.errors import F2FError

INTERRUPTED = 130

app = typer.Typer(
    name="f2fcam",
    help="Act another face's video, live, as a camera.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
profile_app = typer.Typer(help="List, show, send, take in and remove enrolled people.", no_args_is_help=True)
app.add_typer(profile_app, name="profile")
service_app = typer.Typer(help="Let the camera start with the session (systemd).", no_args_is_help=True)
app.add_typer(service_app, name="service")

COMMANDS = (
    work.enroll,
    camera.start,
    camera.stop,
    camera.status,
    camera.switch,
    camera.pause,
    camera.resume,
    camera.recalibrate,
    camera.mute,
    camera.unmute,
    work.render,
    work.evaluate,
    work.bench,
    machine.doctor,
    machine.selftest,
    work.verify,
    machine.warmup,
)
"""In the order of `f2fcam --help`."""
for _command in COMMANDS:
    app.command()(_command)
for _name, _command in (
    ("list", profiles.list_),
    ("show", profiles.show),
    ("export", profiles.export),
    ("import", profiles.import_),
    ("delete", profiles.delete),
):
    profile_app.command(_name)(_command)
service_app.command("install")(machine.install_service)
service_app.command("remove")(machine.remove_service)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"f2fcam {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
) -> None:
    """Act another face's video, live, as a camera."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(message)s", stream=sys.stderr, force=True
    )
    if not verbose:
        for name in ("numba", "matplotlib", "jax", "absl", "PIL"):
            logging.getLogger(name).setLevel(logging.WARNING)


def main() -> None:
    """The program: errors as two lines on stderr and an exit code, never a traceback."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code."""
    try:
        code = app(arguments, prog_name="f2fcam", standalone_mode=False)
    except F2FError as error:
        complain(error.message, error.hint)
        return error.exit_code
    except (KeyboardInterrupt, EOFError):
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            err.print(str(error), markup=False)
            return 2
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # the parser's own
            complain(str(error.format_message()), "See `f2fcam --help`.")
            return 2
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        complain(_unexpected(error), "Run it again with `f2fcam --verbose ...` and report what it says.")
        return 1
    if code == INTERRUPTED:
        err.print("Interrupted; what was there before is as it was.")
    return code if isinstance(code, int) else 0


def _unexpected(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "There is not enough memory."
    if isinstance(error, ModuleNotFoundError):
        return f"This installation lacks {error.name}."
    return f"Something went wrong inside f2fcam: {type(error).__name__}: {error}"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
