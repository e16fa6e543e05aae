"""Pulling a Debian image from a registry on the loopback device: as one layer of gzip, as eight, and with zstd, beside
`skopeo copy` and `umoci unpack`, and beside `docker pull` where a Docker daemon runs."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time

import scratch
from report import table, verdict

LAYERS = 8


def run(programs, part):
    needed = [tool for tool in ("docker-registry", "skopeo", "umoci", "mmdebstrap") if not shutil.which(tool)]
    if needed:
        print(f"\nimages: not measured, there is no {', '.join(needed)} (scripts/test installs them)")
        return
    layout = debian(programs)
    with tempfile.TemporaryDirectory(prefix="bivouac-bench-images-") as directory, registry(directory) as host:
        one, many = os.path.join(directory, "one"), os.path.join(directory, "many")
        size = split(layout, one, 1)
        split(layout, many, LAYERS)
        kinds = [("gzip, 1 layer", "gzip1", one, "gzip"), (f"gzip, {LAYERS} layers", "gzip8", many, "gzip"),
                 ("zstd, 1 layer", "zstd1", one, "zstd")]
        for _, name, source, compression in kinds:
            push(source, f"{host}/{name}:1", compression)
        compare(programs, directory, host, kinds, size, max(1, 3 // part))


def compare(programs, directory, host, kinds, size, rounds):
    daemon = scratch.Daemon(programs).start()
    rows, ours, peaks = [], {}, []
    try:
        for title, name, _, _ in kinds:
            image = f"{host}/{name}:1"
            times = [pull(daemon, image) for _ in range(rounds)]
            ours[name] = min(seconds for seconds, _ in times)
            peaks.append(max(peak for _, peak in times))
            theirs = min(peer(image, directory) for _ in range(rounds))
            docker = docker_pull(image)
            rows.append([title, f"{ours[name]:.2f} s", f"{theirs:.2f} s", f"{docker:.2f} s" if docker else "-",
                         f"{theirs / ours[name]:.1f}", f"{peaks[-1] / 2**20:.0f} MiB"] + goal(name, theirs, ours))
    finally:
        daemon.close()
    table(f"pull and unpack {size / 2**20:,.0f} MiB (best of {rounds})", rows,
          ["image", "bivouac", "skopeo+umoci", "docker", "times faster", "memory above idle", ""])
    print("  " + verdict("memory of a pull", max(peaks) < 64 << 20, "memory above idle < 64 MiB"))


def goal(name, theirs, ours):
    if name == "zstd1":
        return [verdict("zstd", ours["gzip1"] >= 2 * ours[name], ">= 2 times gzip")]
    least = 2 if name == "gzip8" else 1.3
    return [verdict(f"pull {name}", theirs >= least * ours[name], f">= {least} times")]


def pull(daemon, image):
    """Seconds, and bytes of memory above what the daemon has at rest."""
    pid = daemon.child.pid
    with open(f"/proc/{pid}/clear_refs", "w") as clear:
        clear.write("5")
    idle = memory(pid, "VmRSS")
    start = time.perf_counter()
    command(daemon, "image", "pull", image)
    seconds = time.perf_counter() - start
    peak = memory(pid, "VmHWM")
    command(daemon, "image", "rm", image)
    return seconds, peak - idle


def command(daemon, *words):
    program = os.path.join(daemon.programs, "bivouac")
    quiet(program, "--host", f"unix:{daemon.socket}", *words)


def memory(pid, name):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(name + ":"))


def peer(image, directory):
    copy, bundle = os.path.join(directory, "copy"), os.path.join(directory, "bundle")
    start = time.perf_counter()
    quiet("skopeo", "copy", "--src-tls-verify=false", f"docker://{image}", f"oci:{copy}:x")
    quiet("umoci", "unpack", "--image", f"{copy}:x", bundle)
    seconds = time.perf_counter() - start
    shutil.rmtree(copy)
    shutil.rmtree(bundle)
    return seconds


def docker_pull(image):
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        return None
    start = time.perf_counter()
    quiet("docker", "pull", "--quiet", image)
    seconds = time.perf_counter() - start
    quiet("docker", "image", "rm", image)
    return seconds


def quiet(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr.strip()}")


def debian(programs):
    """The image of the tests, made where it is not there yet."""
    kept = os.path.join(os.path.dirname(programs), "tmp", "debian-image-with-node")
    if not os.path.exists(kept):
        quiet(os.path.join(scratch.ROOT, "scripts", "lib", "debian-image.sh"), kept)
    return kept


@contextlib.contextmanager
def registry(directory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = os.path.join(directory, "registry.yml")
    with open(config, "w") as text:
        text.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {directory}/registry}}}}\n"
                   f"http: {{addr: '127.0.0.1:{port}'}}\n")
    server = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        scratch.until(20, "the registry listens", lambda: listens(port))
        yield f"localhost:{port}"
    finally:
        server.terminate()
        server.wait()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def push(layout, image, compression):
    quiet("skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--dest-compress-format", compression, f"oci:{layout}",
          f"docker://{image}")


def split(source, target, count):
    """Writes the one layer of an image as several of about the same size; returns the bytes of the tar."""
    index = read(os.path.join(source, "index.json"))
    manifest = read(blob(source, index["manifests"][0]["digest"]))
    config = read(blob(source, manifest["config"]["digest"]))
    os.makedirs(os.path.join(target, "blobs", "sha256"))
    parts = [os.path.join(target, f"part{number}") for number in range(count)]
    share(blob(source, manifest["layers"][-1]["digest"]), parts)
    total = sum(os.path.getsize(part) for part in parts)
    layers = [keep(target, part, "application/vnd.oci.image.layer.v1.tar") for part in parts]
    config["rootfs"] = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config.pop("history", None)
    described = write(target, config, manifest["config"]["mediaType"])
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": described, "layers": layers}
    with open(os.path.join(target, "index.json"), "w") as text:
        json.dump({"schemaVersion": 2, "manifests": [write(target, manifest, kind)]}, text)
    with open(os.path.join(target, "oci-layout"), "w") as text:
        text.write('{"imageLayoutVersion": "1.0.0"}')
    return total


def share(layer, parts):
    """Each part has all directories, so that it is a layer of its own; hard links stay with what they link to."""
    with tarfile.open(layer) as tar, contextlib.ExitStack() as stack:
        outs = [stack.enter_context(tarfile.open(part, "w", format=tarfile.PAX_FORMAT)) for part in parts]
        filled, places = [0] * len(parts), {}
        for member in tar:
            if member.isdir():
                for out in outs:
                    out.addfile(member)
                continue
            least = filled.index(min(filled))
            at = places.get(member.linkname, least) if member.islnk() else least
            places[member.name] = at
            filled[at] += member.size + 1024
            outs[at].addfile(member, tar.extractfile(member) if member.isreg() else None)


def blob(layout, digest):
    return os.path.join(layout, "blobs", "sha256", digest.split(":")[1])


def read(path):
    with open(path) as text:
        return json.load(text)


def write(layout, document, kind):
    path = os.path.join(layout, "document")
    with open(path, "w") as text:
        json.dump(document, text)
    return keep(layout, path, kind)


def keep(layout, path, kind):
    with open(path, "rb") as file:
        digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    size = os.path.getsize(path)
    os.rename(path, blob(layout, digest))
    return {"mediaType": kind, "digest": digest, "size": size}
