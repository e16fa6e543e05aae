"""The life of sandboxes: one after another, many at once, idle ones, a thousand cycles, beside the kernel and peers."""

import json
import os
import selectors
import shutil
import statistics
import subprocess
import tempfile
import time

import scratch
from report import (
    REQUEST, create, expect, micros, percentiles, same_host, table, threads, timed, verdict, wait_gone)


def run(programs, part):
    floor = run_floor(programs, 200 // part)
    daemon = scratch.Daemon(programs).start()
    try:
        lives(daemon, 200 // part, floor)
        bursts(daemon, 50, 5)
        churn(daemon, 1000 // part)
        idle(daemon, 500 // part)
    finally:
        daemon.close()
    peers(programs, 20 // (part // 5 or 1))


def what_it_is(daemon, name):
    pids = daemon.processes(name, "init") + daemon.processes(name, "workload")
    return daemon.cgroups_of(name) + [f"/proc/{pid}" for pid in pids] + [os.path.join(daemon.dir, "state/sandboxes", name)]


def one_life(daemon, client, times):
    took, name = timed(lambda: create(client))
    times["create to Running"].append(took)
    for verb in ("pause", "resume"):
        took, _ = timed(lambda: expect(client, "POST", f"/v1/sandboxes/{name}/{verb}", 202))
        times[verb].append(took)
    paths = what_it_is(daemon, name)
    start = time.perf_counter()
    expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
    times["delete, answered"].append(time.perf_counter() - start)
    wait_gone(paths)
    times["delete until gone"].append(time.perf_counter() - start)


def lives(daemon, runs, floor):
    client = daemon.client()
    overhead = percentiles([timed(lambda: client.ask("GET", "/health"))[0] for _ in range(runs)])
    times = {name: [] for name in ("create to Running", "pause", "resume", "delete, answered", "delete until gone")}
    for _ in range(5):
        one_life(daemon, client, {name: [] for name in times})
    for _ in range(runs):
        one_life(daemon, client, times)
    rows = [["GET /health (client and HTTP alone)", *map(micros, overhead), ""]]
    for name, values in times.items():
        p50 = percentiles(values)[0]
        goal = {"create to Running": (floor and 3 * floor, "3 x floor"), "pause": (0.001, "1 ms"), "resume": (0.001, "1 ms"),
                "delete until gone": (0.010, "10 ms")}.get(name, (None, ""))
        rows.append([name, *map(micros, percentiles(values)), verdict(name, p50 <= goal[0], goal[1]) if goal[0] else ""])
    if floor:
        ratio = percentiles(times["create to Running"])[0] / floor
        rows.append(["create / floor (medians)", f"{ratio:.2f}", "", "", ""])
    table(f"One sandbox after another, {runs} lives, microseconds", rows, ["step", "p50", "p90", "p99", "target"])


def run_floor(programs, runs):
    base = tempfile.mkdtemp(prefix="bivouac-floor-base-")
    try:
        os.chmod(base, 0o755)
        subprocess.run(["tar", "-C", base, "-xf", os.path.join(programs, "bivouac-base.tar")], check=True)
        output = subprocess.check_output(
            [os.path.join(programs, "examples/floor"), "--base", base, "--runs", str(runs), "--json"])
    finally:
        shutil.rmtree(base)
    found = json.loads(output)
    row = ["floor: clone3, all namespaces, cgroup, overlay, mounts, exec"]
    table(f"Bare kernel, {runs} runs, microseconds", [row + [f"{found[key]:,.0f}" for key in ("p50_us", "p90_us", "p99_us")]],
          ["what", "p50", "p90", "p99"])
    return found["p50_us"] / 1e6


def at_once(daemon, count):
    clients = [daemon.client() for _ in range(count)]
    for client in clients:
        client.connect()
    waiting = selectors.DefaultSelector()
    start = time.perf_counter()
    for client in clients:
        client.send("POST", "/v1/sandboxes", REQUEST)
        waiting.register(client.stream, selectors.EVENT_READ, client)
    answers, times = [], []
    while len(answers) < count:
        for key, _ in waiting.select(60):
            waiting.unregister(key.fileobj)
            answers.append(key.data.receive())
            times.append(time.perf_counter() - start)
    wall = max(times)
    bodies = [json.loads(body) for _, body in answers]
    running = sum(body.get("status", {}).get("state") == "Running" for body in bodies)
    for body in bodies:
        expect(clients[0], "DELETE", f"/v1/sandboxes/{body['id']}", 204)
    for client in clients:
        client.close()
    wait_gone([path for body in bodies for path in daemon.cgroups_of(body["id"])])
    return wall, running, times


def bursts(daemon, count, rounds):
    results = []
    for _ in range(rounds):
        # From rest: what the kernel still has to take apart of the round before is not a part of this one.
        scratch.settled(daemon)
        results.append(at_once(daemon, count))
    rows = []
    for wall, running, times in results:
        rate = count / wall
        rows.append([f"{count}", f"{running}", f"{wall * 1e3:,.0f}", verdict("burst", running == count and rate > 150, f"{rate:,.0f}"),
                     *(f"{value * 1e3:,.0f}" for value in percentiles(times))])
    table(f"{count} creates at once, milliseconds (target: all Running, more than 150 a second)", rows,
          ["asked", "Running", "wall", "a second", "p50", "p90", "p99"])


def idle(daemon, count):
    client, launcher = daemon.client(), daemon.launchers()[0]
    # Buffers and threads that the first sandboxes cause are not the price of each.
    for name in [create(client) for _ in range(5)]:
        expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
    before = {pid: scratch.memory(pid, "Pss") for pid in (daemon.child.pid, launcher)}
    names = [create(client) for _ in range(count)]
    growth = {pid: (scratch.memory(pid, "Pss") - value) / count for pid, value in before.items()}
    first = statistics.mean(scratch.memory(pid, "Pss") for name in names for pid in daemon.processes(name, "init"))
    entry = statistics.mean(scratch.memory(pid, "Pss") for name in names for pid in daemon.processes(name, "workload"))
    total = first + entry + growth[daemon.child.pid]
    table(f"{count} idle sandboxes, KiB of PSS for each", [
        ["PID 1", f"{first:,.0f}", ""], ["entrypoint (busybox sleep)", f"{entry:,.0f}", ""],
        ["growth of the daemon", f"{growth[daemon.child.pid]:,.1f}", ""],
        ["sum", f"{total:,.0f}", verdict("memory", total < 2048, "2,048")],
        ["growth of the launcher", f"{growth[launcher]:,.1f}", ""]], ["what", "KiB", "target"])
    rows = []
    for size in (20, 200):
        times = [timed(lambda: expect(client, "GET", f"/v1/sandboxes?pageSize={size}", 200))[0] for _ in range(200)]
        p50, p90, p99 = percentiles(times)
        rows.append([f"page of {size}", micros(p50), micros(p90), micros(p99), verdict("list", p99 < 0.005, "5 ms")])
    table(f"The list with {count} sandboxes, microseconds", rows, ["what", "p50", "p90", "p99", "target"])
    paths = [path for name in names for path in daemon.cgroups_of(name)]
    for name in names:
        expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
    wait_gone(paths)


def churn(daemon, cycles):
    client = daemon.client()
    def cycle():
        name = create(client)
        expect(client, "POST", f"/v1/sandboxes/{name}/pause", 202)
        expect(client, "POST", f"/v1/sandboxes/{name}/resume", 202)
        expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
    for _ in range(cycles // 5):
        cycle()
    before, memory, tasks = scratch.settled(daemon), scratch.memory(daemon.child.pid, "Rss"), threads(daemon.child.pid)
    took, _ = timed(lambda: [cycle() for _ in range(cycles)])
    clean = same_host(daemon, before)
    after = scratch.memory(daemon.child.pid, "Rss")
    table(f"{cycles:,} times create, pause, resume, delete", [
        ["cycles a second", f"{cycles / took:,.0f}", ""],
        ["daemon, RSS before (KiB)", f"{memory:,}", ""],
        ["daemon, RSS after (KiB)", f"{after:,}", verdict("flat memory", after - memory < 2048, "+ 2,048")],
        ["daemon, threads before and after", f"{tasks}, {threads(daemon.child.pid)}", ""],
        ["left over on the host", "nothing" if clean else "see above", verdict("churn leaks", clean, "nothing")]],
        ["what", "value", "target"])


def peers(programs, runs):
    rows = []
    if shutil.which("runc"):
        rows.append(["runc create + runc start", *map(micros, percentiles(runc(programs, runs)))])
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
        rows.append(["docker run -d", *map(micros, percentiles(docker(programs, runs)))])
    if rows:
        table(f"Peers with the same root, {runs} runs, microseconds", rows, ["what", "p50", "p90", "p99"])
    else:
        print("\nNo peer is installed (runc, or docker with a daemon that answers).")


def runc(programs, runs):
    bundle, times = tempfile.mkdtemp(prefix="bivouac-runc-"), []
    try:
        os.mkdir(os.path.join(bundle, "rootfs"))
        subprocess.run(["tar", "-C", os.path.join(bundle, "rootfs"), "-xf", os.path.join(programs, "bivouac-base.tar")], check=True)
        subprocess.run(["runc", "spec"], cwd=bundle, check=True)
        with open(os.path.join(bundle, "config.json")) as file:
            config = json.load(file)
        config["process"].update(args=["/bin/sleep", "1000000"], terminal=False)
        with open(os.path.join(bundle, "config.json"), "w") as file:
            json.dump(config, file)
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        for run in range(runs):
            name = f"bivouac-bench-{os.getpid()}-{run}"
            start = time.perf_counter()
            subprocess.run(["runc", "create", "--bundle", bundle, name], **quiet)
            subprocess.run(["runc", "start", name], **quiet)
            times.append(time.perf_counter() - start)
            subprocess.run(["runc", "delete", "--force", name], **quiet)
    finally:
        shutil.rmtree(bundle)
    return times


def docker(programs, runs):
    image, times = "bivouac-bench-base", []
    subprocess.run(["docker", "import", os.path.join(programs, "bivouac-base.tar"), image], stdout=subprocess.DEVNULL, check=True)
    try:
        for _ in range(runs):
            took, name = timed(lambda: subprocess.check_output(["docker", "run", "-d", image, "sleep", "1000000"], text=True))
            times.append(took)
            subprocess.run(["docker", "rm", "-f", name.strip()], stdout=subprocess.DEVNULL, check=True)
    finally:
        subprocess.run(["docker", "rmi", "-f", image], stdout=subprocess.DEVNULL)
    return times
