"""Commands about this machine: `doctor` and `warmup`."""

from __future__ import annotations

import typer

from f2fcam.cli.console import fields, out, print_json, progress_bars
from f2fcam.cli.options import Json, Profiles


def doctor(profiles: Profiles = None, as_json: Json = False) -> None:
    """Look for what is missing and say which command mends it."""
    from f2fcam.doctor import run_checks

    checks = run_checks(profiles)
    good = all(check.state != "fault" for check in checks)
    if as_json:
        print_json({"ok": good, "checks": [fields(check) for check in checks]})
    else:
        for check in checks:
            out.print(f"{check.state:>8}  {check.name}: {check.finding}", markup=False)
            if check.remedy:
                out.print(f"          mend: {check.remedy}", markup=False)
    raise typer.Exit(0 if good else 1)


def warmup() -> None:
    """Compile everything now, so that the first start is a fast one."""
    from f2fcam.warmup import warm_up

    with progress_bars() as progress:
        warm_up(progress)
    out.print("Ready.")
