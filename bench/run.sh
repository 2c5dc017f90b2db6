#!/bin/sh
# `make run`: supervise a real program under status/NAME and show what can be done with it.
set -eu

if [ -z "${CMD:-}" ]; then
    port=$(python3 -I -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    CMD="python3 -m http.server --bind 127.0.0.1 $port"
    url="http://127.0.0.1:$port/"
fi

if ! supervise -p "status/$NAME" -f "$CMD" -F conf/supervise.conf; then
    if svok "status/$NAME" 2>/dev/null; then
        echo "It runs already; to stop it:  echo dx > status/$NAME/control" >&2
    fi
    exit 1
fi

pid=$(od -An -j16 -N4 -tu4 "status/$NAME/status" | tr -d ' ')
echo "$NAME is up: pid $pid runs $CMD"
if [ -n "${url:-}" ]; then
    if ! python3 -I - "$url" <<'PYTHON'
import sys, time, urllib.request
for attempt in range(200):
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5).read()
        break
    except OSError:
        time.sleep(0.05)
else:
    sys.exit(1)
PYTHON
    then
        echo "but $url does not answer; see status/$NAME/__stderr" >&2
        exit 1
    fi
    echo "and answers at  $url"
fi
cat <<TEXT

its pid:         od -An -j16 -N4 -tu4 status/$NAME/status
its log:         cat status/$NAME/supervise.log
restart it:      echo R > status/$NAME/control
kill it:         kill -9 $pid                          (it comes back)
stop it:         echo d > status/$NAME/control         (echo u starts it again)
end supervise:   echo dx > status/$NAME/control
without a supervise such an echo waits for one; .venv/bin/svc stop $NAME never does
TEXT
