"""Profiles on disk: how one is made, opened, listed, sent, taken in and removed (`profile_search`: where they are looked for).

A profile appears whole or not at all: it is written beside its place and renamed; one that is replaced goes last.
"""

from __future__ import annotations

import datetime
import errno
import os
import shutil
import stat
import sys
import zipfile
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
import tomli_w

import f2fcam
from f2fcam.errors import ConfigError, F2FError, ProfileError
from f2fcam.face.state import Person
from f2fcam.kept import forget
from f2fcam.profile import (
    FRAMES,
    GROUPS,
    MANIFEST,
    PERSON,
    REQUIRED,
    FileRecord,
    Manifest,
    Profile,
    TrackedFrames,
    damaged,
    file_hash,
    frame_arrays,
    load_profile,
    manifest_table,
    person_arrays,
    read_manifest,
    signed_bytes,
    verify_profile,
)
from f2fcam.profile_search import checked_name, find_profile, package_profiles, recover, search_path, user_profiles
from f2fcam.trust import signing
from f2fcam.trust.consent import Consent

IMPORT_LIMIT = 4 << 30
"""Bytes that an imported profile may unpack to."""
EFFORT = 3
"""zlib's: the usual 6 takes three times as long to save four percent."""


def open_profile(name: str, profiles: Path | None = None, *, model_hash: str | None = None) -> Profile:
    """Find, verify and load."""
    return load_profile(find_profile(name, profiles), model_hash=model_hash)


@dataclass(frozen=True, slots=True)
class Entry:
    """A profile in a listing; `fault` says why it cannot be used."""

    name: str
    directory: Path
    manifest: Manifest | None
    fault: str | None
    bundled: bool


def list_profiles(profiles: Path | None = None) -> list[Entry]:
    """All profiles that a name can mean, by name."""
    found: dict[str, Entry] = {}
    for root in search_path(profiles):
        for directory in sorted(root.iterdir()) if root.is_dir() else []:
            looks_like_one = any((directory / file).exists() for file in (MANIFEST, *REQUIRED))
            if looks_like_one and not directory.name.startswith(".") and directory.name not in found:
                found[directory.name] = _entry(directory, bundled=root == package_profiles())
    return sorted(found.values(), key=lambda entry: entry.name)


def _entry(directory: Path, bundled: bool) -> Entry:
    try:
        manifest = read_manifest(directory)
        manifest.consent.require_valid()
        return Entry(directory.name, directory, manifest, None, bundled)
    except ProfileError as error:
        return Entry(directory.name, directory, None, error.message, bundled)


def delete_profile(name: str, profiles: Path | None = None) -> Path:
    """Remove a profile of the user; the package's stay."""
    directory = find_profile(name, profiles)
    if directory.parent == package_profiles() and profiles is None:
        raise ConfigError(
            f"{name} is part of the installation.", hint="Only profiles that you enrolled can be deleted."
        )
    with explained(directory):
        gone = directory.with_name(f".{name}.deleted-{os.getpid()}")
        directory.rename(gone)
        _forget(gone)
        shutil.rmtree(gone)
    return directory


def export_profile(name: str, output: Path, profiles: Path | None = None, *, replace: bool = False) -> Path:
    """Write a verified profile into one zip file; `ConfigError` where there is one, unless it is to be replaced."""
    directory = find_profile(name, profiles)
    manifest = verify_profile(directory)
    if output.is_dir():
        output = output / f"{name}.zip"
    if output.exists() and not replace:
        raise ConfigError(f"{output} is there already.", hint="Give --force to replace it, or another name.")
    partial = output.with_name(f".{output.name}.partial-{os.getpid()}")
    with explained(output):
        try:
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
                for file in (MANIFEST, *sorted(manifest.files)):
                    archive.write(directory / file, f"{name}/{file}")
            partial.replace(output)
        finally:
            partial.unlink(missing_ok=True)
    return output


def import_profile(archive: Path, profiles: Path | None = None, *, replace: bool = False) -> Path:
    """Take in an exported profile: unpacked beside its place, verified, then renamed."""
    if not archive.is_file():
        raise ConfigError(f"{archive} does not exist.", hint="Give a file that `f2fcam profile export` wrote.")
    try:
        with zipfile.ZipFile(archive) as opened:
            name, members = _members(opened, archive)
            root = profiles or user_profiles()
            if (root / name).exists() and not replace:
                raise ConfigError(f"There is a profile {name!r} already.", hint="Give --replace, or delete it first.")
            with ProfileDraft(root, name) as draft:
                for member in members:
                    with opened.open(member) as source, (draft.folder / Path(member.filename).name).open("wb") as file:
                        shutil.copyfileobj(source, file)
                verify_profile(draft.folder)
                return draft.commit()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ProfileError(
            f"{archive} is damaged or no zip file: {error}.", hint="Export the profile again."
        ) from error


