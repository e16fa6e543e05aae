# Sourced by the scripts: installs what is missing, from Debian's or Ubuntu's packages and, for Rust itself, from rustup.

say() {
    printf '\n== %s\n' "$*"
}

# Installs those of the packages that are not there; silent when nothing is missing.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing packages: ${missing[*]} (install them as root: apt-get install ${missing[*]})" >&2
        return 1
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
        # The lists of a fresh machine may be missing or old.
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    }
}

# A Rust that is new enough: the one that is there, or rustup's, with the components that are named.
install_rust() {
    local wanted
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    if ! command -v cargo >/dev/null || ! new_enough "$wanted"; then
        install_packages ca-certificates curl
        say "installing Rust"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal >/dev/null
        . "$HOME/.cargo/env"
        rustup -q update stable >/dev/null 2>&1
    fi
    local component
    for component in "$@"; do
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup -q component add "$component"
    done
}

new_enough() {
    local found
    found=$(rustc --version | cut -d ' ' -f 2)
    [ "$(printf '%s\n' "$1" "$found" | sort -V | head -n 1)" = "$1" ]
}

# The directory that cargo puts programs of a profile into.
programs_of() {
    local target
    target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    echo "$target/$(rustc -vV | sed -n 's/^host: //p')/$1"
}
