"""Files in and out of a sandbox, and a reader that is slow: throughput, and what the daemon holds meanwhile."""

import json
import socket
import statistics
import threading
import time

import scratch
from report import create, expect, percentiles, table, timed, verdict

BOUNDARY = b"between-the-parts"
PIECE = bytes(1 << 20)


def run(programs, part):
    daemon = scratch.Daemon(programs).start()
    try:
        client = daemon.client()
        name = create(client)
        transfers(daemon, name, (1 << 30) // part, 3)
        slow_reader(daemon, name, max(30 // part, 3))
        expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
    finally:
        daemon.close()


def transfers(daemon, name, size, runs):
    before = peak(daemon)
    up = [size / timed(lambda: upload(daemon, name, size))[0] / 1e6 for _ in range(runs)]
    down = [size / timed(lambda: download(daemon, name, size))[0] / 1e6 for _ in range(runs)]
    grown = peak(daemon) - before
    up, down = statistics.median(up), statistics.median(down)
    table(f"A file of {size >> 20} MiB, median of {runs}", [
        ["upload, MB/s", f"{up:,.0f}", verdict("upload", up > 400, "400")],
        ["download, MB/s", f"{down:,.0f}", verdict("download", down > 400, "400")],
        ["growth of the daemon's peak memory, KiB", f"{grown:,}", verdict("memory of transfers", grown < 16384, "16,384")]],
        ["what", "value", "target"])


def upload(daemon, name, size):
    metadata = json.dumps({"path": "/tmp/large", "mode": 644}).encode()
    part = b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n'
    head = part % (BOUNDARY, b"metadata", b"metadata") + metadata + b"\r\n" + part % (BOUNDARY, b"file", b"large")
    tail = b"\r\n--%s--\r\n" % BOUNDARY
    with connected(daemon) as stream:
        stream.sendall(b"POST /v1/sandboxes/%s/proxy/44772/files/upload HTTP/1.1\r\nHost: b\r\nConnection: close\r\n"
                       b"Content-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n"
                       % (name.encode(), BOUNDARY, len(head) + size + len(tail)) + head)
        for _ in range(size // len(PIECE)):
            stream.sendall(PIECE)
        stream.sendall(tail)
        answer = stream.recv(1 << 16)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"the upload answered {answer.decode()}")


def download(daemon, name, size):
    room, got = bytearray(1 << 20), 0
    with connected(daemon) as stream:
        stream.sendall(b"GET /v1/sandboxes/%s/proxy/44772/files/download?path=/tmp/large HTTP/1.1\r\nHost: b\r\n"
                       b"Connection: close\r\n\r\n" % name.encode())
        while count := stream.recv_into(room):
            got += count
    if got < size:
        raise SystemExit(f"the download ended after {got} of {size} bytes")


def connected(daemon):
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(daemon.socket)
    return stream


def slow_reader(daemon, name, seconds):
    """Somebody reads a little of an endless output; others are asked beside it and must not notice."""
    def quick():
        return percentiles([timed(lambda: daemon.client().ask("GET", f"/v1/sandboxes/{name}"))[0] for _ in range(300)])[1]
    rest, before = quick(), scratch.memory(daemon.child.pid, "Pss")
    body = json.dumps({"command": "yes", "timeout": seconds * 1000 + 5000}).encode()
    done = threading.Event()

    def read_slowly():
        with connected(daemon) as stream:
            stream.sendall(b"POST /v1/sandboxes/%s/proxy/44772/command HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (name.encode(), len(body), body))
            while not done.wait(0.1):
                stream.recv(4096)
    reader = threading.Thread(target=read_slowly)
    reader.start()
    beside, most, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end:
        beside.append(quick())
        most = max(most, scratch.memory(daemon.child.pid, "Pss") - before)
    done.set()
    reader.join()
    ratio = statistics.median(beside) / rest
    table(f"`yes` for {seconds} s to a slow reader", [
        ["growth of the daemon, KiB", f"{most:,}", verdict("memory of a slow reader", most < 8192, "8,192")],
        ["GET of a sandbox beside it, p90, of what it is at rest", f"{ratio:.2f}", verdict("others beside it", ratio < 3, "3")]],
        ["what", "value", "target"])


def peak(daemon):
    for line in open(f"/proc/{daemon.child.pid}/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0
