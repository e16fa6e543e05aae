"""The file system that is measured on: the one of temporary files, or one made for it where that would measure itself.

ext4 without a journal does not give out the number of a file that was removed in the last minutes, and looks at each of these
for each file that is made (recently_deleted() in fs/ext4/ialloc.c). After some hundred sandboxes, making a directory takes
longer than all else in a create. Such file systems are found in virtual machines that are thrown away, not on hosts; there, a
file with an ext4 that has its journal is mounted for as long as the bench runs.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile

SIZE = 24 << 30


@contextlib.contextmanager
def ground():
    if not without_journal(tempfile.gettempdir()):
        yield
        return
    place = tempfile.mkdtemp(prefix="bivouac-ground-")
    # The floor reads its root file system as the user of a sandbox.
    os.chmod(place, 0o711)
    image = os.path.join(place, "ext4")
    try:
        with open(image, "wb") as file:
            file.truncate(SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-O", "has_journal", image], check=True)
        mounted = os.path.join(place, "mounted")
        os.mkdir(mounted)
        subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
        # The loop device keeps it, and with the last unmount it is gone, whoever does that.
        os.unlink(image)
        before, tempfile.tempdir = tempfile.gettempdir(), mounted
        os.environ["TMPDIR"] = mounted
        print(f"{before} is ext4 without a journal: measured on an ext4 with one, on a loop device.")
        try:
            yield
        finally:
            tempfile.tempdir, os.environ["TMPDIR"] = before, before
            subprocess.run(["umount", mounted], check=True)
    finally:
        # Never what a mount that is still there shows.
        if not os.path.ismount(os.path.join(place, "mounted")):
            shutil.rmtree(place)


def without_journal(path):
    device = os.stat(path).st_dev
    block = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    if not os.path.exists(block):
        return False
    try:
        with open(f"/sys/fs/ext4/{os.path.basename(os.path.realpath(block))}/journal_task") as task:
            return task.read().strip() == "<none>"
    except OSError:
        return False
