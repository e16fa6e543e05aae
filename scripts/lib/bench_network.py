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
# A policy with much to look up; what is measured goes through its last rule.
POLICY = {"networkPolicy": {"defaultAction": "deny", "egress": [
    *({"action": "deny", "target": f"23.{part}.0.0/16"} for part in range(50)),
    *({"action": "allow", "target": f"{part}.example"} for part in range(50)), {"action": "allow", "target": WORLD}]}}


def run(programs, part):
    with World() as world:
        bare = scratch.Daemon(programs, '[network]\nmode = "none"\n', world.host.inside).start()
        try:
            wired = scratch.Daemon(programs, '[network]\nmode = "bridge"\n', world.host.inside).start()
            try:
                creates(bare, wired, 1000 // part)
                in_a_row(bare, wired, 1000 // part, 4)
                at_once(wired, 100)
                throughput(world, wired, (4096 // part) << 20, 5)
                many(bare, wired, 500 // part, 3 * scratch.PREPARED)
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
    """In turn, so that whatever else the machine does happens to both, and with time for others to be prepared."""
    kinds = {"none": (bare, bare.client()), "bridge": (wired, wired.client())}
    made, gone = {name: [] for name in kinds}, {name: [] for name in kinds}
    for name, (daemon, client) in kinds.items():
        for _ in range(5):
            one_life(daemon, client, [], [])
    for _ in range(runs):
        for name, (daemon, client) in kinds.items():
            one_life(daemon, client, made[name], gone[name])
    after = percentiles(gone["bridge"])
    table(f"One sandbox with a network after another, {runs} lives, microseconds", [
        *compared(made, "create with a network"),
        ["delete until gone, none", *map(micros, percentiles(gone["none"])), ""],
        ["delete until gone, bridge", *map(micros, after), verdict("delete with a network", after[0] < 0.010, "10 ms")]],
        ["step", "p50", "p90", "p99", "target"])


def in_a_row(bare, wired, runs, turns):
    """Create upon create, each deleted and not waited for: whatever has to be prepared for the next one is on the way of it."""
    kinds, made = {"none": bare, "bridge": wired}, {"none": [], "bridge": []}
    for _ in range(turns):
        for name, daemon in kinds.items():
            client = daemon.client()
            scratch.full_pool(daemon, 0)
            for _ in range(runs // turns):
                took, sandbox = timed(lambda: create(client))
                made[name].append(took)
                expect(client, "DELETE", f"/v1/sandboxes/{sandbox}", 204)
            client.close()
    table(f"{runs // turns * turns} creates in a row, in {turns} turns, microseconds",
          compared(made, "creates with a network in a row"), ["step", "p50", "p90", "p99", "target"])


def compared(made, name):
    more = percentiles(made["bridge"])[0] - percentiles(made["none"])[0]
    return [["create, none", *map(micros, percentiles(made["none"])), ""],
            ["create, bridge", *map(micros, percentiles(made["bridge"])), ""],
            ["bridge more than none (medians)", micros(more), "", "", verdict(name, more <= 0.0005, "500")]]


def at_once(daemon, count):
    wall, running, times = bench_lifecycle.at_once(daemon, count)
    table(f"{count} creates with a network at once, milliseconds", [
        [f"{count}", verdict("networks at once", running == count, f"{running}"), f"{wall * 1e3:,.0f}",
         *(f"{value * 1e3:,.0f}" for value in percentiles(times))]], ["asked", "Running", "wall", "p50", "p90", "p99"])


def throughput(world, daemon, size, runs):
    client = daemon.client()
    names = [create(client), create(client, more=POLICY)]
    within = [world.plain.inside, *(["nsenter", f"--net=/proc/{daemon.processes(name, 'init')[0]}/ns/net"] for name in names)]
    rows = []
    for what, verb in (("to the world", "send"), ("from the world", "take")):
        rates = [[] for _ in within]
        for _ in range(runs):
            for place, taken in zip(within, rates):
                taken.append(transfer(world, place, verb, size))
        plain, ours, policed = map(statistics.median, rates)
        rows.append([what, *(f"{rate:,.0f}" for rate in (plain, ours, policed)),
                     verdict(f"throughput {what}", ours >= 0.9 * plain, f"{ours / plain:.0%}"),
                     verdict(f"policy lookups {what}", policed >= 0.95 * ours, f"{1 - policed / ours:.1%}")])
    for name in names:
        expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
    table(f"{size >> 20} MiB over one connection, MB/s, medians of {runs} (target: 90 % of plain, 5 % for a policy)", rows,
          ["which way", "veth and NAT", "sandbox", "with a policy", "of plain", "policy costs"])


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


def many(bare, wired, count, each):
    """The second create beside the one after `count`, and how much of what it costs more is the network's."""
    rows, grown = [], {}
    for kind, daemon in (("none", bare), ("bridge", wired)):
        client, names, found = daemon.client(), [], []
        for there in (1, count):
            names.extend(create(client) for _ in range(there - len(names)))
            found.append(beside(daemon, client, there, each))
            prepared, in_a_row = found[-1]
            rows += [[f"{kind}, beside {there}, all prepared", *map(micros, prepared), ""],
                     [f"{kind}, beside {there}, mean of {each} in a row", micros(in_a_row), "", "", ""]]
        for name in names:
            expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
        (few, few_in_a_row), (all_there, all_in_a_row) = found
        grown[kind] = all_there[0] / few[0], all_in_a_row / few_in_a_row
    for at, what in enumerate(("all prepared", "in a row")):
        bridge, none = grown["bridge"][at], grown["none"][at]
        rows.append([f"beside {count}, {what}: of what it is beside 1", f"{bridge:.0%}", f"none {none:.0%}", "",
                     verdict(f"a network beside {count}, {what}", bridge <= 1.25 * none, "125% of none's")])
    table("One more sandbox with a network, microseconds", rows, ["which", "p50", "p90", "p99", "target"])


def beside(daemon, client, there, each):
    """What a create costs beside those that are there: `each` of them while enough are prepared, and as many in a row, of which
    every one pays for what is prepared for the next."""
    def made(number):
        took = [timed(lambda: create(client)) for _ in range(number)]
        for _, name in took:
            expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
        wait_gone([path for _, name in took for path in daemon.cgroups_of(name)])
        scratch.full_pool(daemon, there)
        return [time for time, _ in took]
    scratch.full_pool(daemon, there)
    pieces = [made(scratch.PREPARED // 2) for _ in range(2 * each // scratch.PREPARED)]
    return percentiles(sum(pieces, [])), statistics.mean(made(each))


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
