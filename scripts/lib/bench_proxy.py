"""What the proxy to a sandbox's ports costs, beside a direct connection into its network namespace.

As a program (`bench_proxy.py WHAT unix:PATH|tcp:PORT REQUEST-PATH NUMBER`) it is the client of both, and prints seconds.
Client, program and daemon share the processors: with two of them, a third busy process takes its time from the others.
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
from report import expect, micros, table, verdict

PIECE = 1 << 20
SWITCHED = "printf 'HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: x\\r\\n\\r\\n'"
HEAD = """while read -r line && [ "$line" != "$(printf '\\r')" ]; do :; done"""
# Who does not send anything only wants to know whether it listens.
SINK = (f"read -r method rest; [ $method = POST ] || exit; {HEAD}; dd bs=64k iflag=fullblock count=$1 of=/dev/null 2>/dev/null; "
        "printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n'")
SERVER = """
mkdir /tmp/www; truncate -s {size} /tmp/www/big; echo hello > /tmp/www/small
make() { printf '%s\\n' '#!/bin/sh' "$2" > "$1"; chmod 755 "$1"; }
make /tmp/stream '{stream}'; make /tmp/rest '{rest}'; make /tmp/sink '{sink}'
httpd -f -p 127.0.0.1:8000 -h /tmp/www & nc -ll -p 8001 -e /tmp/stream & nc -ll -p 8003 -e /tmp/sink &
exec nc -ll -p 8002 -e /tmp/rest
"""
# What is asked for, of which port, and what for.
THROUGH = [("download over HTTP", "get", 8000, "/big"), ("upgraded stream", "switch", 8001, "/"),
           ("upload over HTTP", "post", 8003, "/")]


def run(programs, part):
    size = (1024 // part) << 20
    daemon = scratch.Daemon(programs).start()
    try:
        name = serve(daemon, size)
        # First, before there is memory that was given back and can be used again.
        at_rest(daemon, name, 1000 // part)
        throughput(daemon, name, size, 7)
        waits(daemon, name, 1000 // part)
        expect(daemon.client(), "DELETE", f"/v1/sandboxes/{name}", 204)
    finally:
        daemon.close()


def quoted(script):
    return script.replace("'", "'\\''")


def serve(daemon, size):
    script = SERVER
    for mark, text in (("size", str(size)),
                       ("stream", f"{HEAD}; {SWITCHED}; exec dd if=/dev/zero bs=64k count={size >> 16} 2>/dev/null"),
                       ("rest", f"{HEAD}; {SWITCHED}; exec cat"), ("sink", SINK.replace("$1", str(size >> 16)))):
        script = script.replace("{" + mark + "}", quoted(text))
    request = {"image": {"uri": "bivouac/base:latest"}, "entrypoint": ["sh", "-c", script],
               "resourceLimits": {"cpu": str(os.cpu_count()), "memory": "2Gi"}}
    status, body = daemon.client().ask("POST", "/v1/sandboxes", json.dumps(request).encode())
    if status != 202:
        raise SystemExit(f"create answered {status}: {body.decode()}")
    name = json.loads(body)["id"]
    for port in (8000, 8001, 8002, 8003):
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
    rows = []
    for title, what, port, path in THROUGH:
        direct, proxied = both_ways(daemon, name, (what, port, path), size, runs)
        one, other = (size / statistics.median(seconds) / 1e6 for seconds in (direct, proxied))
        rows.append([title, f"{one:,.0f}", f"{other:,.0f}", verdict(f"proxy, {title}", other >= 0.7 * one, f"{other / one:.0%}")])
    table(f"{size >> 20} MiB out of a sandbox or into it, MB/s, medians of {runs} (target: at least 70 % of direct)", rows,
          ["what", "direct", "proxied", "of direct"])


def waits(daemon, name, count):
    direct, proxied = both_ways(daemon, name, ("small", 8000, "/small"), count, 3)
    table(f"GET of 6 bytes, each on a connection of its own, p50 of {count:,} (us, medians of 3)",
          [["httpd, which forks for each", micros(statistics.median(direct)), micros(statistics.median(proxied))]],
          ["what", "direct", "proxied"])


def both_ways(daemon, name, what, number, runs):
    """Seconds of each run, with the one way and the other in turn."""
    enter = ["nsenter", f"--net=/proc/{daemon.processes(name, 'init')[0]}/ns/net"]
    what, port, path = what
    direct, proxied = [], []
    for _ in range(runs):
        direct.append(client(enter, what, f"tcp:{port}", path, number))
        proxied.append(client([], what, "unix:" + daemon.socket, f"/v1/sandboxes/{name}/proxy/{port}{path}", number))
    return direct, proxied


def client(before, *arguments):
    return float(subprocess.check_output(before + [sys.executable, os.path.abspath(__file__), *map(str, arguments)], text=True))


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


def reach(address):
    kind, _, place = address.partition(":")
    stream = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    stream.connect(place if kind == "unix" else ("127.0.0.1", int(place)))
    return stream


def get(address, path, size, upgrade=""):
    stream, piece, count = reach(address), memoryview(bytearray(PIECE)), 0
    start = time.perf_counter()
    ask(stream, path, upgrade)
    while got := stream.recv_into(piece):
        count += got
    if count < size:
        raise SystemExit(f"{path}: {count} of {size} bytes came")
    return time.perf_counter() - start


def switch(address, path, size):
    return get(address, path, size, "x")


def post(address, path, size):
    stream, piece = reach(address), memoryview(bytearray(PIECE))
    start = time.perf_counter()
    stream.sendall(f"POST {path} HTTP/1.1\r\nHost: b\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode())
    for _ in range(size // PIECE):
        stream.sendall(piece)
    answer = stream.recv(PIECE)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"{path} answered {answer!r}")
    return time.perf_counter() - start


def small(address, path, count):
    times = []
    for _ in range(count):
        answer, start = b"", time.perf_counter()
        with reach(address) as stream:
            ask(stream, path, "")
            while piece := stream.recv(PIECE):
                answer += piece
        times.append(time.perf_counter() - start)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{path} answered {answer!r}")
    return statistics.median(times)


def main(what, address, path, number):
    print({"get": get, "switch": switch, "post": post, "small": small}[what](address, path, int(number)))


if __name__ == "__main__":
    main(*sys.argv[1:])
