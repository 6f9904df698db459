# What ./quickstart and ./check share: root, Debian packages, and the Rust
# toolchain of whoever called. Sourced by both; expects to stand in the tree.
#
# Packages and tests need root, compiling does not: cargo runs as the user
# behind sudo, so that no root-owned file lands in their ~/.cargo or target/.

say() { printf '%s\n' "$*"; }
title() { printf '\n== %s\n' "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "needs root for packages, mounts and namespaces; type: sudo $0"
}

# need_packages PURPOSE...: installs what is missing of these lines of tests/packages.
need_packages() {
    missing=
    for purpose in "$@"; do
        for package in $(sed -n "s/^$purpose: *//p" tests/packages); do
            [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
                missing="$missing $package"
        done
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "no apt-get here; install these first:$missing"
    say "installing:$missing"
    log=$(mktemp)
    # A stale or unreachable mirror is told by the install, with the package's name.
    apt-get update </dev/null >"$log" 2>&1 || true
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing </dev/null >>"$log" 2>&1 || {
        tail -n 30 "$log" >&2
        die "apt-get could not install:$missing (see above; all of it in $log)"
    }
    rm -f "$log"
    case " $missing " in
    *" docker-registry "*)
        # The tests start their own on a free port; the package's service is not wanted.
        [ ! -d /run/systemd/system ] || systemctl disable --now docker-registry.service >/dev/null 2>&1 || true
        ;;
    esac
}

# find_cargo: sets `builder` (the user who compiles, empty for root itself) and
# the PATH, CARGO_HOME and RUSTUP_HOME that lead to the toolchain.
find_cargo() {
    builder=
    caller_home=${HOME:-/root}
    caller=${SUDO_USER:-root}
    if [ "$caller" != root ]; then
        caller_home=$(getent passwd "$caller" | cut -d: -f6)
        # A tree that the caller cannot write to (cloned with sudo) is built by root.
        # shellcheck disable=SC2024 # the test is the caller's, there is no redirection
        if sudo -n -u "$caller" test -w .; then builder=$caller; fi
    fi
    if [ "$caller" != root ] || ! command -v cargo >/dev/null; then
        for toolchain in "$caller_home/.cargo" /usr/local/cargo; do
            if [ -x "$toolchain/bin/cargo" ]; then
                PATH=$toolchain/bin:$PATH
                rustup_home=$(dirname "$toolchain")/.rustup
                [ -d "$rustup_home" ] || rustup_home=$(dirname "$toolchain")/rustup
                if [ -d "$rustup_home" ]; then export RUSTUP_HOME="$rustup_home"; fi
                # Downloads go to the cache of the user who compiles.
                if [ -n "$builder" ] || [ "$caller" = root ]; then export CARGO_HOME="$toolchain"; fi
                break
            fi
        done
    fi
    export PATH
    command -v cargo >/dev/null || die "no Rust toolchain found for user $caller (looked in PATH, $caller_home/.cargo/bin and /usr/local/cargo/bin).
Install one as that user, then run this again:
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
    if [ -n "$builder" ]; then trap give_back EXIT; fi
}

# give_back: whatever root compiled after all belongs to the builder again.
give_back() {
    find target -user root -exec chown -h "$builder:" {} + 2>/dev/null || true
}

# as_builder COMMAND...: runs it as the user who compiles.
as_builder() {
    if [ -z "$builder" ]; then
        "$@"
        return
    fi
    sudo -n -H -u "$builder" env PATH="$PATH" \
        ${CARGO_HOME:+CARGO_HOME="$CARGO_HOME"} ${RUSTUP_HOME:+RUSTUP_HOME="$RUSTUP_HOME"} \
        ${CARGO_TERM_COLOR:+CARGO_TERM_COLOR="$CARGO_TERM_COLOR"} ${CI:+CI="$CI"} "$@"
}
