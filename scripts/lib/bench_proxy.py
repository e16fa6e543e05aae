"""What the proxy to a sandbox's ports costs, beside a direct connection into its network namespace.

As a program (`bench_proxy.py unix:PATH|tcp:PORT REQUEST-PATH [UPGRADE]`) it is the client of both: it asks once, reads to the
end, and prints bytes and seconds.
"""

import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time

import scratch
from report import expect, table, verdict

PIECE = 1 << 20
SWITCHED = "printf 'HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: x\\r\\n\\r\\n'"
HEAD = """while read -r line && [ "$line" != "$(printf '\\r')" ]; do :; done"""
SERVER = f"""
mkdir /tmp/www; truncate -s {{size}} /tmp/www/big
printf '%s\\n' '#!/bin/sh' '{{stream}}' > /tmp/stream; printf '%s\\n' '#!/bin/sh' '{{rest}}' > /tmp/rest; chmod 755 /tmp/stream /tmp/rest
httpd -f -p 127.0.0.1:8000 -h /tmp/www & nc -ll -p 8001 -e /tmp/stream & exec nc -ll -p 8002 -e /tmp/rest
"""


def run(programs, part):
    size = (1024 // part) << 20
    daemon = scratch.Daemon(programs).start()
    try:
        name = serve(daemon, size)
        # First, before there is memory that was given back and can be used again.
        at_rest(daemon, name, 1000 // part)
        throughput(daemon, name, size, 5)
        expect(daemon.client(), "DELETE", f"/v1/sandboxes/{name}", 204)
    finally:
        daemon.close()


def quoted(script):
    return script.replace("'", "'\\''")


def serve(daemon, size):
    stream = quoted(f"{HEAD}; {SWITCHED}; exec dd if=/dev/zero bs=64k count={size >> 16} 2>/dev/null")
    rest = quoted(f"{HEAD}; {SWITCHED}; exec cat")
    script = SERVER.replace("{size}", str(size)).replace("{stream}", stream).replace("{rest}", rest)
    request = {"image": {"uri": "bivouac/base:latest"}, "entrypoint": ["sh", "-c", script],
               "resourceLimits": {"cpu": str(os.cpu_count()), "memory": "2Gi"}}
    status, body = daemon.client().ask("POST", "/v1/sandboxes", json.dumps(request).encode())
    if status != 202:
        raise SystemExit(f"create answered {status}: {body.decode()}")
    name = json.loads(body)["id"]
    for port in (8000, 8001, 8002):
        scratch.until(10, f"port {port} of the sandbox answers", lambda: listens(daemon, name, port))
    return name


def listens(daemon, name, port):
    stream, answer = socket.socket(socket.AF_UNIX), b""
    with stream:
        stream.connect(daemon.socket)
        ask(stream, f"/v1/sandboxes/{name}/proxy/{port}/nosuch", "")
        while piece := stream.recv(PIECE):
            answer += piece
    return b"CONNECTION_FAILED" not in answer


def throughput(daemon, name, size, runs):
    inside = daemon.processes(name, "init")[0]
    rows = []
    for what, port, path, upgrade in (("download over HTTP", 8000, "/big", ""), ("upgraded stream", 8001, "/", "x")):
        direct, proxied = [], []
        for _ in range(runs):
            direct.append(pull(["nsenter", f"--net=/proc/{inside}/ns/net"], f"tcp:{port}", path, upgrade, size))
            proxied.append(pull([], "unix:" + daemon.socket, f"/v1/sandboxes/{name}/proxy/{port}{path}", upgrade, size))
        one, other = statistics.median(direct), statistics.median(proxied)
        rows.append([what, f"{one:,.0f}", f"{other:,.0f}", verdict(f"proxy, {what}", other >= 0.7 * one, f"{other / one:.0%}")])
    table(f"{size >> 20} MiB out of a sandbox, MB/s, medians of {runs} (target: at least 70 % of direct)", rows,
          ["what", "direct", "proxied", "of direct"])


def pull(before, address, path, upgrade, size):
    command = before + [sys.executable, os.path.abspath(__file__), address, path, upgrade]
    count, seconds = subprocess.check_output(command, text=True).split()
    if int(count) < size:
        raise SystemExit(f"{' '.join(command)}: {count} of {size} bytes came")
    return int(count) / float(seconds) / 1e6


def at_rest(daemon, name, count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * count)), hard))
    path = f"/v1/sandboxes/{name}/proxy/8002/"
    # Buffers and threads that the first ones cause are not the price of each.
    close(upgraded(daemon.socket, path) for _ in range(20))
    before = scratch.memory(daemon.child.pid, "Pss")
    held = [upgraded(daemon.socket, path) for _ in range(count)]
    each = (scratch.memory(daemon.child.pid, "Pss") - before) / count
    for stream in held:
        stream.sendall(b"still there")
    silent = sum(stream.recv(64) != b"still there" for stream in held)
    close(held)
    table(f"{count:,} WebSockets at rest", [
        ["growth of the daemon for each (KiB)", f"{each:,.1f}", verdict("idle WebSockets", each < 20, "20")],
        ["without an answer afterwards", f"{silent}", verdict("WebSockets", silent == 0, "0")]], ["what", "value", "target"])


def close(streams):
    for stream in list(streams):
        stream.close()


def upgraded(path, target):
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(60)
    stream.connect(path)
    ask(stream, target, "websocket")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = stream.recv(1)
        if not piece:
            raise SystemExit(f"{target} answered {head!r}")
        head += piece
    if not head.startswith(b"HTTP/1.1 101"):
        raise SystemExit(f"{target} answered {head!r}")
    return stream


def ask(stream, path, upgrade):
    connection = f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n" if upgrade else "Connection: close\r\n"
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: b\r\n{connection}\r\n".encode())


def main(address, path, upgrade):
    kind, _, place = address.partition(":")
    stream = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    stream.connect(place if kind == "unix" else ("127.0.0.1", int(place)))
    piece, count = memoryview(bytearray(PIECE)), 0
    start = time.perf_counter()
    ask(stream, path, upgrade)
    while got := stream.recv_into(piece):
        count += got
    print(count, time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
