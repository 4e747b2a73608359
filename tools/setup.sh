#!/usr/bin/env bash
# Installs what f2fcam needs into $VENV: system libraries that are missing (Debian, Ubuntu), the virtual environment, the package.
set -euo pipefail
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

"$PYTHON" - <<'PY' || exit 2
import sys
if not (3, 10) <= sys.version_info[:2] < (3, 13):
    sys.exit(f"f2fcam needs Python 3.10 to 3.12, this is {sys.version.split()[0]}.\n"
             "Name another one: make PYTHON=python3.12 ...")
PY

missing=()
need_library() { # soname, package
    /sbin/ldconfig -p 2>/dev/null | grep -q "$1" || missing+=("$2")
}
if command -v apt-get >/dev/null; then
    need_library libGL.so.1 libgl1
    need_library libgthread-2.0.so.0 libglib2.0-0
    need_library libportaudio.so.2 libportaudio2
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
fi
if ((${#missing[@]})); then
    as_root=()
    if (($(id -u) != 0)); then as_root=(sudo); fi
    echo "Installing ${missing[*]}"
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev]'
