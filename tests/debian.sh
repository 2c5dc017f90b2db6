#!/bin/sh
# Install what some tests need from Debian.  Never fails: a test whose program is missing says that it skipped it.
packages="bsd-mailx fish groff-base man-db mandoc msmtp-mta procps psmisc strace zsh"

missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, so what needs it is skipped:$missing" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
{ apt-get update && apt-get install -y --no-install-recommends $missing; } >/tmp/supervise-debian.$$ 2>&1 || {
    echo "could not be installed, so what needs it is skipped:$missing" >&2
    tail -n 3 /tmp/supervise-debian.$$ >&2
}
rm -f /tmp/supervise-debian.$$
exit 0
