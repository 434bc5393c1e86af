#!/bin/sh
# Assembles the root file system of the image: the one binary and nothing it does not load.
#
#   rootfs.sh BINARY OUT_DIR
#
# OUT_DIR (made; must be empty) then holds
#   /portal                  the binary
#   the loader and the shared libraries that `ldd BINARY` names, at the paths ldd names them
#   /etc/ssl/certs/ca-certificates.crt
#                            whom servers outside may be certified by: the bundle of this system (Debian's package
#                            ca-certificates), or CA_CERTIFICATES
#   /etc/nsswitch.conf       name resolution from /etc/hosts, then DNS (both are inside glibc's libc.so.6)
#   /var/lib/portal          empty; where a volume is mounted when the embedded database is used
# No shell, no package manager, no /etc/passwd: the image runs as the number 65532.
# The same binary and bundle give the same bytes and times: SOURCE_DATE_EPOCH (default 0) dates every file.
set -eu

if [ "$#" -ne 2 ]; then
    echo "usage: rootfs.sh BINARY OUT_DIR" >&2
    exit 2
fi
binary=$1
out=$2
roots=${CA_CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}

if [ ! -f "$binary" ]; then
    echo "rootfs.sh: no such file: $binary" >&2
    exit 2
fi
if ! grep -q -e '-----BEGIN CERTIFICATE-----' "$roots"; then
    echo "rootfs.sh: no certificates in $roots: install ca-certificates, or set CA_CERTIFICATES" >&2
    exit 2
fi
if [ -d "$out" ] && [ -n "$(ls -A "$out")" ]; then
    echo "rootfs.sh: not empty: $out" >&2
    exit 2
fi

# Prints the paths of the libraries and the loader, one a line; nothing for a static binary.
libraries() {
    if ! listing=$(LC_ALL=C ldd "$1" 2>&1); then
        case $listing in
        *"not a dynamic executable"*) return 0 ;;
        esac
        echo "rootfs.sh: $listing" >&2
        return 1
    fi
    case $listing in
    *"not found"*)
        echo "rootfs.sh: a library is missing here:" >&2
        echo "$listing" >&2
        return 1
        ;;
    esac
    # "libc.so.6 => /lib/…/libc.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)"; the vDSO has no file.
    echo "$listing" | sed -n -e 's|.*=> \(/[^ ]*\) (.*|\1|p' -e 's|^[[:space:]]*\(/[^ ]*\) (.*|\1|p'
}

needed=$(libraries "$binary")
install -D -m 0555 "$binary" "$out/portal"
for library in $needed; do
    mkdir -p "$out$(dirname "$library")"
    cp -L "$library" "$out$library"
    chmod 0555 "$out$library"
done

install -D -m 0444 "$roots" "$out/etc/ssl/certs/ca-certificates.crt"
echo "hosts: files dns" >"$out/etc/nsswitch.conf"
chmod 0444 "$out/etc/nsswitch.conf"
mkdir -p "$out/var/lib/portal"

find "$out" -type d -exec chmod 0755 {} +
find "$out" -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH:-0}" {} +
