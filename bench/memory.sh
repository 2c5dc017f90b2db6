#!/bin/sh
# PSS in kB of one lone process, each measured while no other Python runs: memory.sh PYTHON SUPERVISE FOLDER
# Prints `sleep N`, `plain N` (no configuration file) and `watched N`.
set -eu
python=$1 supervise=$2 folder=$3

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
for what in plain watched; do
    rm -f supervise.conf
    [ $what = plain ] || printf '[global]\nalarm_interval : 60\nmax_tries : 10\n' >supervise.conf
    "$supervise" -p "status/$what" -f "sleep 1000"
    # The pid in `lock` by the kernel's list: fuser looks at every process.
    child=$(od -An -j16 -N4 -tu4 "status/$what/status" | tr -d ' ')
    pid=$(awk '/^PPid:/ {print $2}' "/proc/$child/status")
    settled "$pid"
    echo "$what $(pss "$pid")"
    echo dx >"status/$what/control"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
done
