"""A service that does what a test tells it: speaking.py starts it, and writes what it is to do.

    python3 -S -E speaker.py FIFO

Each line of the FIFO is a number, a blank, and Python as repr() has it: an expression or statements, run here one after
the other, with what is defined here.  The answer is a line on stdout: `NUMBER done VALUE`, or `NUMBER failed WHY`.
"""

import _socket
import os
import select
import signal
import sys
import time
from _thread import start_new_thread


def socket():
    """A socket that is connected to where supervise listens."""
    to = os.environ["NOTIFY_SOCKET"]
    made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    made.connect("\0" + to[1:] if to.startswith("@") else to)
    return made


def send(*messages):
    """Say something, each text in a datagram of its own."""
    sender = socket()
    for message in messages:
        sender.send(message if isinstance(message, bytes) else message.encode())
    sender.close()


def pass_on(message, *descriptors):
    """Say something and send descriptors with it."""
    sender = socket()
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in descriptors)
    sender.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    sender.close()


def barrier():
    """Wait until supervise has dealt with what was sent before; False if it has not within half a minute."""
    reading, writing = os.pipe()
    pass_on(b"BARRIER=1", writing)
    os.close(writing)
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    found = poll.poll(30000)
    os.close(reading)
    return bool(found)


def say(*messages):
    """The same as `send`, with a barrier behind it: for a process that ends then."""
    send(*messages)
    assert barrier()


def keep_sending(message, pause):
    """Send it again and again, from a thread, until a file named `enough` is there; also when nobody listens."""

    def run():
        while not os.path.exists("enough"):
            try:
                send(message)
            except OSError:
                pass
            time.sleep(pause)

    start_new_thread(run, ())


def on(name, action):
    """Do something when a signal comes; `action` may be what signal.signal takes, or a function without arguments."""
    handler = (lambda *_: action()) if callable(action) else action
    signal.signal(getattr(signal, f"SIG{name}"), handler)


def descriptors():
    """What is open, beside the three that every process has."""
    found = [int(name) for name in os.listdir("/proc/self/fd")]  # and what that has been read with
    return sorted(fd for fd in found if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}"))


def in_child(action, *args, wait=True):
    """Do it in a child; its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action(*args)
            code = 0
        finally:
            os._exit(code)
    if wait:
        assert os.waitpid(pid, 0)[1] == 0
    return pid


def in_orphan(action, *args):
    """Do it in a process whose parent has ended; it is not waited for."""

    def between():
        parent = os.getpid()

        def orphan():
            while os.getppid() == parent:
                time.sleep(0.001)
            action(*args)

        in_child(orphan, wait=False)

    in_child(between)


def main():
    told = os.open(sys.argv[1], os.O_RDONLY)
    names = globals()
    line = b""
    while True:
        # Not a byte more than the line: what follows is for the next process if this one is ended.
        byte = os.read(told, 1)
        if not byte:
            return  # the test has ended
        if byte != b"\n":
            line += byte
            continue
        number, _, text = line.decode().partition(" ")
        line = b""
        text = eval(text)
        try:
            try:
                code = compile(text, "<test>", "eval")
            except SyntaxError:
                code = compile(text, "<test>", "exec")
            answer = f"{number} done {eval(code, names)!r}"
        except BaseException as why:
            answer = f"{number} failed {type(why).__name__}: {why}"
        os.write(1, answer.encode("ascii", "backslashreplace") + b"\n")


if __name__ == "__main__":
    main()
