"""A backend for xdg-desktop-portal that answers every question with yes, where no desktop asks a user (Debian's python3-gi)."""

from __future__ import annotations

import sys
from typing import Any

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

NAME = "org.freedesktop.impl.portal.desktop.f2fcam_tests"
PATH = "/org/freedesktop/portal/desktop"
LOCKS = (
    "disable-printing disable-save-to-disk disable-application-handlers disable-location disable-camera "
    "disable-microphone disable-sound-output"
).split()
"""What an administrator may forbid; nothing is."""
QUESTION = "".join(
    f'<arg type="{kind}" direction="{way}"/>'
    for kind, way in [
        *((kind, "in") for kind in ("o", "s", "s", "s", "s", "s", "a{sv}")),
        ("u", "out"),
        ("a{sv}", "out"),
    ]
)
INTERFACES = f"""<node>
<interface name="org.freedesktop.impl.portal.Access"><method name="AccessDialog">{QUESTION}</method></interface>
<interface name="org.freedesktop.impl.portal.Lockdown">
{"".join(f'<property name="{lock}" type="b" access="readwrite"/>' for lock in LOCKS)}
</interface></node>"""
YES = 0


def answer(*call: Any) -> None:
    """Reply to a method call: the last argument is the invocation."""
    *_, method, arguments, invocation = call
    sys.stderr.write(f"{method} {arguments}\n")
    invocation.return_value(GLib.Variant("(ua{sv})", (YES, {})))


def unlocked(*_: Any) -> GLib.Variant:
    """The value of every lock."""
    return GLib.Variant("b", False)


def offer(connection: Gio.DBusConnection, _: str) -> None:
    """Put the interfaces on the bus."""
    for interface in Gio.DBusNodeInfo.new_for_xml(INTERFACES).interfaces:
        connection.register_object(PATH, interface, answer, unlocked, None)


def lost(*_: Any) -> None:
    raise SystemExit(f"{NAME} cannot be had")


if __name__ == "__main__":
    Gio.bus_own_name(Gio.BusType.SESSION, NAME, Gio.BusNameOwnerFlags.NONE, offer, None, lost)
    GLib.MainLoop().run()
