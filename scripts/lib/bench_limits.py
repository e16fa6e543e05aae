"""Limits: how exactly they hold, what they cost, and how the host is under twenty hostile sandboxes, of our own making and
with Debian's stress-ng and fio."""

import json
import os
import shutil
import statistics
import subprocess
import time

import scratch
from bench_exec import Commands, code_of
from report import IMAGE, expect, micros, percentiles, same_host, table, timed, verdict

HOGS = {
    "fork bomb": "bomb() { bomb & bomb & sleep 1; }; (while :; do (bomb); done) 2>/dev/null & exec sleep 1000000",
    "memory": "while :; do dd if=/dev/zero of=/dev/null bs=256M count=1 2>/dev/null; done",
    "log flood": "yes",
    "disk": "while :; do dd if=/dev/zero of=/full bs=1M 2>/dev/null; rm /full; done",
    "inodes": "while :; do i=0; while true > /many.$i; do i=$((i+1)); done 2>/dev/null; rm /many.*; done",
    "/dev/shm": "while :; do dd if=/dev/zero of=/dev/shm/full bs=1M 2>/dev/null; rm /dev/shm/full; done",
    "descriptors": "while :; do for n in 3 4 5 6 7 8 9; do eval \"exec $n</dev/null\"; done; (exec 3</dev/zero); done",
    "terminals": "while :; do i=0; while [ $i -lt 300 ]; do sleep 1 < /dev/ptmx & i=$((i+1)); done; wait; done 2>/dev/null",
}
# Debian's tools for it; what they find denied they go on without.
STRESS = {
    "stress-ng, memory": "stress-ng --vm 2 --vm-bytes 64M --shm 1 --mmap 1 --brk 1 --stack 1",
    "stress-ng, processes": "stress-ng --fork 2 --clone 1 --exec 1 --zombie 1 --dynlib 1",
    "stress-ng, kernel": "stress-ng --inotify 2 --epoll 1 --pipe 1 --sock 1 --timer 1 --eventfd 1 --pty 1 --open 1",
    "stress-ng, disk": "stress-ng --hdd 1 --hdd-bytes 8M --dentry 1 --rename 1 --link 1 --sync-file 1",
    "fio": "fio --name=hog --directory=/tmp --rw=randrw --bs=4k --size=8M --fsync=16 --time_based --runtime=1000000 --numjobs=2",
}
STRESS_IMAGE = "bench/stress:latest"
HOG_LIMITS = {"cpu": "40m", "memory": "48Mi", "pids": "100", "disk": "16Mi", "inodes": "500"}
SLEEP = ["sleep", "1000000"]
SLEEPER = json.dumps({"argv": SLEEP, "background": True}).encode()


def run(programs, part):
    daemon = scratch.Daemon(programs).start()
    try:
        client = daemon.client()
        memory(client, 100 // part)
        cpu(daemon, client, 10 / part)
        exact(daemon, client)
        cost(daemon, client, 200 // part)
        hostile(daemon, client, 10 / part, HOGS, IMAGE)
        if stress_image(programs, daemon):
            hostile(daemon, client, 10 / part, STRESS, STRESS_IMAGE)
    finally:
        daemon.close()


def stress_image(programs, daemon):
    """Makes it once, of the packages of this host's release, and imports it."""
    if not shutil.which("mmdebstrap"):
        print("\nstress-ng and fio: not measured, there is no mmdebstrap (scripts/test installs it)")
        return False
    archive = os.path.join(programs, "bench-stress.tar")
    if not os.path.exists(archive):
        release = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release") if "=" in line)["VERSION_CODENAME"]
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=stress-ng,fio",
                        "--dpkgopt=path-exclude=/usr/share/doc/*", release, archive + ".part.tar"], check=True)
        os.rename(archive + ".part.tar", archive)
    subprocess.run([os.path.join(programs, "bivouac"), "image", "import", archive, "--name", STRESS_IMAGE,
                    "--host", "unix:" + daemon.socket], check=True, stdout=subprocess.DEVNULL)
    return True


def make(client, limits, argv, image=IMAGE):
    body = json.dumps({"image": {"uri": image}, "entrypoint": argv, "resourceLimits": limits}).encode()
    status, answer = client.ask("POST", "/v1/sandboxes", body)
    if status != 202:
        raise SystemExit(f"create answered {status}: {answer.decode()}")
    return json.loads(answer)["id"]


def delete(client, name):
    expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)


def get(client, path):
    status, answer = client.ask("GET", path)
    if status != 200:
        raise SystemExit(f"GET {path} answered {status}: {answer.decode()}")
    return json.loads(answer)


def stats(client, name):
    return get(client, f"/v1/sandboxes/{name}/stats")


