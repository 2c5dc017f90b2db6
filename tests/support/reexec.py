"""A server that upgrades itself as the Go frameworks do (endless, graceful).

    reexec.py ADDRESS PORT [notify] [pidfile | late] [helper]

HUP: it starts a copy of itself that inherits the listening socket.  When the copy serves, it tells so, as the words
say, and sends its parent TERM.
TERM: it accepts no more, finishes the requests that it has, and exits with status 0.

`notify`: MAINPID= and READY=1 to NOTIFY_SOCKET.  `pidfile`: the file `pid` in the current directory; `late`: only when
its parent has gone.  `helper`: each copy has a child that outlives it.

A request is answered with the pid; /slow makes a file `slow`, and is answered once there is a file `go`.  With a file
`broken`, a copy exits before it serves.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time

_SIGNALS = {signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD}


def main() -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # a copy inherits that: none can come too early for it
    address, port, *words = sys.argv[1:]
    inherited = int(os.environ.pop("REEXEC_SOCKET", "-1"))
    parent = int(os.environ.pop("REEXEC_PARENT", "0"))
    if parent and os.path.exists("broken"):
        print("broken", flush=True)
        return 1
    if inherited >= 0:
        listener = socket.socket(fileno=inherited)
    else:
        listener = socket.create_server((address, int(port)), backlog=512)
    os.set_inheritable(listener.fileno(), False)
    listener.setblocking(False)
    if "helper" in words:
        os.posix_spawnp("sleep", ["sleep", "1000"], os.environ, setsigmask=())
    stop, stopping = os.pipe()
    server = threading.Thread(target=serve, args=(listener, stop))
    server.start()
    tell(words, parent)
    print(f"{os.getpid()} has taken over", flush=True)
    while True:
        number = signal.sigwait(_SIGNALS)
        if number == signal.SIGHUP:
            start_copy(listener.fileno())
        elif number == signal.SIGCHLD:
            reap()
        else:
            os.close(stopping)
            server.join()
            return 0


def tell(words: list[str], parent: int) -> None:
    """Say that this is the main process now."""
    if "notify" in words:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            address = os.environ["NOTIFY_SOCKET"]
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(f"MAINPID={os.getpid()}\nREADY=1\nSTATUS=serving".encode())
    if "pidfile" in words:
        write_pidfile()
    if parent and os.getppid() == parent:
        os.kill(parent, signal.SIGTERM)
    if "late" in words:
        while parent and os.getppid() == parent:
            time.sleep(0.01)
        write_pidfile()


def write_pidfile() -> None:
    """In place, as most do: for a moment there is nothing in it."""
    with open("pid", "w") as file:
        file.write(f"{os.getpid()}\n")


def start_copy(listener: int) -> None:
    """Start a copy of this program, with the socket."""
    env = {**os.environ, "REEXEC_SOCKET": "3", "REEXEC_PARENT": str(os.getpid())}
    if listener == 3:
        os.set_inheritable(3, True)
        actions = []
    else:
        actions = [(os.POSIX_SPAWN_DUP2, listener, 3)]
    try:
        os.posix_spawn(sys.executable, [sys.executable, "-S", "-E", *sys.argv], env, file_actions=actions)
    finally:
        os.set_inheritable(listener, False)


def reap() -> None:
    """Let no child be a zombie."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def serve(listener: socket.socket, stop: int) -> None:
    """Accept until `stop` is closed, then finish what has been accepted."""
    requests: list[threading.Thread] = []
    while True:
        ready, _, _ = select.select([listener, stop], [], [])
        if stop in ready:
            break
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue  # a copy was faster
        requests = [thread for thread in requests if thread.is_alive()]
        requests.append(threading.Thread(target=answer, args=(connection,)))
        requests[-1].start()
    listener.close()
    for thread in requests:
        thread.join()


def answer(connection: socket.socket) -> None:
    """Answer one request."""
    with connection:
        connection.setblocking(True)
        asked = b""
        while b"\r\n\r\n" not in asked:
            data = connection.recv(4096)
            if not data:
                return
            asked += data
        if asked.startswith(b"GET /slow "):
            open("slow", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.01)
        body = str(os.getpid()).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


if __name__ == "__main__":
    sys.exit(main())
