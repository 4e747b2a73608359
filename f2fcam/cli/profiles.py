"""`f2fcam profile`: the enrolled people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from f2fcam.cli.console import answer, out, plain, print_json
from f2fcam.cli.options import Json, Profiles, configured_profiles


def list_(profiles: Profiles = None, as_json: Json = False) -> None:
    """All profiles."""
    from f2fcam.config import load_config
    from f2fcam.profile_store import list_profiles

    entries = list_profiles(profiles or configured_profiles(load_config()))
    if as_json:
        print_json({"profiles": [_entry(entry) for entry in entries]})
        return
    table = Table("name", "frames", "subject", "consent until", "", box=None)
    for entry in entries:
        label = entry.manifest
        facts = (
            (str(label.counts.get("frames", "")), label.consent.subject, str(label.consent.expires))
            if label
            else ("",) * 3
        )
        table.add_row(entry.name, *facts, entry.fault or ("bundled" if entry.bundled else ""))
    out.print(table)


def show(
    name: Annotated[str, typer.Argument(show_default=False)], profiles: Profiles = None, as_json: Json = False
) -> None:
    """What a profile holds, after checking it."""
    from f2fcam.config import load_config
    from f2fcam.profile import manifest_table, verify_profile
    from f2fcam.profile_store import find_profile

    directory = find_profile(name, profiles or configured_profiles(load_config()))
    manifest = verify_profile(directory)
    facts = {"directory": str(directory), "own": manifest.own, **manifest_table(manifest)}
    answer(facts, as_json, "\n".join(f"{key:>12}  {plain(value)}" for key, value in facts.items() if key != "files"))


def export(
    name: Annotated[str, typer.Argument(show_default=False)],
    output: Annotated[Path, typer.Argument(help="A zip file or a folder.")] = Path(),
    profiles: Profiles = None,
) -> None:
    """Pack a profile into one file."""
    from f2fcam.config import load_config
    from f2fcam.profile_store import export_profile

    out.print(f"Wrote {export_profile(name, output, profiles or configured_profiles(load_config()))}", markup=False)


def import_(
    archive: Annotated[Path, typer.Argument(show_default=False)],
    profiles: Profiles = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a profile of that name.")] = False,
) -> None:
    """Take in an exported profile, after checking it."""
    from f2fcam.config import load_config
    from f2fcam.profile_store import import_profile

    place = import_profile(archive, profiles or configured_profiles(load_config()), replace=replace)
    out.print(f"Took in {place.name}: {place}", markup=False)


def delete(name: Annotated[str, typer.Argument(show_default=False)], profiles: Profiles = None) -> None:
    """Remove a profile for good."""
    from f2fcam.config import load_config
    from f2fcam.profile_store import delete_profile

    out.print(f"Deleted {delete_profile(name, profiles or configured_profiles(load_config()))}", markup=False)


def _entry(entry: Any) -> dict[str, Any]:
    label = entry.manifest
    return {
        "name": entry.name,
        "directory": str(entry.directory),
        "bundled": entry.bundled,
        "fault": entry.fault,
        "subject": label.consent.subject if label else None,
        "expires": str(label.consent.expires) if label else None,
        "counts": dict(label.counts) if label else {},
    }
