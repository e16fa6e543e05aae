"""What a network costs a sandbox: when it is made, when it is removed, and on the way of its bytes, beside plain veth and NAT.

All of it happens in network namespaces of the bench's own: a host, with the daemons, and a world outside of it. As a program
(`bench_network.py send|take ADDRESS PORT BYTES`) it is one end of a transfer, and prints bytes and seconds.
"""

import os
import socket
import statistics
import subprocess
import sys
import time

import bench_lifecycle
import scratch
from report import create, expect, micros, percentiles, table, timed, verdict, wait_gone

PIECE = 1 << 20
WORLD = "93.184.216.34"
PLAIN = "10.99.0.2"
NAT = "add table ip plain; add chain ip plain out { type nat hook postrouting priority 100; }; " \
      "add rule ip plain out ip saddr 10.99.0.0/24 oifname up0 masquerade"


def run(programs, part):
    with World() as world:
        bare = scratch.Daemon(programs, '[network]\nmode = "none"\n', world.host.inside).start()
        try:
            wired = scratch.Daemon(programs, '[network]\nmode = "bridge"\n', world.host.inside).start()
            try:
                creates(bare, wired, 1000 // part)
                at_once(wired, 100)
                throughput(world, wired, (4096 // part) << 20, 5)
                many(wired, 500 // part, 50 // (part // 5 or 1))
            finally:
                wired.close()
        finally:
            bare.close()


class Place:
    """A network namespace that is gone with the process that holds it."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.net = f"/proc/{self.holder.pid}/ns/net"
        self.inside = ["nsenter", f"--net={self.net}"]
        self.do("ip link set lo up")

    def do(self, *commands):
        for command in commands:
            subprocess.run(self.inside + command.split(), check=True)

    def close(self):
        self.holder.kill()
        self.holder.wait()


class World:
    """A host that leads outside, and, beside the daemons, a namespace with a plain pair and NAT."""

    def __enter__(self):
        self.places = [Place() for _ in range(3)]
        self.host, self.outside, self.plain = self.places
        self.host.do(f"ip link add up0 type veth peer name line0 netns {self.outside.holder.pid}",
                     "ip addr add 203.0.113.10/24 dev up0", "ip link set up0 up",
                     f"ip link add plain0 type veth peer name eth0 netns {self.plain.holder.pid}",
                     "ip addr add 10.99.0.1/24 dev plain0", "ip link set plain0 up")
        self.outside.do("ip addr add 203.0.113.1/24 dev line0", "ip link set line0 up", f"ip addr add {WORLD}/32 dev lo")
        self.plain.do(f"ip addr add {PLAIN}/24 dev eth0", "ip link set eth0 up", "ip route add default via 10.99.0.1")
        self.host.do("ip route add default via 203.0.113.1", "sysctl -q -w net.ipv4.ip_forward=1")
        subprocess.run(self.host.inside + ["nft", NAT], check=True)
        return self

    def __exit__(self, *_):
        for place in self.places:
            place.close()


def one_life(daemon, client, made, gone):
    took, name = timed(lambda: create(client))
    made.append(took)
    paths = bench_lifecycle.what_it_is(daemon, name)
    start = time.perf_counter()
    expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
    wait_gone(paths)
    gone.append(time.perf_counter() - start)


def creates(bare, wired, runs):
    """In turn, so that whatever else the machine does happens to both."""
    kinds = {"none": (bare, bare.client()), "bridge": (wired, wired.client())}
    made, gone = {name: [] for name in kinds}, {name: [] for name in kinds}
    for name, (daemon, client) in kinds.items():
        for _ in range(5):
            one_life(daemon, client, [], [])
    for _ in range(runs):
        for name, (daemon, client) in kinds.items():
            one_life(daemon, client, made[name], gone[name])
    more = percentiles(made["bridge"])[0] - percentiles(made["none"])[0]
    rows = [["create, none", *map(micros, percentiles(made["none"])), ""],
            ["create, bridge", *map(micros, percentiles(made["bridge"])), ""],
            ["bridge more than none (medians)", micros(more), "", "", verdict("create with a network", more <= 0.0005, "500")],
            ["delete until gone, none", *map(micros, percentiles(gone["none"])), ""]]
    after = percentiles(gone["bridge"])
    rows.append(["delete until gone, bridge", *map(micros, after), verdict("delete with a network", after[0] < 0.010, "10 ms")])
    table(f"One sandbox with a network after another, {runs} lives, microseconds", rows, ["step", "p50", "p90", "p99", "target"])


def at_once(daemon, count):
    wall, running, times = bench_lifecycle.at_once(daemon, count)
    table(f"{count} creates with a network at once, milliseconds", [
        [f"{count}", verdict("networks at once", running == count, f"{running}"), f"{wall * 1e3:,.0f}",
         *(f"{value * 1e3:,.0f}" for value in percentiles(times))]], ["asked", "Running", "wall", "p50", "p90", "p99"])


def throughput(world, daemon, size, runs):
    client = daemon.client()
    name = create(client)
    sandbox = ["nsenter", f"--net=/proc/{daemon.processes(name, 'init')[0]}/ns/net"]
    rows = []
    for what, verb in (("to the world", "send"), ("from the world", "take")):
        plain, ours = [], []
        for _ in range(runs):
            plain.append(transfer(world, world.plain.inside, verb, size))
            ours.append(transfer(world, sandbox, verb, size))
        one, other = statistics.median(plain), statistics.median(ours)
        rows.append([what, f"{one:,.0f}", f"{other:,.0f}", verdict(f"throughput {what}", other >= 0.9 * one, f"{other / one:.0%}")])
    expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
    table(f"{size >> 20} MiB over one connection, MB/s, medians of {runs} (target: at least 90 % of plain)", rows,
          ["which way", "veth and NAT", "sandbox", "of plain"])


def transfer(world, within, verb, size):
    """The one who takes measures: what is sent may still be on its way."""
    other = {"send": "take", "take": "send"}[verb]
    program = [sys.executable, "-B", os.path.abspath(__file__)]
    there = subprocess.Popen(world.outside.inside + program + [other, "", "0", str(size)], stdout=subprocess.PIPE, text=True)
    port = there.stdout.readline().strip()
    here = subprocess.check_output(within + program + [verb, WORLD, port, str(size)], text=True)
    rest, _ = there.communicate(timeout=60)
    count, seconds = (here if verb == "take" else rest).split()
    if int(count) != size:
        raise SystemExit(f"{verb}: {count} of {size} bytes came")
    return int(count) / float(seconds) / 1e6


def many(daemon, count, each):
    """Those that are there stay; every create pays for what is prepared for the next one."""
    client = daemon.client()
    names = [create(client)]
    def rate():
        took, made = timed(lambda: [create(client) for _ in range(each)])
        names.extend(made)
        return took / each
    first = rate()
    while len(names) < count:
        names.append(create(client))
    last = rate()
    for name in names:
        expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
    table(f"{each} creates in a row, microseconds for each", [
        ["from the 2nd on", micros(first), ""],
        [f"from the {count + 1}th on", micros(last), verdict("the 501st network", last <= 1.25 * first, f"{last / first:.0%} of it")]],
        ["which", "each", "target"])


def main(verb, address, port, size):
    if address:
        stream = socket.create_connection((address, int(port)))
    else:
        listener = socket.create_server(("0.0.0.0", 0))
        print(listener.getsockname()[1], flush=True)
        stream, _ = listener.accept()
    piece, count, size = memoryview(bytearray(PIECE)), 0, int(size)
    start = time.perf_counter()
    while verb == "send" and count < size:
        count += stream.send(piece[:size - count])
    if verb == "send":
        stream.shutdown(socket.SHUT_WR)
    while verb == "take" and (got := stream.recv_into(piece)):
        count += got
    print(count, time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
