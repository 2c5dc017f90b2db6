"""`supervise --check`: what a configuration means, and what is wrong with it."""

from __future__ import annotations

from supervise.conffile import read_file
from supervise.config import parse, section_names
from supervise.messages import one_line

OK, PROBLEMS = 0, 100


def check(path: str, name: str | None) -> int:
    """Print what `path` means for the service `name`, or for every section, and every problem as `FILE:LINE: ...`.

    Returns 0, or 100 if there is a problem.
    """
    try:
        data, cut, _ = read_file(path)
    except OSError as why:
        print(f"{one_line(path)}: cannot be read: {why.strerror}")
        return PROBLEMS
    names = [name] if name is not None else [section for section in section_names(data) if section != "global"]
    found: dict[str, None] = {}
    # Every problem of the file, whichever service was asked for.
    for service in section_names(data):
        found.update(dict.fromkeys(parse(data, service, cut=cut, strict=True)[1].lines(one_line(path))))
    for service in names or [""]:
        config, problems = parse(data, service, cut=cut, strict=True)
        _describe(service, service in section_names(data))
        for key, value in config.items():
            print(f"  {key} : {value}".rstrip())
        if not config.alarm_interval:
            print("  (alarm_interval is 0: no alarms, no limit of restarts)")
        found.update(dict.fromkeys(problems.lines(one_line(path))))
    for line in sorted(found, key=_line_number):
        print(line)
    return PROBLEMS if found else OK


def _describe(service: str, has_section: bool) -> None:
    if not service:
        print("any service:")
    elif has_section:
        print(f"service {one_line(service)}:")
    else:
        print(f"service {one_line(service)}, which has no section of its own:")


def _line_number(problem: str) -> float:
    """What to sort by: problems of the whole file first, the count of those not listed last."""
    number = problem.partition(": ")[0].rpartition(":")[2]
    return int(number) if number.isdigit() else float("inf") if problem.endswith("more problems") else 0
