"""Consent: what a file must say, and what is refused."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from f2fcam.errors import ConfigError, ProfileError
from f2fcam.trust.consent import EXAMPLE, Consent, consent_from_table, given_consent, read_consent, self_consent

TODAY = datetime.date(2026, 2, 28)


def write(folder: Path, text: str) -> Path:
    path = folder / "consent.toml"
    path.write_text(text, encoding="utf-8")
    return path


def lasting(text: str = EXAMPLE) -> str:
    """The example with a date far off."""
    return text.replace("2030-12-31", "2999-12-31")


def test_the_example_is_a_consent(tmp_path: Path):
    consent = read_consent(write(tmp_path, lasting()))
    assert consent.subject == "Alice Example"
    assert consent.expires == datetime.date(2999, 12, 31)
    assert not consent.own
    assert consent_from_table(consent.as_table(), "manifest") == consent


@pytest.mark.parametrize("field", ["subject", "statement", "scope", "expires", "contact"])
def test_missing_field_is_named(tmp_path: Path, field: str):
    text = "\n".join(line for line in lasting().splitlines() if not line.startswith(field))
    with pytest.raises(ConfigError, match=f"lacks `{field}`"):
        read_consent(write(tmp_path, text))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"Alice Example"', '""', "subject is not a text"),
        ('"Alice Example"', "7", "subject is not a text"),
        ("2999-12-31", '"2999-12-31"', "expires is not a date"),
        ("contact", "contakt", "lacks `contact`"),
        ("subject =", "subject ==", "not valid TOML"),
        ("contact =", "more = 1\ncontact =", "unknown field, `more`"),
    ],
)
def test_wrong_values(tmp_path: Path, old: str, new: str, complaint: str):
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_consent(write(tmp_path, lasting().replace(old, new)))
    assert caught.value.hint


def test_missing_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_consent(tmp_path / "nothing.toml")


def test_expired(tmp_path: Path):
    with pytest.raises(ProfileError, match="expired on 2020-01-01") as caught:
        read_consent(write(tmp_path, EXAMPLE.replace("2030-12-31", "2020-01-01")))
    assert caught.value.exit_code == 4


def test_last_day_counts():
    consent = Consent("a", "b", "c", TODAY, "d")
    consent.require_valid(TODAY)
    with pytest.raises(ProfileError):
        consent.require_valid(TODAY + datetime.timedelta(days=1))


def test_date_with_time_is_taken_as_its_day(tmp_path: Path):
    path = write(tmp_path, lasting().replace("2999-12-31", "2999-12-31T10:00:00"))
    assert read_consent(path).expires == datetime.date(2999, 12, 31)


@pytest.mark.parametrize("today", [TODAY, datetime.date(2028, 2, 29), datetime.date(2026, 12, 31)])
def test_own_consent_holds_for_years(today: datetime.date):
    consent = self_consent(today)
    assert consent.own
    assert consent.subject
    consent.require_valid(today + datetime.timedelta(days=4 * 365))
    assert consent_from_table(consent.as_table(), "manifest") == consent


def test_exactly_one_consent_is_given(tmp_path: Path):
    path = write(tmp_path, lasting())
    assert given_consent(True, None).own
    assert given_consent(False, path).subject == "Alice Example"
    for own, file in ((False, None), (True, path)):
        with pytest.raises(ConfigError):
            given_consent(own, file)
