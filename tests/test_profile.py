"""Profiles: whole or not at all, verified file by file, refused in words."""

from __future__ import annotations

import dataclasses
import datetime
import errno
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from f2fcam import profile_search
from f2fcam import profile_store as store
from f2fcam.errors import ConfigError, F2FError, ProfileError
from f2fcam.profile import (
    FRAMES,
    LARGE,
    MANIFEST,
    PERSON,
    TARGET,
    StoredArrays,
    file_hash,
    load_profile,
    read_manifest,
)
from f2fcam.trust import signing
from tests.profiles import MODEL_HASH, consent, frames, make_profile, person

pytestmark = pytest.mark.usefixtures("user_folders")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "profiles"


def test_round_trip(root: Path):
    made = make_profile(root)
    read = load_profile(root / "alice", model_hash=MODEL_HASH)
    for profile in (made, read):
        for name in ("identity", "albedo", "neutral"):
            np.testing.assert_array_equal(getattr(profile.person, name), getattr(person(), name))
        assert profile.person.intrinsics == person().intrinsics
        for field in dataclasses.fields(frames()):
            np.testing.assert_array_equal(getattr(profile.frames, field.name), getattr(frames(), field.name))
        np.testing.assert_array_equal(profile.mouth["labels"], np.arange(4))
    assert read.manifest == made.manifest
    assert read.manifest.consent == consent()
    assert read.manifest.counts == {"frames": 4, "keyframes": 6}
    assert read.manifest.own
    visible = np.unpackbits(frames().visibility[2], count=53_390)
    np.testing.assert_array_equal(read.frames.visible(2), visible)
    with read.open_target() as video:
        assert [round(float(frame.rgb.mean()) - 20, -1) for frame in video] == [0, 40, 80, 120]
        assert abs(float(video.frame_at(3).rgb.mean()) - 140) < 3


def test_no_pickle_is_written_or_read(root: Path):
    make_profile(root)
    for path in (root / "alice").glob("*.npz"):
        with np.load(path, allow_pickle=False) as stored:
            assert all(stored[name].dtype.kind in "iufU" for name in stored.files)
    with pytest.raises(ValueError, match="not an array of numbers"), store.ProfileDraft(root, "bob") as draft:
        store._save(draft.folder / "mouth.npz", {"evil": np.array([{}], object)})


@pytest.mark.parametrize("name", [PERSON, FRAMES, TARGET, "texture.png", "mouth.npz", MANIFEST])
@pytest.mark.parametrize("fault", ["truncated", "changed", "foreign", "gone"])
def test_damaged_file_is_named(root: Path, name: str, fault: str):
    make_profile(root)
    make_profile(root, "bob", count=5)
    path = root / "alice" / name
    content = path.read_bytes()
    if fault == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "changed":
        path.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    elif fault == "foreign" and name not in ("texture.png", MANIFEST):
        path.write_bytes((root / "bob" / name).read_bytes())
    else:
        path.unlink()
    with pytest.raises(ProfileError, match=name.replace(".", r"\.")) as caught:
        load_profile(root / "alice", model_hash=MODEL_HASH)
    assert caught.value.hint


def test_file_that_does_not_belong_is_named(root: Path):
    make_profile(root)
    (root / "alice" / "script.py").write_text("print()")
    with pytest.raises(ProfileError, match=r"script\.py"):
        load_profile(root / "alice", model_hash=MODEL_HASH)


def test_edited_manifest_breaks_the_signature(root: Path):
    make_profile(root, given=consent(datetime.date(2030, 1, 1)))
    path = root / "alice" / MANIFEST
    path.write_text(path.read_text().replace("2030-01-01", "2999-01-01"))
    with pytest.raises(ProfileError, match="signature"):
        read_manifest(root / "alice")


def test_other_format_version(root: Path):
    make_profile(root)
    path = root / "alice" / MANIFEST
    path.write_text(path.read_text().replace("format = 1", "format = 2"))
    with pytest.raises(ProfileError, match="format 2") as caught:
        read_manifest(root / "alice")
    assert "newer" in caught.value.hint


def test_other_face_model_is_refused_in_words(root: Path):
    make_profile(root)
    with pytest.raises(ProfileError, match="another face model"):
        load_profile(root / "alice", model_hash="0" * 64)