def memory(client, runs):
    """An entrypoint that wants twice its limit, and a command that does: each must be told, and the kernel's count be right."""
    hog, limit, told = ["dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1"], 64 << 20, 0
    for _ in range(runs):
        name = make(client, {"memory": "64Mi"}, hog)
        told += get(client, f"/v1/sandboxes/{name}/wait?timeout=30")["status"]["reason"] == "oom_killed"
        delete(client, name)
    name = make(client, {"memory": "64Mi"}, SLEEP)
    commands = Commands(client.path)
    heard = sum(b"want of memory" in commands.run(name, json.dumps({"argv": hog}).encode()) for _ in range(runs))
    found = stats(client, name)["memory"]
    commands.close()
    delete(client, name)
    over = found["peakBytes"] / limit
    table(f"Out of memory, {runs} entrypoints and {runs} commands that want twice their 64Mi", [
        ["entrypoints that failed with oom_killed", told, verdict("oom_killed", told == runs, str(runs))],
        ["commands that said so", heard, verdict("commands out of memory", heard == runs, str(runs))],
        ["kills that were counted for them", found["oomKills"], verdict("counted kills", found["oomKills"] == runs, str(runs))],
        ["most memory that was used, of the limit", f"{over:.3f}", verdict("memory", 0.95 <= over <= 1.05, "1.05")]],
        ["what", "value", "target"])


def cpu(daemon, client, seconds):
    """The quota is below a fair share, so that neighbours may not take of it."""
    busy = ["sh", "-c", "while :; do :; done"]
    neighbours = [make(client, {"cpu": "1"}, busy) for _ in range(4)]
    name = make(client, {"cpu": "300m"}, busy)
    used = lambda: next(int(line.split()[1]) for line in open(os.path.join(
        daemon.unified(), daemon.cgroup, name, "workload/cpu.stat")) if line.startswith("usage_usec"))
    time.sleep(0.5)
    start, before = time.monotonic(), used()
    time.sleep(seconds)
    share = (used() - before) / 1e6 / (time.monotonic() - start)
    for one in neighbours + [name]:
        delete(client, one)
    table(f"A quota of 300m beside 4 busy neighbours on {os.cpu_count()} CPUs, over {seconds:g} s", [
        ["CPUs used", f"{share:.4f}", verdict("cpu quota", abs(share / 0.3 - 1) <= 0.05, "0.3 +- 5 %")]],
        ["what", "value", "target"])


def exact(daemon, client):
    name = make(client, {"pids": "50"}, SLEEP)
    for _ in range(100):
        client.ask("POST", f"/v1/sandboxes/{name}/proxy/44772/command", SLEEPER)
        # Answers in chunks, and refusals: another connection for each.
        client.close()
    pids, seen = stats(client, name)["pids"]["current"], len(daemon.processes(name, "workload"))
    delete(client, name)
    commands = Commands(client.path)
    command = lambda text: commands.run(name, json.dumps({"command": text}).encode())
    size = lambda text: int([line for line in command(text).split(b'"text":"') if line[:1].isdigit()][-1].split(b'"')[0])
    name = make(client, {"disk": "64Mi", "inodes": "1000"}, SLEEP)
    command("dd if=/dev/zero of=/full bs=64k 2>/dev/null; true")
    disk = size("wc -c < /full") / (64 << 20)
    command("rm /full")
    files = size("i=0; while true > /many.$i; do i=$((i+1)); done 2>/dev/null; echo $i")
    commands.close()
    delete(client, name)
    table("What is given exactly", [
        ["processes, of 50", f"{pids}, {seen} seen", verdict("pids", pids == seen == 50, "50")],
        ["disk, of 64Mi", f"{disk:.3f}", verdict("disk", abs(disk - 1) <= 0.05, "+- 5 %")],
        ["files, of 1000", files, verdict("inodes", abs(files / 1000 - 1) <= 0.05, "+- 5 %")]],
        ["what", "value", "target"])


def cost(daemon, client, runs):
    """The writes and reads of the usual limits on a cgroup of our own; and a create with a bounded disk beside one without."""
    times = [limits_once(daemon) for _ in range(runs)]
    rows = [["three limits, written and read back", *map(micros, percentiles(times)),
             verdict("limits", percentiles(times)[0] < 0.0003, "300")]]
    kinds = {"create": {}, "create with a disk of 1Gi": {"disk": "1Gi"}}
    taken = {what: [] for what in kinds}
    for at in range(runs + 2):
        for what, limits in kinds.items():
            took, name = timed(lambda: make(client, limits, SLEEP))
            # The first of a size makes the file system that the others copy, and from then on some are kept ready.
            taken[what] += [took] if at >= 2 else []
            delete(client, name)
            time.sleep(0.02)
    plain, bounded = (percentiles(times) for times in taken.values())
    for (what, times), target in zip(taken.items(), ["", verdict("create with a disk", bounded[0] <= 1.5 * plain[0], "1.5 x create")]):
        rows.append([what, *map(micros, percentiles(times)), target])
    table(f"What limits cost, {runs} runs, microseconds", rows, ["what", "p50", "p90", "p99", "target"])


