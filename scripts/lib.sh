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

# private_venv PYTHON WHEELS FOLDER PLACE: a virtual environment in FOLDER with vnicd, the laid out preload library, and
# in libexec the plugin for containers. It works as soon as it is at PLACE. It is not compiled, and has no pip.
private_venv() {
    local python=$1 wheels=$2 folder=$3 place=$4 plugin
    rm -rf -- "$folder"
    "$python" -m venv "$folder"
    "$folder/bin/python" -m pip install --no-index --no-compile --find-links "$wheels" "vnicd[journal]"
    "$folder/bin/python" -m pip uninstall --yes --quiet setuptools pip
    "$folder/bin/python" -Bc 'from vnicd.cli import library; library.lay_out(library.INSTALLED)'
    # Runtimes have links to it, which last when the version of Python, and so the other path, changes.
    for plugin in "$folder"/lib/python*/site-packages/vnicd/libexec/vnicd-cni; do
        if [[ ! -e $plugin ]]; then break; fi
        command install -D --mode 755 "$plugin" "$folder/libexec/vnicd-cni"
        rm -r -- "${plugin%/*}"
    done
    rm -f -- "$folder"/bin/[Aa]ctivate*
    grep -rlIF "$folder" "$folder/bin" "$folder/pyvenv.cfg" | xargs sed -i "s|$folder|$place|g"
}

# render_share PYTHON SHARE ZSH: man pages and shell completions below the folder SHARE, made by the vnicd of PYTHON;
# those of zsh are in SHARE/ZSH.
render_share() {
    local python=$1 share=$2 zsh=$3 page shell target
    for page in vnicctl.1 vnicd.8 vnicd.toml.5; do mkdir -p "$share/man/man${page##*.}"; done
    "$python" -B "$ROOT/scripts/man" "$share/man"
    for page in vnicctl.1 vnicd.8 vnicd.toml.5; do
        gzip -9n <"$share/man/$page" >"$share/man/man${page##*.}/$page.gz"
        rm -- "$share/man/$page"
    done
    for target in bash:bash-completion/completions/vnicctl "zsh:$zsh/_vnicctl" fish:fish/vendor_completions.d/vnicctl.fish; do
        shell=${target%%:*} target=$share/${target#*:}
        mkdir -p "${target%/*}"
        "$python" -Bm vnicd.cli.main completion "$shell" >"$target"
    done
}