def test_expired_consent(root: Path):
    make_profile(root, given=consent(datetime.date(2999, 1, 1)))
    load_profile(root / "alice", model_hash=MODEL_HASH, today=datetime.date(2999, 1, 1))
    with pytest.raises(ProfileError, match="expired on 2999-01-01"):
        load_profile(root / "alice", model_hash=MODEL_HASH, today=datetime.date(2999, 1, 2))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a.b", "../x", "a\\b", "-x", " x", "nul", "x" * 65, "a\nb"])
def test_bad_names(root: Path, name: str):
    with pytest.raises(ConfigError):
        profile_search.checked_name(name)
    with pytest.raises(ConfigError):
        store.ProfileDraft(root, name)
    assert not root.exists()


def test_unknown_profile_says_what_there_is(root: Path):
    make_profile(root)
    with pytest.raises(ProfileError, match="alice"):
        profile_search.find_profile("carol", root)
    with pytest.raises(ConfigError, match="does not exist"):
        profile_search.find_profile("carol", root / "nowhere")


def test_search_order(root: Path):
    make_profile(root)
    make_profile(profile_search.user_profiles())
    assert profile_search.find_profile("alice", root) == root / "alice"
    assert profile_search.find_profile("alice") == profile_search.user_profiles() / "alice"


def test_an_empty_folder_does_not_hide_a_profile(root: Path):
    make_profile(profile_search.user_profiles())
    (root / "alice").mkdir(parents=True)
    assert profile_search.find_profile("alice", root) == profile_search.user_profiles() / "alice"


def test_failed_enrolment_leaves_the_old_profile(root: Path):
    old = make_profile(root)
    with pytest.raises(RuntimeError), store.ProfileDraft(root, "alice") as draft:
        (draft.folder / TARGET).write_bytes(b"half")
        raise RuntimeError
    assert load_profile(root / "alice", model_hash=MODEL_HASH).manifest == old.manifest
    assert [p.name for p in root.iterdir()] == ["alice"]


def test_new_profile_replaces_the_old_one(root: Path):
    make_profile(root)
    make_profile(root, count=5)
    assert len(load_profile(root / "alice", model_hash=MODEL_HASH).frames) == 5
    assert [p.name for p in root.iterdir()] == ["alice"]


def test_crash_between_the_renames_is_mended(root: Path):
    make_profile(root)
    (root / "alice").rename(root / ".alice.old")
    assert profile_search.find_profile("alice", root) == root / "alice"


def test_draft_of_a_dead_process_is_cleared_away(root: Path):
    (root / ".alice.partial-999999999").mkdir(parents=True)
    make_profile(root)
    assert [p.name for p in root.iterdir()] == ["alice"]


def test_full_disk_leaves_the_old_profile(root: Path, monkeypatch: pytest.MonkeyPatch):
    old = make_profile(root)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "_flush", full)
    with pytest.raises(F2FError, match="No space left") as caught:
        make_profile(root, count=5)
    assert caught.value.exit_code == 1
    assert [p.name for p in root.iterdir()] == ["alice"]
    assert load_profile(root / "alice", model_hash=MODEL_HASH).manifest == old.manifest


def test_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        store.ProfileDraft(tmp_path / "file", "alice")


def test_list_shows_faults_and_delete_removes(root: Path):
    make_profile(root)
    make_profile(root, "bob")
    (root / "bob" / MANIFEST).write_text("nonsense = [")
    entries = {e.name: e for e in store.list_profiles(root) if not e.bundled}
    assert entries["alice"].fault is None
    assert "manifest.toml" in (entries["bob"].fault or "")
    store.delete_profile("bob", root)
    assert [p.name for p in root.iterdir()] == ["alice"]


def test_bundled_profiles_are_not_deleted(root: Path, monkeypatch: pytest.MonkeyPatch):
    make_profile(root)
    for module in (profile_search, store):
        monkeypatch.setattr(module, "package_profiles", lambda: root)
    with pytest.raises(ConfigError, match="part of the installation"):
        store.delete_profile("alice")
    assert (root / "alice").is_dir()


def test_export_and_import(root: Path, tmp_path: Path):
    made = make_profile(root)
    file = store.export_profile("alice", tmp_path, root)
    assert file == tmp_path / "alice.zip"
    other = tmp_path / "other"
    place = store.import_profile(file, other)
    assert load_profile(place, model_hash=MODEL_HASH).manifest == made.manifest
    with pytest.raises(ConfigError, match="already"):
        store.import_profile(file, other)
    store.import_profile(file, other, replace=True)


