"""`f2fcam profile`: the enrolled people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from f2fcam.cli.console import err, out, print_json
from f2fcam.cli.options import Json, Profiles, configured_profiles
from f2fcam.cli.tables import profile_table


def list_(profiles: Profiles = None, as_json: Json = False) -> None:
    """All profiles."""
    from f2fcam.config import load_config
    from f2fcam.profile_search import require_folder
    from f2fcam.profile_store import list_profiles

    if profiles is not None:
        require_folder(profiles)
    entries = list_profiles(profiles or configured_profiles(load_config()))
    if as_json:
        print_json({"profiles": [_entry(entry) for entry in entries]})
        return
    if profiles is not None and not any(entry.directory.parent == profiles for entry in entries):
        err.print(f"{profiles} holds no profile.", markup=False)
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
    from f2fcam.mouth.coverage import profile_coverage
    from f2fcam.profile import manifest_table, read_frames, read_group, verify_profile
    from f2fcam.profile_search import find_profile

    directory = find_profile(name, profiles or configured_profiles(load_config()))
    manifest = verify_profile(directory)
    enrolment = read_group(directory, "enrolment") if "enrolment.npz" in manifest.files else {}
    mouths = profile_coverage(read_frames(directory), enrolment)
    if not as_json:
        out.print(profile_table(directory, manifest, mouths))
        return
    facts = {"directory": str(directory), "made_by_you": manifest.own, **manifest_table(manifest)}
    if mouths is not None:
        facts |= {"mouth_coverage": round(mouths.score, 2), "record_more": list(mouths.missing)}
    print_json(facts)


def export(
    name: Annotated[str, typer.Argument(show_default=False)],
    output: Annotated[Path, typer.Argument(help="A zip file or a folder.")] = Path(),
    profiles: Profiles = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
) -> None:
    """Pack a profile into one file."""
    from f2fcam.config import load_config
    from f2fcam.profile_store import export_profile

    place = export_profile(name, output, profiles or configured_profiles(load_config()), replace=force)
    out.print(f"Wrote {place}", markup=False)


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