def _members(archive: zipfile.ZipFile, path: Path) -> tuple[str, list[zipfile.ZipInfo]]:
    """The profile's name and files; refuses everything that `export_profile` does not write."""
    files = [member for member in archive.infolist() if not member.is_dir()]
    names: set[str] = set()
    for member in files:
        kind = stat.S_IFMT(member.external_attr >> 16)
        parts = member.filename.split("/")
        odd = len(parts) != 2 or parts[1] in ("", ".", "..") or "\\" in member.filename or parts[1].startswith(".")
        if odd or kind not in (0, stat.S_IFREG):
            raise damaged(path, f"it has the entry {member.filename!r}")
        names.add(parts[0])
    if len(names) != 1 or not any(member.filename.endswith(f"/{MANIFEST}") for member in files):
        raise damaged(path, "it does not hold one profile")
    if sum(member.file_size for member in files) > IMPORT_LIMIT:
        raise damaged(path, "it would unpack to more than 4 GiB")
    try:
        return checked_name(names.pop()), files
    except ConfigError as error:
        raise damaged(path, error.message) from error


class ProfileDraft:
    """A profile being made in `folder`, beside its place; gone without `finish` or `commit`, and the old one still there.

    Enrolment writes `target.mp4` and the pictures into `folder`, then calls `finish` with the arrays.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.name = checked_name(name)
        self.place = root / name
        self.folder = root / f".{name}.partial-{os.getpid()}"
        with explained(self.place):
            root.mkdir(parents=True, exist_ok=True)
            _remove_stale(root, name)
            recover(root, name)
            self.folder.mkdir(mode=0o700)

    def __enter__(self) -> ProfileDraft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise disk_error(self.place, error) from error

    def finish(
        self,
        person: Person,
        frames: TrackedFrames,
        consent: Consent,
        *,
        model_hash: str,
        detector: str,
        source: str,
        rate: Fraction,
        size: tuple[int, int],
        counts: Mapping[str, int] | None = None,
        **groups: Mapping[str, np.ndarray],
    ) -> Profile:
        """Store the arrays (`groups`: see `GROUPS`), hash and sign everything, put it in its place."""
        unknown = set(groups) - set(GROUPS)
        if unknown:
            raise ValueError(f"no such group: {unknown}")
        with explained(self.place):
            _save(self.folder / PERSON, person_arrays(person))
            _save(self.folder / FRAMES, frame_arrays(frames))
            for group, arrays in groups.items():
                _save(self.folder / f"{group}.npz", arrays)
            files = sorted(p for p in self.folder.iterdir() if p.name != MANIFEST)
            manifest = Manifest(
                name=self.name,
                created=datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0),
                version=f2fcam.__version__,
                model_hash=model_hash,
                detector=detector,
                source=source,
                rate=rate,
                size=size,
                counts={"frames": len(frames), **(counts or {})},
                consent=consent,
                files={p.name: FileRecord(file_hash(p), p.stat().st_size) for p in files},
                public_key="",
            )
            table = manifest_table(manifest)
            public_key, value = signing.sign(signed_bytes(table))
            table["signature"] = {"algorithm": "Ed25519", "public_key": public_key, "value": value}
            (self.folder / MANIFEST).write_text(tomli_w.dumps(table), encoding="utf-8")
        self.commit()
        return load_profile(self.place, model_hash=model_hash)

    def commit(self) -> Path:
        """Put the folder in its place; what was there is kept until then."""
        with explained(self.place):
            for path in self.folder.iterdir():
                _flush(path)
            old = self.place.with_name(f".{self.name}.old")
            _forget(old)
            shutil.rmtree(old, ignore_errors=True)
            if self.place.exists():
                self.place.rename(old)
            try:
                self.folder.rename(self.place)
            except BaseException:
                recover(self.place.parent, self.name)
                raise
            _forget(old)
            shutil.rmtree(old, ignore_errors=True)
        return self.place


def _forget(directory: Path) -> None:
    """Remove what was kept of a profile's files (`kept.kept_bytes`): it shows the person, too. A damaged profile's as well."""
    for path in directory.glob("*.npz"):
        with suppress(F2FError, OSError):
            forget(file_hash(path))


@contextmanager
def explained(place: Path):
    """Errors of the disk as ours."""
    try:
        yield
    except OSError as error:
        raise disk_error(place, error) from error


def disk_error(place: Path, error: OSError) -> F2FError:
    """A full disk makes the work fail; a folder that may not be written is wrong usage."""
    reason = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return ConfigError(
            f"{place} cannot be written: {reason}.", hint="Choose a folder that you may write to with --profiles."
        )
    if error.errno == errno.ENOENT:
        return ConfigError(f"The folder {place.parent} does not exist.", hint=f"Make it: `mkdir -p {place.parent}`.")
    hint = "Free some space on the disk and run it again; what was there before is as it was."
    return F2FError(f"{place} could not be written: {reason}.", hint=hint)


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """What `numpy.savez_compressed` writes, for a third of its time."""
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in plain.items():
        if array.dtype.hasobject:
            raise ValueError(f"{path.name}: {name} is not an array of numbers")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=EFFORT) as archive:
        for name, array in plain.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _flush(path: Path) -> None:
    """The file's bytes reach the disk before the rename does."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _remove_stale(root: Path, name: str) -> None:
    """Drafts of processes that were killed."""
    for path in root.glob(f".{name}.partial-*"):
        number = path.name.rpartition("-")[2]
        if number.isdigit() and (int(number) == os.getpid() or not _alive(int(number))):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    if sys.platform == "win32":  # there, signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
