"""Commands inside a sandbox: one after another beside fork, exec and wait of the same program, and many at once."""

import json
import os
import selectors
import subprocess
import time

import scratch
from peer_docker import Docker
from report import create, expect, micros, percentiles, table, threads, timed, verdict

TRUE = json.dumps({"argv": ["/bin/true"]}).encode()
# Exit codes that tell one command from its neighbour.
CODES = 50


def run(programs, part):
    daemon = scratch.Daemon(programs).start()
    try:
        client = daemon.client()
        name = create(client)
        one_by_one(daemon, name, 1000 // part)
        many(daemon, name, 10_000 // part, 50)
        expect(client, "DELETE", f"/v1/sandboxes/{name}", 204)
    finally:
        daemon.close()


class Commands(scratch.Client):
    """A connection for commands: their answers come in chunks, of which the last is empty."""

    def begin(self, name, body):
        self.send("POST", f"/v1/sandboxes/{name}/proxy/44772/command", body)

    def ended(self):
        """Takes what has come; the events once all are there."""
        self.rest += self.more()
        if not self.rest.endswith(b"\r\n0\r\n\r\n"):
            return None
        answer, self.rest = self.rest, b""
        return answer

    def run(self, name, body):
        self.begin(name, body)
        while (answer := self.ended()) is None:
            pass
        return answer


def code_of(answer):
    if b'"execution_complete"' in answer:
        return 0
    at = answer.find(b'"evalue":"')
    return int(answer[at + 10:answer.index(b'"', at + 10)]) if at >= 0 else None


def one_by_one(daemon, name, runs):
    client, times, floor = Commands(daemon.socket), [], []
    # The same static program, started by the host.
    subprocess.run(["tar", "-C", daemon.dir, "-xf", os.path.join(daemon.programs, "bivouac-base.tar"), "--one-top-level=base"],
                   check=True)
    program = os.path.join(daemon.dir, "base/bin/true")
    for _ in range(20):
        client.run(name, TRUE)
    for _ in range(runs):
        took, answer = timed(lambda: client.run(name, TRUE))
        if code_of(answer) != 0:
            raise SystemExit(f"/bin/true answered {answer.decode()}")
        times.append(took)
        floor.append(timed(lambda: os.waitpid(os.posix_spawn(program, ["true"], {}), 0))[0])
    client.close()
    ours, bare = percentiles(times), percentiles(floor)
    rows = [["POST /command of /bin/true to its last event", *map(micros, ours), verdict("command", ours[0] < 0.004, "4 ms")],
            ["posix_spawn and wait of the same program", *map(micros, bare), ""],
            ["ratio of the medians", f"{ours[0] / bare[0]:.2f}", "", "", verdict("command / floor", ours[0] <= 3 * bare[0], "3")]]
    rows += docker_exec(daemon.programs, max(runs // 50, 5))
    table(f"One command after another, {runs} runs, microseconds", rows, ["what", "p50", "p90", "p99", "target"])


def docker_exec(programs, runs):
    """Beside it, by a Docker daemon of the bench's own."""
    with Docker(programs) as docker:
        if not docker.runs:
            return [["docker exec", docker.why, "", "", ""]]
        docker.do("import", os.path.join(programs, "bivouac-base.tar"), "base")
        name = docker.do("run", "--detach", "--network", "none", "base", "sleep", "1000000")
        times = [timed(lambda: docker.do("exec", name, "/bin/true"))[0] for _ in range(runs)]
        docker.do("rm", "--force", name)
    return [["docker exec", *map(micros, percentiles(times)), ""]]


def many(daemon, name, count, width):
    """Each command has an exit code of its own; nothing of them may stay."""
    clients = [Commands(daemon.socket) for _ in range(width)]
    for client in clients:
        client.run(name, TRUE)
    before = standing(daemon, name)
    waiting, begun, ended, wrong = selectors.DefaultSelector(), 0, 0, 0
    start = time.perf_counter()
    for client in clients:
        begun += 1
        client.code = begun % CODES
        client.begin(name, exiting(client.code))
        waiting.register(client.stream, selectors.EVENT_READ, client)
    while ended < count:
        for key, _ in waiting.select(60):
            client = key.data
            answer = client.ended()
            if answer is None:
                continue
            ended += 1
            wrong += code_of(answer) != client.code
            if begun < count:
                begun += 1
                client.code = begun % CODES
                client.begin(name, exiting(client.code))
    rate = count / (time.perf_counter() - start)
    # The connections are the same as before; what else comes and goes does so at once.
    end = time.monotonic() + 5
    while (after := standing(daemon, name)) != before and time.monotonic() < end:
        time.sleep(0.05)
    for client in clients:
        client.close()
    table(f"{count:,} commands, {width} at once", [
        ["a second", f"{rate:,.0f}", verdict("commands a second", rate > 300, "300")],
        ["wrong exit codes", str(wrong), verdict("exit codes", wrong == 0, "0")],
        ["descriptors and threads of the daemon before", f"{before[0]}, {before[1]}", ""],
        ["and after", f"{after[0]}, {after[1]}", verdict("descriptors and threads", after[:2] <= before[:2], "no more")],
        ["descriptors of PID 1, processes inside before", f"{before[2]}, {before[3]}", ""],
        ["and after", f"{after[2]}, {after[3]}", verdict("descriptors and processes inside", after[2:] == before[2:], "no more")]],
        ["what", "value", "target"])


def exiting(code):
    return json.dumps({"argv": ["sh", "-c", f"exit {code}"]}).encode()


def standing(daemon, name):
    pid_1, inside = daemon.processes(name, "init"), daemon.processes(name, "workload")
    pid = daemon.child.pid
    return (len(os.listdir(f"/proc/{pid}/fd")), threads(pid), sum(len(os.listdir(f"/proc/{one}/fd")) for one in pid_1),
            len(pid_1) + len(inside))
