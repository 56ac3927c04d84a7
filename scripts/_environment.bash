# Sourced by the scripts beside it: `use_environment [extra]` sets PYTHON to an interpreter
# that has splice and what the extra asks for, and goes to the top of the checkout.
#
# An active virtual environment is used as it is; otherwise `.venv` in the checkout is made
# with the first Python >= 3.11 found, or with $PYTHON where that is set.  Here only that
# Python is looked for; scripts/_environment.py does the rest.

_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

_fits() { # a version that splice runs on?  A name on PATH alone is no proof that it starts.
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 </dev/null
}

_can_make_one() { # Debian packs venv without ensurepip, and ensurepip apart
  "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null
}

_find_python() {
  local candidate fitting=""
  if [ -n "${VIRTUAL_ENV:-}" ]; then
    if _fits "$VIRTUAL_ENV/bin/python"; then echo "$VIRTUAL_ENV/bin/python"; return; fi
    echo "the active virtual environment $VIRTUAL_ENV has no working Python >= 3.11;" \
      "deactivate it, or make it anew" >&2
    return 1
  fi
  # An environment that stands needs nothing but itself.
  if _fits "$_here/../.venv/bin/python"; then echo "$_here/../.venv/bin/python"; return; fi
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.12 python3.13 python3.14 python; do
    _fits "$candidate" || continue
    if _can_make_one "$candidate"; then command -v "$candidate"; return; fi
    fitting=${fitting:-$candidate}
  done
  if [ -z "$fitting" ]; then
    echo "splice needs Python 3.11 or newer, and none was found on PATH" \
      "(tried python3, python3.11 to python3.14); install one, or name it: PYTHON=/path $0" >&2
  else
    echo "$fitting cannot make virtual environments; on Debian and Ubuntu: apt install" \
      "$("$fitting" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2
  fi
  return 1
}

use_environment() {
  local base
  base=$(_find_python) || exit 1
  PYTHON=$("$base" "$_here/_environment.py" "$@") || exit 1
  cd "$_here/.." || exit 1
}
