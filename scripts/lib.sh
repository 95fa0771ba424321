# shellcheck shell=bash
# Shell functions that the scripts share: progress, errors, logged commands, hashes of sources.

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
PROGRAM=${0##*/}
PATH=$PATH:/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s: %s\n' "$PROGRAM" "$*"; }

# The one line that tells why a script cannot go on.
fail() {
    printf '%s: %s\n' "$PROGRAM" "$*" >&2
    exit 1
}

usage_error() {
    printf '%s: %s; see %s --help\n' "$PROGRAM" "$*" "$0" >&2
    exit 2
}

# The comment that a script opens with, which is its help text.
print_help() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

# step LOG TEXT COMMAND...: one progress line; the command's output goes to LOG and is shown when it fails.
step() {
    local log=$1 text=$2 begin=$SECONDS size
    shift 2
    size=$(stat --format %s "$log")
    printf '%s: %s ... ' "$PROGRAM" "$text"
    printf '==> %s\n' "$text" >>"$log"
    if "$@" >>"$log" 2>&1 </dev/null; then
        printf '%d s\n' $((SECONDS - begin))
    else
        printf 'failed\n'
        tail -c "+$((size + 1))" "$log" | tail -n 60 >&2
        fail "$text: failed; the output above is the end of $log"
    fi
}

# A hash of all that the compiled modules are made from, and of the Python that they are made for.
extension_hash() {
    {
        "$VENV/bin/python" -VV
        cd -- "$ROOT" &&
            find cext setup.py -type f -regex '.*\.\(py\|pyx\|pxd\|pxi\|h\|c\)' -print0 |
            sort -z | xargs -0 sha256sum
    } | sha256sum
}

# missing_commands <<<LINES: of lines with a command and its Debian package, the packages whose command is not there.
missing_commands() {
    local command package
    while read -r command package; do
        command -v "$command" >/dev/null || echo "$package"
    done
}
