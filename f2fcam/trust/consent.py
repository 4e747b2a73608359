"""The target's consent: who allows what, until when. Enrolment asks for it, the profile carries it, loading checks it."""

from __future__ import annotations

import datetime
import getpass
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from f2fcam.config import read_toml
from f2fcam.errors import ConfigError, ProfileError

SELF_YEARS = 5
"""How long a consent to one's own enrolment holds."""

_TEXTS = ("subject", "statement", "scope", "contact")

EXAMPLE = """subject = "Alice Example"
statement = "I allow my face to be acted by the interpreters of Example Ltd."
scope = "video calls of Example Ltd."
expires = 2030-12-31
contact = "alice@example.org"
"""


@dataclass(frozen=True, slots=True)
class Consent:
    """What the enrolled person agreed to.

    Attributes:
        subject: who is seen. statement: what they allow, in words. scope: where it may be used.
        expires: the last day on which it holds. contact: where to ask or withdraw.
        own: the enrolling user is the subject.
    """

    subject: str
    statement: str
    scope: str
    expires: datetime.date
    contact: str
    own: bool = False

    def require_valid(self, today: datetime.date | None = None) -> None:
        """Raise `ProfileError` after the last day."""
        if (today or datetime.date.today()) > self.expires:
            raise ProfileError(
                f"The consent of {self.subject} expired on {self.expires}.",
                hint=f"Ask {self.contact or self.subject} for a new one and enrol again with --consent FILE.toml.",
            )

    def as_table(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def read_consent(path: str | Path) -> Consent:
    """The consent in a TOML file; `ConfigError` says what is missing, `ProfileError` that it expired."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"The consent file {path} does not exist.", hint="Check the path given to --consent.")
    consent = consent_from_table(read_toml(path), str(path))
    consent.require_valid()
    return consent


def given_consent(own: bool, path: str | Path | None) -> Consent:
    """The consent that enrolment was given: `--self` or `--consent FILE.toml`, exactly one."""
    if own == (path is not None):
        what = "Both --self and --consent were given." if own else "No consent was given."
        hint = "Give --self if it is your own face, else --consent FILE.toml with what the person agreed to."
        raise ConfigError(what, hint=hint)
    return self_consent() if path is None else read_consent(path)


def consent_from_table(table: dict[str, Any], where: str) -> Consent:
    """Check a table's fields; `where` names it in errors."""
    fields = (*_TEXTS, "expires")
    missing = [name for name in fields if name not in table]
    if missing:
        raise ConfigError(
            f"{where} lacks {_listed(missing)}.", hint="A consent has " + ", ".join(fields) + "; see the README."
        )
    unknown = sorted(set(table) - {*fields, "own"})
    if unknown:
        raise ConfigError(
            f"{where} has an unknown field, {_listed(unknown)}.", hint="A consent has " + ", ".join(fields) + "."
        )
    for name in _TEXTS:
        if not isinstance(table[name], str) or not table[name].strip():
            raise ConfigError(f"{where}: {name} is not a text.", hint=f'Write {name} = "...".')
    expires = table["expires"]
    if isinstance(expires, datetime.datetime):
        expires = expires.date()
    if not isinstance(expires, datetime.date):
        raise ConfigError(f"{where}: expires is not a date.", hint="Write expires = 2030-12-31, without quotes.")
    if not isinstance(table.get("own", False), bool):
        raise ConfigError(f"{where}: own is neither true nor false.", hint="Leave `own` out.")
    return Consent(**{name: table[name].strip() for name in _TEXTS}, expires=expires, own=table.get("own", False))


def self_consent(today: datetime.date | None = None) -> Consent:
    """The user enrols their own face (`--self`)."""
    today = today or datetime.date.today()
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "the user of this computer"
    return Consent(
        subject=user,
        statement="I am the person in this video and allow f2fcam to act my face.",
        scope="my own use",
        expires=today.replace(year=today.year + SELF_YEARS, day=min(today.day, 28)),
        contact=user,
        own=True,
    )


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
