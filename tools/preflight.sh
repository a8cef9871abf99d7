#!/bin/sh
# Looks for what Energo's set-up needs from the system, before anything is half done. Names everything that is missing
# at once, by its Debian package; changes nothing.
set -u
python=${PYTHON:-python3}
missing=
notes=

if ! command -v "$python" >/dev/null 2>&1; then
    missing="$missing python3 python3-venv python3-dev"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    notes="Python 3.11 or newer is needed; $python is $("$python" -c 'import platform; print(platform.python_version())')."
else
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -f "$include/Python.h" ] || missing="$missing python3-dev"
fi
if ! command -v "${CC:-cc}" >/dev/null 2>&1; then
    missing="$missing gcc libc6-dev"
elif ! printf '#include <stdint.h>\n#include <string.h>\nint main(void) { return 0; }\n' |
    "${CC:-cc}" -x c -fsyntax-only - 2>/dev/null; then
    missing="$missing libc6-dev"
fi
command -v make >/dev/null 2>&1 || missing="$missing make"

[ -z "$missing" ] && [ -z "$notes" ] && exit 0
[ -n "$notes" ] && echo "energo: $notes Debian 12, Raspberry Pi OS 12 and later have it; or name one: make PYTHON=python3.12" >&2
[ -n "$missing" ] && echo "energo: missing on this machine; install with: sudo apt install$missing" >&2
exit 1
