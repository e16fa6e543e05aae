"""The official Python SDK: from `Sandbox.create` until the sandbox is ready, over TCP as its users do it."""

import os
import subprocess
import sys
import tempfile

import scratch
from report import IMAGE, percentiles, table, verdict

PROGRAM = """
import sys, time
from opensandbox import SandboxSync
from opensandbox.config import ConnectionConfigSync
config = ConnectionConfigSync(domain=sys.argv[1], api_key=sys.argv[2])
for run in range(int(sys.argv[4])):
    start = time.perf_counter()
    made = SandboxSync.create(sys.argv[3], connection_config=config)
    took = time.perf_counter() - start
    assert made.commands.run("true").exit_code == 0
    made.kill()
    made.close()
    if run:
        print(took)
"""
KEY = "0123456789abcdef0123456789abcdef"
# Measured once on two cores of this kind, with Docker.
REFERENCE = "490"


def run(programs, part):
    with tempfile.TemporaryDirectory(prefix="bivouac-bench-sdk-") as dir:
        clients = os.environ.get("BIVOUAC_CLIENTS") or os.path.join(dir, "clients")
        if not os.path.exists(os.path.join(clients, "complete")):
            subprocess.run([os.path.join(scratch.ROOT, "scripts/lib/clients.sh"), clients], check=True)
        daemon = scratch.Daemon(programs)
        port, keys = scratch.free_port(), os.path.join(daemon.dir, "keys")
        with open(os.open(keys, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(KEY)
        daemon.start(more=["--listen", f"tcp:127.0.0.1:{port}", "--api-key-file", keys])
        try:
            times = subprocess.check_output(
                [os.path.join(clients, "venv/bin/python"), "-c", PROGRAM, f"127.0.0.1:{port}", KEY, IMAGE, str(max(50 // part, 5) + 1)],
                text=True, stderr=sys.stderr)
        finally:
            daemon.close()
    ours = [f"{value * 1e3:,.1f}" for value in percentiles([float(line) for line in times.split()])]
    table("The official SDK, milliseconds", [
        ["Sandbox.create until ready", *ours, verdict("SDK create", float(ours[0]) <= 60, "60")],
        ["the reference server on Docker, create to Running alone", REFERENCE, "", "", ""]],
        ["what", "p50", "p90", "p99", "target"])
