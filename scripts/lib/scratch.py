"""A daemon in a scratch directory for measuring: start, talk, look at the host, remove everything."""

import collections
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONFIG = """
[lifecycle]
terminated_retention_seconds = 0
[runtime]
cgroup_parent = "{cgroup}"
prepared_slots = {prepared}
"""
# How many sandboxes the daemon keeps prepared: its default.
PREPARED = 32
ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def release():
    """Builds the release and returns the directory with its programs."""
    subprocess.run(["cargo", "build", "--release", "--quiet", "--bins", "--example", "floor"], cwd=ROOT, check=True)
    metadata = subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=ROOT)
    host = next(line.split()[1] for line in subprocess.check_output(["rustc", "-vV"], text=True).splitlines()
                if line.startswith("host:"))
    programs = os.path.join(json.loads(metadata)["target_directory"], host, "release")
    base = os.path.join(programs, "bivouac-base.tar")
    if not os.path.exists(base):
        subprocess.run([os.path.join(ROOT, "scripts", "base-image"), base], check=True)
    return programs


class Client:
    """One connection that is kept. Small on purpose: what it costs is part of every number."""

    def __init__(self, path):
        self.path, self.stream, self.rest = path, None, b""

    def connect(self):
        self.stream, self.rest = socket.socket(socket.AF_UNIX), b""
        self.stream.connect(self.path)

    def send(self, method, path, body=b""):
        if self.stream is None:
            self.connect()
        kind = b"content-type: application/json\r\n" if body else b""
        self.stream.sendall(b"%s %s HTTP/1.1\r\nhost: b\r\n%scontent-length: %d\r\n\r\n%s"
                            % (method.encode(), path.encode(), kind, len(body), body))

    def receive(self):
        data = self.rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self.more()
        head = data[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        length = int(head[at + 17:].split(b"\r\n", 1)[0]) if at >= 0 else 0
        while len(data) < end + 4 + length:
            data += self.more()
        self.rest = data[end + 4 + length:]
        return int(head[9:12]), data[end + 4:end + 4 + length]

    def more(self):
        piece = self.stream.recv(1 << 16)
        if not piece:
            raise ConnectionError("the daemon closed the connection")
        return piece

    def ask(self, method, path, body=b""):
        try:
            self.send(method, path, body)
            return self.receive()
        except OSError:
            self.close()
            raise

    def close(self):
        if self.stream is not None:
            self.stream.close()
        self.stream = None


def cgroup_mounts():
    lines = [line.split() for line in open("/proc/mounts")]
    return [(fields[2], fields[1]) for fields in lines if fields[2] in ("cgroup", "cgroup2")]


class Daemon:
    """The release in a scratch directory, with a cgroup of its own; `within` is a command that starts it elsewhere."""

    def __init__(self, programs, settings="", within=()):
        self.programs, self.within = programs, list(within)
        self.dir = tempfile.mkdtemp(prefix="bivouac-bench-")
        self.cgroup = os.path.basename(self.dir)
        self.socket = os.path.join(self.dir, "api.sock")
        self.log = open(os.path.join(self.dir, "daemon.log"), "ab")
        self.child = None
        with open(os.path.join(self.dir, "config.toml"), "w") as config:
            # What is measured without a word about the network is a sandbox without one.
            network = "" if "[network]" in settings else '\n[network]\nmode = "none"\n'
            config.write(CONFIG.format(cgroup=self.cgroup, prepared=PREPARED) + settings + network)

    def start(self, seconds=30, more=()):
        state, run = os.path.join(self.dir, "state"), os.path.join(self.dir, "run")
        self.child = subprocess.Popen(
            self.within + [os.path.join(self.programs, "bivouac"), "serve", "--listen", "unix:" + self.socket, "--state-dir", state,
             "--run-dir", run, "--config", os.path.join(self.dir, "config.toml"), "--log-level", "warn", *more],
            # As a service manager starts it.
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log)
        until(seconds, "the daemon answers", self.answers)
        return self

    def answers(self):
        if self.child.poll() is not None:
            raise SystemExit(f"the daemon ended with {self.child.returncode}; see {self.log.name}")
        try:
            return Client(self.socket).ask("GET", "/health")[0] == 200
        except OSError:
            return False

    def kill(self):
        self.child.kill()
        self.child.wait()

    def client(self):
        return Client(self.socket)

    def cgroups_of(self, name):
        return [os.path.join(mount, self.cgroup, name) for _, mount in cgroup_mounts()]

    def unified(self):
        return next(mount for kind, mount in cgroup_mounts() if kind == "cgroup2")

    def processes(self, name, part):
        path = os.path.join(self.unified(), self.cgroup, name, part, "cgroup.procs")
        return [int(line) for line in open(path)]

    def launchers(self):
        # Its directory is a variable of it, not an argument, which sandboxes would see.
        return [pid for pid in processes() if b"launch" in command(pid) and not inside(pid)
                and self.dir.encode() in command(pid) + read(f"/proc/{pid}/environ")]

    def close(self):
        """Stops the daemon and removes everything of it, whatever state it is in."""
        if self.child and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        for pid in self.launchers():
            os.kill(pid, signal.SIGKILL)
        parent = os.path.join(self.unified(), self.cgroup)
        if os.path.exists(parent):
            with open(os.path.join(parent, "cgroup.kill"), "w") as kill:
                kill.write("1")
        for _, mount in cgroup_mounts():
            for path, _, _ in os.walk(os.path.join(mount, self.cgroup), topdown=False):
                until(10, f"{path} is empty", lambda: removed(path))
        self.log.close()
        shutil.rmtree(self.dir)


def free_port():
    """A port of loopback that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def removed(path):
    try:
        os.rmdir(path)
    except OSError:
        return not os.path.exists(path)
    return True


def until(seconds, what, ask, pause=0.001):
    end = time.monotonic() + seconds
    while not ask():
        if time.monotonic() > end:
            raise SystemExit(f"not after {seconds} s: {what}")
        time.sleep(pause)


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def command(pid):
    return read(f"/proc/{pid}/cmdline")


def inside(pid):
    """Whether a process lives in a PID namespace of its own; PID 1 of a sandbox shows the launcher's command line."""
    return any(line.startswith(b"NSpid:") and len(line.split()) > 2 for line in read(f"/proc/{pid}/status").splitlines())


def memory(pid, key):
    """A value of /proc/PID/smaps_rollup in KiB."""
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(key.encode() + b":"):
            return int(line.split()[1])
    return 0


def sandboxes(daemon):
    """How many there are, prepared ones among them."""
    return sum(path.endswith("/workload") for path, _, _ in os.walk(os.path.join(daemon.unified(), daemon.cgroup)))


def full_pool(daemon, running):
    """Waits until as many sandboxes are prepared as should be, beside those that run."""
    counts = []
    def full():
        counts.append(sandboxes(daemon))
        return counts[-3:] == [PREPARED + running] * 3
    until(30, f"as many sandboxes are prepared as should be, beside {running}", full, pause=0.1)


def settled(daemon):
    """A look once as many sandboxes are prepared as should be, and nothing else is going on."""
    looks = []
    def quiet():
        looks.append(look(daemon))
        time.sleep(0.1)
        return sandboxes(daemon) == PREPARED and len(looks) > 2 and looks[-1] == looks[-2] == looks[-3]
    until(30, "the prepared sandboxes are there and no others", quiet)
    return looks[-1]


def look(daemon):
    """What there is of the daemon's sandboxes on the host, each thing with how often it is there and without the ids and
    process numbers, which prepared sandboxes change all the time; equal looks mean that nothing was left over."""
    found = Found()
    for _, mount in cgroup_mounts():
        for path, _, _ in os.walk(os.path.join(mount, daemon.cgroup)):
            found.add("cgroup " + path)
    own = ("/" + daemon.cgroup).encode()
    found.update("process of a sandbox" for pid in processes() if own in read(f"/proc/{pid}/cgroup"))
    found.update("mount " + line.split(" ", 2)[2] for line in open("/proc/self/mountinfo") if daemon.dir in line)
    for pid in daemon.launchers():
        mounts = read(f"/proc/{pid}/mountinfo").count(b"\n")
        kinds = {}
        for name in os.listdir(f"/proc/{pid}/fd"):
            kind = os.readlink(f"/proc/{pid}/fd/{name}").split("[")[0] if os.path.lexists(f"/proc/{pid}/fd/{name}") else ""
            kinds[kind] = kinds.get(kind, 0) + 1
        found.add(f"launcher with {mounts} mounts, {sorted(kinds.items())}")
    for path, dirs, files in os.walk(daemon.dir):
        # Disks that are kept for sandboxes to come are no sandbox's.
        dirs[:] = [name for name in dirs if path != os.path.join(daemon.dir, "state") or name != "disks"]
        found.update("file " + os.path.join(path, name) for name in dirs + files if not name.startswith("sandboxes.db-"))
    found.update("link " + name for name in os.listdir("/sys/class/net"))
    files = (read(f"/sys/block/{name}/loop/backing_file") for name in os.listdir("/sys/block"))
    found.update("loop device of a sandbox" for file in files if file.startswith((daemon.dir + "/state/sandboxes").encode()))
    return set(found.counts.items())


class Found:
    def __init__(self):
        self.counts = collections.Counter()

    def add(self, line):
        self.counts[ID.sub("ID", line)] += 1

    def update(self, lines):
        for line in lines:
            self.add(line)
