"""Pulling a Debian image from a registry on the loopback device: as one layer of gzip, as eight, and with zstd, beside
`skopeo copy` and `umoci unpack`, and beside `docker pull` of a Docker daemon of its own; what a second image costs that shares all
but one layer; starting from an image of 100 layers; and what hostile layers cost before they are refused."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time

import scratch
from peer_docker import Docker
from report import create, expect, percentiles, table, timed, verdict

LAYERS = 8
DEEP = 100
MIB = 1 << 20


def run(programs, part):
    hostile(programs)
    many_layers(programs, 100 // part)
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
        push(with_another_top(many, os.path.join(directory, "other")), f"{host}/other:1", "gzip")
        with Docker(programs) as docker:
            compare(programs, directory, host, kinds, size, max(1, 3 // part), docker)


def compare(programs, directory, host, kinds, size, rounds, docker):
    daemon = scratch.Daemon(programs).start()
    rows, ours, peaks = [], {}, []
    try:
        for title, name, _, _ in kinds:
            image = f"{host}/{name}:1"
            times = [pull(daemon, image) for _ in range(rounds)]
            ours[name] = min(seconds for seconds, _ in times)
            peaks.append(max(peak for _, peak in times))
            theirs = min(peer(image, directory) for _ in range(rounds))
            dockers = min((docker.pull(image) for _ in range(rounds)), default=None) if docker.runs else None
            rows.append([title, f"{ours[name]:.2f} s", f"{theirs:.2f} s", f"{dockers:.2f} s" if dockers else "-",
                         f"{theirs / ours[name]:.1f}", f"{dockers / ours[name]:.1f}" if dockers else "-",
                         f"{peaks[-1] / MIB:.0f} MiB"] + goal(name, theirs, dockers, ours))
        again, seconds = second(daemon, host)
    finally:
        daemon.close()
    table(f"pull and unpack {size / MIB:,.0f} MiB (best of {rounds})", rows,
          ["image", "bivouac", "skopeo+umoci", "docker", "times faster", "than docker", "memory above idle", ""])
    print("  " + verdict("memory of a pull", max(peaks) < 64 * MIB, "memory above idle < 64 MiB"))
    if not docker.runs:
        print(f"  docker pull was not measured: {docker.why}")
    print(f"  a second image that shares {LAYERS - 1} of {LAYERS} layers: {seconds:.2f} s, {again} layers fetched "
          + verdict("shared layers", again == 1, "1"))


def second(daemon, host):
    """How many layers are fetched for an image of which all but one are here, and in how many seconds."""
    command(daemon, "image", "pull", f"{host}/gzip{LAYERS}:1")
    layers = os.path.join(daemon.dir, "state/images/layers")
    before = set(os.listdir(layers))
    seconds, _ = timed(lambda: command(daemon, "image", "pull", f"{host}/other:1"))
    return len(set(os.listdir(layers)) - before), seconds


def goal(name, theirs, dockers, ours):
    if name == "zstd1":
        return [verdict("zstd", ours["gzip1"] >= 2 * ours[name], ">= 2 times gzip")]
    least = 2 if name == "gzip8" else 1.3
    peers = min(theirs, dockers or theirs)
    return [verdict(f"pull {name}", peers >= least * ours[name], f">= {least} times")]


def many_layers(programs, runs):
    """Creates from an image of one layer and from one of a hundred, in turn."""
    daemon = scratch.Daemon(programs).start()
    try:
        with tempfile.TemporaryDirectory(prefix="bivouac-bench-images-") as directory:
            base = os.path.join(programs, "bivouac-base.tar")
            for name, count in (("one", 1), ("deep", DEEP)):
                command(daemon, "image", "import", stack(base, os.path.join(directory, name), count), "--name", f"{name}:1")
        client, times = daemon.client(), {"one": [], "deep": []}
        for at in range(runs + 5):
            for name, values in times.items():
                took, sandbox = timed(lambda: create(client, f"{name}:1"))
                expect(client, "DELETE", f"/v1/sandboxes/{sandbox}", 204)
                # The first ones warm up.
                values.extend([took] if at >= 5 else [])
    finally:
        daemon.close()
    rows = [[f"{count} layers" if count > 1 else "1 layer", *(f"{part * 1e3:.2f}" for part in percentiles(times[name]))]
            for name, count in (("one", 1), ("deep", DEEP))]
    ratio = percentiles(times["deep"])[0] / percentiles(times["one"])[0]
    table(f"create to Running, {runs} times, milliseconds", rows, ["image", "p50", "p90", "p99"])
    print(f"  {DEEP} layers take {ratio:.2f} times what one takes "
          + verdict("100 layers", ratio <= 1.5, "<= 1.5"))


def stack(base, target, count):
    """A layout of the base image and small layers on top of it."""
    os.makedirs(os.path.join(target, "blobs", "sha256"))
    parts = [os.path.join(target, "part")]
    shutil.copy(base, parts[0])
    for at in range(1, count):
        parts.append(os.path.join(target, f"part{at}"))
        with tarfile.open(parts[-1], "w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(member("layers", kind=tarfile.DIRTYPE))
            tar.addfile(member(f"layers/{at}", 5), io.BytesIO(b"layer"))
    layers = [keep(target, part, "application/vnd.oci.image.layer.v1.tar") for part in parts]
    config = {"architecture": architecture(), "os": "linux", "config": {"Cmd": ["/bin/sh"]}}
    return finish(target, config, layers)


def architecture():
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def with_another_top(source, target):
    """The same image, but for its last layer."""
    os.makedirs(os.path.join(target, "blobs", "sha256"))
    manifest = read(blob(source, read(os.path.join(source, "index.json"))["manifests"][0]["digest"]))
    for layer in manifest["layers"][:-1]:
        os.link(blob(source, layer["digest"]), blob(target, layer["digest"]))
    top = os.path.join(target, "top")
    with tarfile.open(top, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member("other", MIB), io.BytesIO(os.urandom(MIB)))
    layers = manifest["layers"][:-1] + [keep(target, top, "application/vnd.oci.image.layer.v1.tar")]
    return finish(target, read(blob(source, manifest["config"]["digest"])), layers)


def member(name, size=0, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode = size, kind, link, 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info


def header(name, size=0, kind=tarfile.REGTYPE, link=""):
    return member(name, size, kind, link).tobuf(tarfile.GNU_FORMAT)


def hostile(programs):
    """Layers that cost as much as they can before they are refused."""
    daemon = scratch.Daemon(programs).start()
    store = os.path.join(daemon.dir, "state", "images")
    rows, most, slowest = [], 0, 0
    try:
        with tempfile.TemporaryDirectory(prefix="bivouac-bench-images-") as directory:
            path = os.path.join(directory, "hostile")
            for title, write in hostile_layers():
                with open(path, "wb") as file:
                    write(file)
                before = left(store)
                seconds, peak = refused(daemon, path, title)
                if left(store) != before:
                    raise SystemExit(f"{title}: something of it is left in the store")
                rows.append([title, f"{os.path.getsize(path) / MIB:.1f} MiB", f"{seconds:.2f} s", f"{peak / MIB:.0f} MiB"])
                most, slowest = max(most, peak), max(slowest, seconds)
    finally:
        daemon.close()
    table("hostile layers, until they are refused", rows, ["layer", "size", "time", "memory above idle"])
    print("  " + verdict("time of a hostile layer", slowest <= 10, "each <= 10 s") + ", "
          + verdict("memory of a hostile layer", most <= 64 * MIB, "each <= 64 MiB") + ", nothing is left of any")


def left(store):
    return {part: sorted(os.listdir(os.path.join(store, part))) for part in ("layers", "records", "tmp", "quarantine")}


def refused(daemon, path, title):
    pid = daemon.child.pid
    idle = rest(pid)
    program = os.path.join(daemon.programs, "bivouac")
    words = [program, "--host", f"unix:{daemon.socket}", "image", "import", path, "--name", "hostile:1"]
    seconds, done = timed(lambda: subprocess.run(words, capture_output=True, text=True))
    if done.returncode == 0:
        raise SystemExit(f"{title}: it was taken")
    if "limit" not in done.stderr and "allowed" not in done.stderr and "IMAGE::" not in done.stderr:
        raise SystemExit(f"{title}: {done.stderr}")
    return seconds, memory(pid, "VmHWM") - idle


def hostile_layers():
    zeros = bytes(64 * MIB)

    def gzip_bomb(file):
        file.write(gzip.compress(header("usr/zeros", 10 << 30)))
        piece = gzip.compress(zeros)
        for _ in range(160):
            file.write(piece)

    def zstd_bomb(file):
        # A frame of a window of 8 MiB, the header as a raw block, then blocks of one byte that is repeated.
        block = lambda kind, size, last=0: (size << 3 | kind << 1 | last).to_bytes(3, "little")
        file.write(b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([13 << 3]) + block(0, 512) + header("usr/zeros", 10 << 30))
        for _ in range((10 << 30) // (128 << 10) - 1):
            file.write(block(1, 128 << 10) + b"\0")
        file.write(block(1, 128 << 10, 1) + b"\0")

    def zstd_window(file):
        file.write(b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([21 << 3]) + b"\x01\x00\x00")

    def packed(entries):
        def write(file):
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as out:
                for entry in entries:
                    out.write(entry)
        return write

    def long_headers():
        data = b"30 comment=" + b"x" * 18 + b"\n"
        data = data * (MIB // len(data))
        for at in range(2000):
            yield header("x", len(data), tarfile.XHDTYPE) + data + bytes(-len(data) % 512) + header(f"usr/{at}")
        yield header("../up")

    def sparse():
        info = bytearray(header("s", 4, tarfile.GNUTYPE_SPARSE))
        info[386:410] = b"0" * 11 + b"\0" + b"0" * 10 + b"4\0"
        info[483:495] = b"\x80\0\0\0" + (1 << 62).to_bytes(8, "big")
        info[148:156] = b" " * 8
        info[148:156] = b"%06o\0 " % sum(info)
        yield bytes(info) + b"data" + bytes(508) + bytes(1024)

    numbers = range(200_000)
    return [
        ("10 GiB of zeros, gzip", gzip_bomb),
        ("10 GiB of zeros, zstd", zstd_bomb),
        ("a zstd window of 2 GiB", zstd_window),
        ("200,000 empty files", packed(header(f"usr/{at}") for at in numbers)),
        ("200,000 directories", packed(header(f"usr/{at % 1000}/{at // 1000}/", kind=tarfile.DIRTYPE) for at in numbers)),
        ("200,000 times the same directory", packed(header("usr/", kind=tarfile.DIRTYPE) for _ in numbers)),
        ("70,000 names of one file",
         packed([header("usr/f")] + [header(f"usr/l{at}", kind=tarfile.LNKTYPE, link="usr/f") for at in range(70_000)])),
        ("100,000 times the same deep file", packed([header("usr/" + "d/" * 44 + "f")] * 100_000 + [header("../up")])),
        ("2,000 extended headers of 1 MiB", packed(long_headers())),
        ("a sparse file of 4 EiB", packed(sparse())),
        ("a file of 8 EiB", packed([header("f", 1 << 62)])),
        ("up and out, after 64 MiB", packed([header("usr/f", len(zeros)), os.urandom(len(zeros)), header("../up")])),
    ]


def rest(pid):
    """Memory at rest; the peak counts from here."""
    with open(f"/proc/{pid}/clear_refs", "w") as clear:
        clear.write("5")
    return memory(pid, "VmRSS")


def pull(daemon, image):
    """Seconds, and bytes of memory above what the daemon has at rest."""
    pid = daemon.child.pid
    idle = rest(pid)
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
    port = scratch.free_port()
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
    finish(target, config, layers)
    return total


def finish(target, config, layers):
    """Writes the documents of an image of these layers; returns where it is."""
    config["rootfs"] = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config.pop("history", None)
    described = write(target, config, "application/vnd.oci.image.config.v1+json")
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": described, "layers": layers}
    with open(os.path.join(target, "index.json"), "w") as text:
        json.dump({"schemaVersion": 2, "manifests": [write(target, manifest, kind)]}, text)
    with open(os.path.join(target, "oci-layout"), "w") as text:
        text.write('{"imageLayoutVersion": "1.0.0"}')
    return target


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
