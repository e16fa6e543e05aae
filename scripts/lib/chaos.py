"""Lives that go on while the daemon is killed."""

import json
import random
import threading
import time

import scratch
from report import REQUEST, create, expect, percentiles, same_host, table, timed, verdict


class Chaos:
    """Lives that go on while the daemon is killed. What was answered must be true afterwards."""

    def __init__(self, daemon):
        self.daemon, self.done, self.lock = daemon, threading.Event(), threading.Lock()
        self.kept, self.deleted, self.cycles = set(), set(), 0

    def work(self):
        client = self.daemon.client()
        while not self.done.is_set():
            try:
                self.live(client)
            except (OSError, ValueError):
                time.sleep(0.002)

    def live(self, client):
        status, body = client.ask("POST", "/v1/sandboxes", REQUEST)
        if status != 202:
            return
        name = json.loads(body)["id"]
        with self.lock:
            self.kept.add(name)
        for verb in ("pause", "resume"):
            client.ask("POST", f"/v1/sandboxes/{name}/{verb}")
        # A few stay, to be found again by each daemon that comes after.
        if random.random() < 0.03:
            return
        with self.lock:
            self.kept.discard(name)
        if client.ask("DELETE", f"/v1/sandboxes/{name}")[0] == 204:
            with self.lock:
                self.deleted.add(name)
        self.cycles += 1


def chaos(programs, kills, least):
    daemon = scratch.Daemon(programs).start()
    try:
        first = daemon.client()
        for name in [create(first) for _ in range(3)]:
            expect(first, "DELETE", f"/v1/sandboxes/{name}", 204)
        before, lively, recovery = scratch.settled(daemon), Chaos(daemon), []
        workers = [threading.Thread(target=lively.work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for _ in range(kills):
            time.sleep(random.uniform(0.005, 0.25))
            daemon.kill()
            recovery.append(timed(daemon.start)[0])
        scratch.until(120, f"{least} lives", lambda: lively.cycles >= least)
        lively.done.set()
        for worker in workers:
            worker.join()
        client = daemon.client()
        states = [json.loads(client.ask("GET", f"/v1/sandboxes/{name}")[1]) for name in lively.kept]
        lost = [state for state in states if state.get("status", {}).get("state") not in ("Running", "Paused")]
        risen = [name for name in lively.deleted if client.ask("GET", f"/v1/sandboxes/{name}")[0] == 200]
        while items := json.loads(client.ask("GET", "/v1/sandboxes?pageSize=200")[1])["items"]:
            for item in items:
                client.ask("DELETE", f"/v1/sandboxes/{item['id']}")
        clean = same_host(daemon, before)
        p50, _, p99 = percentiles(recovery)
        for state in lost[:5]:
            print(f"  lost: {state}")
        table(f"{kills} times kill -9 of the daemon in the midst of {lively.cycles:,} lives", [
            ["answered creates that are lost", f"{len(lost)} of {len(states)}", verdict("lost", not lost, "0")],
            ["answered deletes that came back", f"{len(risen)} of {len(lively.deleted)}", verdict("risen", not risen, "0")],
            ["left over on the host", "nothing" if clean else "see above", verdict("chaos leaks", clean, "nothing")],
            ["start until it answers, p50 and p99 (ms)", f"{p50 * 1e3:,.0f}, {p99 * 1e3:,.0f}", ""]],
            ["what", "value", "target"])
    finally:
        daemon.close()