@pytest.mark.parametrize(
    "entry", ["../evil", "/etc/evil", "alice/../evil", "alice/a/b", "alice\\evil", "alice/.hidden", "evil"]
)
def test_import_refuses_paths_that_lead_out(root: Path, tmp_path: Path, entry: str):
    make_profile(root)
    file = store.export_profile("alice", tmp_path, root)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(entry), "x")
    check_refused(file, tmp_path)


def test_import_refuses_links(root: Path, tmp_path: Path):
    make_profile(root)
    file = store.export_profile("alice", tmp_path, root)
    link = zipfile.ZipInfo("alice/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    check_refused(file, tmp_path)


@pytest.mark.parametrize("keep", [0, 100, 4000])
def test_import_refuses_cut_off_file(root: Path, tmp_path: Path, keep: int):
    make_profile(root)
    file = store.export_profile("alice", tmp_path, root)
    file.write_bytes(file.read_bytes()[:keep])
    check_refused(file, tmp_path)


def test_import_refuses_changed_contents(root: Path, tmp_path: Path):
    make_profile(root)
    file = tmp_path / "alice.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for path in (root / "alice").iterdir():
            content = path.read_bytes()
            archive.writestr(f"alice/{path.name}", content[::-1] if path.name == PERSON else content)
    check_refused(file, tmp_path)


def check_refused(file: Path, tmp_path: Path) -> None:
    """The error is a `ProfileError`, and nothing is left behind anywhere."""
    other = tmp_path / "other"
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ProfileError):
        store.import_profile(file, other)
    assert not other.exists() or not list(other.iterdir())
    assert sorted(p for p in tmp_path.iterdir() if p != other) == before


def test_import_of_a_missing_file(tmp_path: Path):
    with pytest.raises(ConfigError):
        store.import_profile(tmp_path / "nothing.zip", tmp_path)


def test_signing_key_is_private_and_lasting(user_folders: Path):
    public, signature = signing.sign(b"data")
    assert signing.verify(b"data", public, signature)
    assert not signing.verify(b"date", public, signature)
    assert not signing.verify(b"data", public, "00" * 64)
    assert not signing.verify(b"data", "zz", signature)
    assert signing.sign(b"data") == (public, signature)
    assert user_folders in signing.key_path().parents
    assert stat.S_IMODE(signing.key_path().stat().st_mode) == 0o600
    assert [p.name for p in signing.key_path().parent.iterdir()] == ["signing.key"]


def test_damaged_key_says_so(user_folders: Path):
    signing.sign(b"")
    signing.key_path().write_bytes(b"short")
    with pytest.raises(F2FError, match="damaged"):
        signing.sign(b"")


def test_large_arrays_are_read_when_asked_for_and_never_of_another_file(tmp_path: Path):
    path, other = tmp_path / "mouth.npz", tmp_path / "other.npz"
    for place, value in ((path, 1), (other, 2)):
        np.savez(place, **{"mouth/size": np.arange(3), f"mouth/{LARGE}": np.full(9, value, np.uint8)})
    stored = StoredArrays(path, file_hash(path))
    assert sorted(stored) == ["mouth/pixel_steps", "mouth/size"] and len(stored) == 2
    assert stored[f"mouth/{LARGE}"].tolist() == [1] * 9 and stored["mouth/size"].tolist() == [0, 1, 2]
    with pytest.raises(KeyError):
        stored["eye/size"]
    other.replace(path)
    assert stored["mouth/size"].tolist() == [0, 1, 2]
    with pytest.raises(ProfileError, match="replaced"):
        stored[f"mouth/{LARGE}"]
    path.unlink()
    with pytest.raises(ProfileError, match="removed"):
        stored[f"mouth/{LARGE}"]


def test_what_was_kept_of_a_profile_goes_with_it(root: Path, monkeypatch: pytest.MonkeyPatch):
    gone: list[str] = []
    monkeypatch.setattr(store, "forget", gone.append)
    first = make_profile(root)
    assert not gone
    make_profile(root, count=5)
    assert first.manifest.files["mouth.npz"].sha256 in gone
    second = load_profile(root / "alice", model_hash=MODEL_HASH)
    store.delete_profile("alice", root)
    assert second.manifest.files["mouth.npz"].sha256 in gone
