"""The `osb` command line."""

import json
import os
import subprocess
import sys

import pytest
from conftest import DOMAIN, IMAGE, KEY


@pytest.fixture(params=["--no-use-server-proxy", "--use-server-proxy"])
def osb(request, tmp_path):
    def run(*arguments, code=0, **more):
        # Nothing of the user's own configuration.
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OPENSANDBOX_DISABLE_METRICS": "1"}
        program = os.path.join(os.path.dirname(sys.executable), "osb")
        command = [program, "--domain", DOMAIN, "--api-key", KEY, "--no-color", request.param, *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, **more)
        assert done.returncode == code, f"{arguments} ended with {done.returncode}: {done.stdout} {done.stderr}"
        return done.stdout
    return run


def test_a_life_on_the_command_line(osb, tmp_path):
    made = json.loads(osb("sandbox", "create", "-i", IMAGE, "-t", "10m", "-m", "by=osb", "-e", "A=b", "-o", "json"))
    name = made["id"]
    try:
        assert json.loads(osb("sandbox", "get", name, "-o", "json"))["status"]["state"] == "Running"
        listed = json.loads(osb("sandbox", "list", "-m", "by=osb", "-o", "json"))
        assert name in json.dumps(listed)
        assert "b" in osb("command", "run", name, "-o", "raw", "--", "sh", "-c", "echo $A").split()
        started = json.loads(osb("command", "run", name, "-d", "-o", "json", "--", "echo", "later"))
        ident = started.get("execution_id") or started.get("id")
        assert ident, started
        osb("command", "status", name, ident)

        local = tmp_path / "local"
        local.write_text("up and down\n")
        osb("file", "upload", name, str(local), "/tmp/up")
        assert "up and down" in osb("file", "cat", name, "/tmp/up")
        osb("file", "download", name, "/tmp/up", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "up and down\n"
        osb("file", "write", name, "/tmp/w", "-c", "one")
        osb("file", "replace", name, "/tmp/w", "--old", "one", "--new", "two")
        osb("file", "chmod", name, "/tmp/w", "--mode", "600")
        osb("file", "mv", name, "/tmp/w", "/tmp/w2")
        assert "/tmp/w2" in osb("file", "search", name, "/tmp", "-p", "w2")
        osb("file", "mkdir", name, "/tmp/d")
        osb("file", "rmdir", name, "/tmp/d")
        osb("file", "rm", name, "/tmp/w2")

        osb("sandbox", "renew", name, "-t", "30m")
        assert "8000" in osb("sandbox", "endpoint", name, "-p", "8000", "-o", "json")
        osb("sandbox", "metrics", name)
        osb("sandbox", "health", name)
        osb("sandbox", "pause", name)
        osb("sandbox", "resume", name)
        for kind in ("logs", "inspect", "events", "summary"):
            assert osb("devops", kind, name)
        osb("diagnostics", "events", name, "--scope", "runtime")
    finally:
        osb("sandbox", "kill", name)
    osb("sandbox", "kill", name, code=1)
