#!/bin/sh
# The session of docs/reliability.md, really run: a web server is asked the whole time while its supervise is killed,
# succeeded, and replaced by the installed version.  Needs `supervise` and python3 on PATH, and fuser; works in a folder of its
# own and leaves nothing.
set -u
folder=$(mktemp -d)
cd "$folder" || exit 1
asker=
finish() {
    [ -z "$asker" ] || kill "$asker" 2>/dev/null
    if fuser -s status/web/lock 2>/dev/null; then
        echo dx >status/web/control
        while fuser -s status/web/lock 2>/dev/null; do sleep 0.1; done
    fi
    cd / && rm -rf "$folder"
}
trap finish EXIT

run() {
    printf '$ %s\n' "$*"
    sh -c "$*" 2>&1
}

until_log() { # TEXT TIMES
    while [ "$(grep -c "$1" status/web/supervise.log)" -lt "$2" ]; do sleep 0.05; done
}

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export port
cat >ask.py <<'PYTHON'
import os, signal, sys, time, urllib.request

url, answered, failed = f"http://127.0.0.1:{os.environ['port']}/", 0, 0
going = True


def stop(*_):
    global going
    going = False


signal.signal(signal.SIGTERM, stop)
while going:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            answer.read()
        answered += 1
    except OSError as why:
        failed += 1
        print(why, file=sys.stderr)
    if answered == 1:
        open("asked", "w").close()
print(f"{answered} requests answered, {failed} failed")
PYTHON

run "supervise -p status/web -f \"python3 -m http.server --bind 127.0.0.1 $port\""
until python3 -c "import os, socket; socket.create_connection(('127.0.0.1', int(os.environ['port'])))" 2>/dev/null; do
    sleep 0.05
done
echo '$ python3 ask.py &'
python3 ask.py >answers 2>&1 &
asker=$!
while [ ! -e asked ]; do sleep 0.05; done
# shellcheck disable=SC2016
{
    run 'od -An -j16 -N4 -tu4 status/web/status'
    run 'kill -9 $(fuser status/web/lock 2>/dev/null); sleep 1'
    run "supervise -p status/web -f \"python3 -m http.server --bind 127.0.0.1 $port\""
    run 'od -An -j16 -N4 -tu4 status/web/status'
    run 'fuser status/web/lock 2>/dev/null; echo'
    for count in 1 2 3; do
        run 'echo e >status/web/control'
        until_log 'supervise replaced' $count
    done
    run 'fuser status/web/lock 2>/dev/null; echo'
    run 'kill -QUIT $(fuser status/web/lock 2>/dev/null); sleep 1'
    run "supervise -p status/web -f \"python3 -m http.server --bind 127.0.0.1 $port\""
    run 'od -An -j16 -N4 -tu4 status/web/status'
}
echo '$ kill %1; wait'
kill "$asker"
wait "$asker"
asker=
cat answers
run 'cat status/web/supervise.log'