def limits_once(daemon):
    """As the daemon does it, on whatever hierarchies there are."""
    pairs = [("pids.max", "4096"), ("memory.max", str(2 << 30)), ("memory.swap.max", "0"), ("cpu.max", "100000 100000"),
             ("memory.limit_in_bytes", str(2 << 30)), ("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "100000")]
    dirs = []
    for _, mount in scratch.cgroup_mounts():
        path = os.path.join(mount, daemon.cgroup, "cost")
        if os.path.isdir(os.path.dirname(path)):
            os.mkdir(path)
            dirs.append(path)
    there = [(os.path.join(path, name), value.encode()) for path in dirs for name, value in pairs if os.path.exists(os.path.join(path, name))]
    start = time.perf_counter()
    for path, value in there:
        for flags, use in ((os.O_WRONLY, lambda file: os.write(file, value)), (os.O_RDONLY, lambda file: os.read(file, 64))):
            file = os.open(path, flags)
            use(file)
            os.close(file)
    took = time.perf_counter() - start
    for path in dirs:
        os.rmdir(path)
    return took


def hostile(daemon, client, seconds, kinds, image):
    """Twenty sandboxes do their worst. What the API and a neighbour do meanwhile, beside what they do at rest."""
    before = scratch.settled(daemon)
    victim = make(client, {"cpu": "1"}, SLEEP)
    measure = lambda seconds: (api(client, victim, seconds), work(client, victim, 10), api(client, victim, seconds, True))
    rest = measure(seconds / 2)
    names = list(kinds)
    hogs = [make(client, HOG_LIMITS, ["sh", "-c", kinds[names[at % len(names)]]], image) for at in range(20)]
    time.sleep(1)
    now = measure(seconds)
    ids_free = 1 - len(scratch.processes()) / int(open("/proc/sys/kernel/pid_max").read())
    deletes = []
    for name in hogs + [victim]:
        deletes.append(timed(lambda: (delete(client, name), gone(daemon, name)))[0])
    clean = same_host(daemon, before)
    p99, ordinary = ([percentiles(times[at])[2] for times in (rest, now)] for at in (0, 2))
    p50 = [statistics.median(times) for times in (rest[1], now[1])]
    table(f"20 hostile sandboxes ({', '.join(names)}), {seconds:g} s", [
        ["API, p99 at rest and under load (us)", ", ".join(map(micros, p99)), ""],
        ["ratio", f"{p99[1] / p99[0]:.2f}", verdict("API under load", p99[1] <= 3 * p99[0], "3")],
        ["the same, as an ordinary program sees it", ", ".join(map(micros, ordinary)), ""],
        ["a neighbour's work, median at rest and under load (us)", ", ".join(map(micros, p50)), ""],
        ["ratio ", f"{p50[1] / p50[0]:.2f}", verdict("neighbours under load", p50[1] <= 2 * p50[0], "2")],
        ["process ids that are free", f"{ids_free:.0%}", verdict("process ids", ids_free >= 0.5, "50 %")],
        ["longest delete until gone (ms)", f"{max(deletes) * 1e3:,.0f}", verdict("deletes under load", max(deletes) < 2, "2,000")],
        ["left over", "nothing" if clean else "see above", verdict("left over after load", clean, "nothing")]],
        ["what", "value", "target"])


def api(client, name, seconds, ordinary=False):
    """At real-time priority: how long the daemon takes, and not when this program has its turn; `ordinary`, as any program
    of the host sees it, with its own waits for a turn. It waits by poll, as event loops do: a read that blocks is woken
    already when the daemon takes the request from the socket, and with this priority it would take the processor from
    the daemon. For the same reason there is a pause before each request: the daemon has come to its end of the last one."""
    paths, times, end = [f"/v1/sandboxes/{name}", "/v1/sandboxes?pageSize=50"], [], time.monotonic() + seconds
    client.close()
    client.connect()
    client.stream.settimeout(60)
    if not ordinary:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        while time.monotonic() < end:
            for path in paths:
                time.sleep(0.002)
                times.append(timed(lambda: expect(client, "GET", path, 200))[0])
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        client.close()
    return times


def work(client, name, runs):
    """A tenth of a second of a CPU."""
    commands, body = Commands(client.path), json.dumps({"command": "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"}).encode()
    times = []
    for _ in range(runs):
        took, answer = timed(lambda: commands.run(name, body))
        if code_of(answer) != 0:
            raise SystemExit(f"the neighbour's work answered {answer.decode()}")
        times.append(took)
    commands.close()
    return times


def gone(daemon, name):
    scratch.until(30, f"{name} is gone", lambda: not any(os.path.exists(path) for path in daemon.cgroups_of(name)), 0.0005)
