#!/bin/sh
# The session of docs/session.md, really run: session.sh prints each command and what it answered.
# Needs the programs of the package on PATH; works in a folder of its own and leaves nothing.
set -u
folder=$(mktemp -d)
cd "$folder" || exit 1
trap 'svc --no-wait exit app >/dev/null 2>&1; cd /; rm -rf "$folder"' EXIT

run() {
    printf '$ %s\n' "$*"
    sh -c "$*" 2>&1
    code=$?
    [ $code = 0 ] || printf '(exit status %s)\n' "$code"
}

cat >app.py <<'PYTHON'
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: print("somebody said hello", flush=True))
print("ready", flush=True)
while True:
    time.sleep(3600)
PYTHON

run "supervise -p status/app -f 'python3 app.py'"
run "svwait -u -t 10 app"
run "svstat"
run "svok app && echo supervised"
while ! grep -q ready status/app/__stdout; do sleep 0.1; done
echo '$ svlog -f app &'
svlog -f app >followed 2>&1 &
follower=$!
run "svc signal USR1 app"
while ! grep -q hello followed; do sleep 0.1; done
sleep 1
run "svc restart app"
while [ "$(grep -c ready followed)" -lt 2 ]; do sleep 0.1; done
cat followed
kill "$follower"
wait "$follower" 2>/dev/null
sleep 1.1 # a service that has run for a second is back at once
run "svstat --long app"
run "svc kill app"
run "svwait -u -t 10 app"
run "svlog -s -n 3 app"
run "svc stop app"
run "svstat app"
run "svwait -u -t 0.5 app"
run "svc exit app"
run "svstat app"
run "svok app"
