"""A site as it is run: Redis, gunicorn, and a celery worker that needs both, from one file, under `svall run`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from all_services import Services
from box import PATIENCE, wait_for
from heirs import state
from serving import get, new_address, swept, wait_served
from system import needs

# Not imported here: that takes half a second.
pytestmark = pytest.mark.skipif(not all(map(find_spec, ("celery", "gunicorn", "redis"))), reason="not installed")

# What the worker runs.  It notes what it finds when it is started: whether Redis and gunicorn answer.
JOBS = """
import http.client, os, socket
from celery import Celery

if "WORKER" in os.environ:
    with socket.create_connection(({redis!r}, {redis_port})) as redis:
        redis.sendall(b"PING\\r\\n")
        found = redis.recv(100).decode().strip()
    web = http.client.HTTPConnection({web!r}, {web_port})
    web.request("GET", "/greeting")
    with open("log", "a") as log:
        log.write(found + " " + web.getresponse().read().decode() + "\\n")

app = Celery("jobs", broker="redis://{redis}:{redis_port}/0", backend="redis://{redis}:{redis_port}/1")
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_send_task_events = False

@app.task
def add(one, other):
    return one + other
"""
# Answers with a greeting, and to any other path with what the worker has made of a job.
SITE = """
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/greeting":
        return [os.environ["GREETING"].encode()]
    from jobs import add
    return [str(add.delay(2, 40).get(timeout=30)).encode()]
"""
REDIS = "bind {redis}\nport {redis_port}\nprotected-mode no\ndir .\nsave ''\nsupervised systemd\n"
GUNICORN = """
bind = "{web}:{web_port}"
threads = 2  # a worker that starts asks while a job waits for it
worker_tmp_dir = "."
control_socket_disable = True  # of newer versions: in the user's home
"""
CONF = """
[global]
startsecs : 0

[redis]
command : redis-server redis.conf
notify : yes

[web]
command : {python} -m gunicorn site_app:app
environment : GREETING="hello"
notify : yes

[worker]
command : {python} -m celery -A jobs worker --pool solo --without-gossip --without-mingle --without-heartbeat
environment : WORKER="yes"
depends_on : redis, web
"""
JOB = "/job"


class Site:
    """The three services, and what each of them can be asked."""

    def __init__(self, services: Services) -> None:
        self.services = services
        redis, self.web = new_address(), new_address()
        facts = {
            **{"redis": redis[0], "redis_port": redis[1], "python": sys.executable},
            **{"web": self.web[0], "web_port": self.web[1]},
        }
        for name, text in (("jobs.py", JOBS), ("redis.conf", REDIS), ("gunicorn.conf.py", GUNICORN)):
            (services.folder / name).write_text(text.format(**facts))
        (services.folder / "site_app.py").write_text(SITE)
        self.text = CONF.format(**facts)
        services.conf(self.text)

    def job(self) -> int:
        """What came of a job that a request made."""
        return int(get(self.web, JOB))

    def change(self, old: str, new: str) -> None:
        """Another text in the file."""
        assert old in self.text
        self.text = self.text.replace(old, new)
        self.services.conf(self.text)


@pytest.fixture
def site(services: Services) -> Iterator[Site]:
    needs("redis-server")
    with swept(services["worker"]):
        yield Site(services)
        print(services.said, *(services[name].log("__stderr") for name in services.names))  # if the test has failed


def test_one_is_killed_one_changed_one_removed(site: Site) -> None:
    services = site.services
    process = services.run()
    pids = services.wait_up("redis", "web", "worker")
    # Whatever waits for another was started when that was ready, so it found it.
    assert state(services["redis"])["phase"] == state(services["web"])["phase"] == "ready"
    assert site.job() == 42
    assert services.log == ["+PONG hello"]

    os.kill(pids["redis"], signal.SIGKILL)
    pids["redis"] = services["redis"].wait_new_pid(pids["redis"])
    wait_for("Redis to be ready", lambda: state(services["redis"])["phase"] == "ready")
    assert site.job() == 42
    assert services.pids() == pids

    site.change('"hello"', '"good day"')
    process.send_signal(signal.SIGHUP)
    pids["web"] = services["web"].wait_new_pid(pids["web"])
    assert wait_served(site.web, "/greeting") == "good day"
    assert site.job() == 42
    assert services.pids() == pids

    site.change("depends_on : redis, web", "depends_on : redis")
    web = site.text[site.text.index("[web]") : site.text.index("[worker]")]
    site.change(web, "")
    process.send_signal(signal.SIGHUP)
    del pids["web"]
    wait_for("gunicorn to be gone", lambda: services.pids() == pids)
    with pytest.raises(OSError):
        get(site.web)

    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert not services.pids()
    assert services.log == ["+PONG hello"]  # started once
