"""Reading the services that svstat shows."""

from __future__ import annotations

from supervise.client import ClientError, DamagedState, services
from supervise.client.named import named
from supervise.programs.program import warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervise.client import Service, Status
    from supervise.programs.svstat.table import Row

    Found = tuple[str, Service | None, Status | None, ClientError | None]


def read(directories: list[str], program: str = "svstat") -> Iterator[Found]:
    """Each service that was named, or all; `program` is that which warns.

    Raises UnknownService where there is no directory of services.
    """
    if not directories:
        yield from map(look_at, services())
    for word, service in named(directories, warning(program)):
        yield (word, None, None, service) if isinstance(service, ClientError) else look_at(service)


def look_at(service: Service) -> Found:
    """Read a service: with its status, or a problem, or both (DamagedState).  Never raises."""
    try:
        return service.path, service, service.status(), None
    except DamagedState as why:
        return service.path, service, why.status, why
    except ClientError as why:
        return service.path, service, None, why


def fails(found: Found) -> bool:
    """Whether this is one of what --failed shows."""
    from supervise.client.trouble import failing

    _, _, status, problem = found
    return problem is not None or failing(status)


def rows(found: list[Found]) -> list[Row]:
    """The rows of the table, with memory and CPU as they are now."""
    from supervise.client.kept import kept
    from supervise.client.usage import usage
    from supervise.programs.svstat.table import Row

    used = usage({status.pid for _, _, status, _ in found if status and status.running})
    return [
        Row(
            service.name if service else path,
            status,
            used.get(status.pid) if status and status.running else None,
            str(problem) if problem else "",
            _sum(kept(path)) if service else None,
        )
        for path, service, status, problem in found
    ]


def _sum(sizes: tuple[int | None, int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None
