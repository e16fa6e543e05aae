"""A Docker daemon for comparison: everything of it in scratch directories, in a mount namespace of its own, without networks
and rules. Installed or not: what is missing is unpacked from Debian's packages, and nothing of it is set up on the host."""

import glob
import os
import shutil
import subprocess
import tempfile
import time

import scratch

PACKAGES = ("docker.io", "docker-cli", "containerd", "runc", "libdevmapper1.02.1")


class Docker:
    def __init__(self, programs):
        self.kept = os.path.join(os.path.dirname(programs), "tmp", "docker")
        self.runs, self.why, self.child = False, "", None

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="bvd-")
        self.environment = dict(os.environ, DOCKER_CONFIG=os.path.join(self.dir, "config"))
        if not shutil.which("dockerd") and not self.unpack():
            self.why = "there is no dockerd, and docker.io cannot be fetched"
            return self
        self.start()
        return self

    def unpack(self):
        """Unpacks the packages beside the build, once."""
        if not os.path.isdir(self.kept):
            fresh = self.kept + ".new"
            shutil.rmtree(fresh, ignore_errors=True)
            os.makedirs(fresh)
            for package in PACKAGES:
                # Not every release of Debian has each of them.
                subprocess.run(["apt-get", "download", "-qq", package], cwd=fresh, capture_output=True)
            for file in glob.glob(os.path.join(fresh, "*.deb")):
                subprocess.run(["dpkg-deb", "-x", file, fresh], check=True)
                os.remove(file)
            os.rename(fresh, self.kept)
        path = [os.path.join(self.kept, part) for part in ("usr/sbin", "usr/bin", "sbin", "bin")]
        libraries = glob.glob(os.path.join(self.kept, "usr/lib/*-linux-gnu")) + glob.glob(os.path.join(self.kept, "lib/*-linux-gnu"))
        self.environment["PATH"] = ":".join(path + [os.environ["PATH"]])
        self.environment["LD_LIBRARY_PATH"] = ":".join(libraries)
        return shutil.which("dockerd", path=self.environment["PATH"]) is not None

    def start(self):
        self.socket = os.path.join(self.dir, "d.sock")
        log = os.path.join(self.dir, "log")
        parts = [f"--{name}={os.path.join(self.dir, name[:4])}" for name in ("data-root", "exec-root")]
        options = [f"--cgroup-parent=/{os.path.basename(self.dir)}", "--iptables=false", "--ip6tables=false",
                   "--ip-forward=false", "--bridge=none", "--log-level=error",
                   f"--pidfile={self.dir}/pid", "-H", f"unix://{self.socket}", "--config-file", os.path.join(self.dir, "none")]
        with open(os.path.join(self.dir, "none"), "w") as config:
            config.write("{}")
        with open(log, "wb") as out:
            self.child = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "dockerd", *parts, *options],
                                          env=self.environment, stdout=out, stderr=out)
        end = time.monotonic() + 30
        while time.monotonic() < end and self.child.poll() is None:
            if self.ask("version").returncode == 0:
                self.runs = True
                return
            time.sleep(0.1)
        with open(log) as text:
            self.why = "dockerd does not run here: " + " ".join(text.read().split())[-300:]

    def ask(self, *words):
        return subprocess.run(["docker", "-H", f"unix://{self.socket}", *words], env=self.environment, capture_output=True,
                              text=True)

    def do(self, *words):
        done = self.ask(*words)
        if done.returncode:
            raise SystemExit(f"docker {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def pull(self, image):
        start = time.perf_counter()
        self.do("pull", "--quiet", image)
        seconds = time.perf_counter() - start
        self.do("image", "rm", image)
        return seconds

    def __exit__(self, *_):
        if self.child and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        scratch.until(10, f"{self.dir} can be removed", self.removed, 0.1)
        for hierarchy in ("/sys/fs/cgroup", "/sys/fs/cgroup/*"):
            for cgroup in glob.glob(os.path.join(hierarchy, os.path.basename(self.dir))):
                os.rmdir(cgroup)

    def removed(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        return not os.path.exists(self.dir)
