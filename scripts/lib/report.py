"""What the sections of the bench share: tables, percentiles, targets, and calls that must not fail."""

import json
import os
import sys
import time

import scratch

IMAGE = "bivouac/base:latest"
REQUEST = json.dumps({"image": {"uri": IMAGE}, "entrypoint": ["sleep", "1000000"], "resourceLimits": {}}).encode()
# The targets that were not reached.
MISSED = []


def table(title, rows, heads):
    rows = [[str(cell) for cell in row] for row in [heads] + rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    print(f"\n{title}")
    for at, row in enumerate(rows):
        cells = [cell.ljust(width) if n == 0 else cell.rjust(width) for n, (cell, width) in enumerate(zip(row, widths))]
        print("  " + "  ".join(cells).rstrip())
        if at == 0:
            print("  " + "  ".join("-" * width for width in widths))
    sys.stdout.flush()


def percentiles(times):
    ordered = sorted(times)
    return [ordered[min(len(ordered) * part // 100, len(ordered) - 1)] for part in (50, 90, 99)]


def micros(seconds):
    return f"{seconds * 1e6:,.0f}"


def verdict(name, good, target):
    if not good:
        MISSED.append(name)
    return f"{target} {'ok' if good else 'MISSED'}"


def create(client, image=IMAGE, more=None):
    request = REQUEST if image == IMAGE else REQUEST.replace(IMAGE.encode(), image.encode())
    if more:
        request = json.dumps({**json.loads(request), **more}).encode()
    status, body = client.ask("POST", "/v1/sandboxes", request)
    made = json.loads(body)
    if status != 202 or made["status"]["state"] != "Running":
        raise SystemExit(f"create answered {status}: {body.decode()}")
    return made["id"]


def expect(client, method, path, status):
    answer, body = client.ask(method, path)
    if answer != status:
        raise SystemExit(f"{method} {path} answered {answer}: {body.decode()}")


def timed(act):
    start = time.perf_counter()
    result = act()
    return time.perf_counter() - start, result


def wait_gone(paths):
    """Looks again and again, with pauses far shorter than what is measured, so that the processor is the daemon's."""
    end = time.monotonic() + 30
    for path in paths:
        while os.path.exists(path):
            if time.monotonic() > end:
                raise SystemExit(f"{path} is still there 30 s after the delete")
            time.sleep(0.00005)


def same_host(daemon, before):
    """Nothing is left 5 s after the last delete; says what is, otherwise."""
    end = time.monotonic() + 5
    while (changes := scratch.look(daemon) ^ before) and time.monotonic() < end:
        time.sleep(0.05)
    for thing, count in sorted(changes)[:20]:
        print(f"  left over: {count} times {thing}")
    return not changes


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))
