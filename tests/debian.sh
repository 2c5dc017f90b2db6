#!/bin/sh
# Install what some tests need from Debian.  Never fails: a test whose program is missing says that it skipped it.
packages="bsd-mailx daemontools faketime fish groff-base locales man-db mandoc msmtp-mta nginx procps psmisc
redis-server runit s6 strace zsh"
# Of these Debian makes services of the system; the tests start their own, and want no other.
daemons="nginx redis-server"

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

# While it is there, no package starts a service.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 0' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
# shellcheck disable=SC2086
if { apt-get update && apt-get install -y --no-install-recommends $missing; } >/tmp/supervise-debian.$$ 2>&1; then
    # Nor is one to start with the machine.
    for daemon in $daemons; do
        case " $missing " in *" $daemon "*) update-rc.d "$daemon" disable >/dev/null 2>&1 ;; esac
    done
else
    echo "could not be installed, so what needs it is skipped:$missing" >&2
    tail -n 3 /tmp/supervise-debian.$$ >&2
fi
rm -f /tmp/supervise-debian.$$
exit 0
