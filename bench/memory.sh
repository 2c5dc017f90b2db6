#!/bin/sh
# PSS in kB of one lone process, each measured while no other Python runs: memory.sh PYTHON SUPERVISE FOLDER
# Prints `sleep N`, `plain N` (no configuration file), `watched N` and `everything N` (each key but those of whom to tell).
set -eu
python=$1 supervise=$2 folder=$3
here=$(cd "$(dirname "$0")" && pwd)

pss() { awk '/^Pss:/ {print $2}' "/proc/$1/smaps_rollup"; }

settled() { # the helper that sets the watches has ended: what is left is supervise itself
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        sleep 0.3
        pgrep -P "$1" -f inotify_helper >/dev/null || break
    done
    sleep 0.3
}

mkdir -p "$folder" && cd "$folder"
"$python" -c 'import time; time.sleep(99)' &
sleep 1
echo "sleep $(pss $!)"
kill $!
mkdir -p everything # for its pidfile
for what in plain watched everything; do
    rm -f supervise.conf
    command="sleep 1000"
    case $what in
    watched) printf '[global]\nalarm_interval : 60\nmax_tries : 10\n' >supervise.conf ;;
    everything)
        cp "$here/everything.conf" supervise.conf
        printf 'user : %s\ncheck_command : true\n' "$(id -un)" >>supervise.conf
        command="sh -c 'echo \$\$ >everything/pid; echo >&3; exec sleep 1000'"
        ;;
    esac
    "$supervise" -p "status/$what" -f "$command"
    # The pid in `lock` by the kernel's list: fuser looks at every process.
    child=$(od -An -j16 -N4 -tu4 "status/$what/status" | tr -d ' ')
    pid=$(awk '/^PPid:/ {print $2}' "/proc/$child/status")
    settled "$pid"
    echo "$what $(pss "$pid")"
    echo dx >"status/$what/control"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
done
