"""The synchronous SDK: what differs from the asynchronous one is its transport, so each kind of call once."""

from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest
from conftest import IMAGE
from opensandbox import SandboxManagerSync, SandboxSync
from opensandbox.config import ConnectionConfigSync
from opensandbox.exceptions import SandboxApiException
from opensandbox.models.execd import RunCommandOpts
from opensandbox.models.filesystem import SearchEntry
from opensandbox.models.sandboxes import SandboxFilter


def config(reach):
    reach = dict(reach)
    if uds := reach.pop("uds", None):
        reach["transport"] = httpx.HTTPTransport(uds=uds)
    return ConnectionConfigSync(**reach)


@contextmanager
def sandbox(reach, **more):
    made = SandboxSync.create(IMAGE, connection_config=config(reach), **more)
    try:
        yield made
    finally:
        made.kill()
        made.close()


def lines(messages):
    return [message.text for message in messages]


def test_everything_once(reach):
    with sandbox(reach, metadata={"kind": "sync"}, timeout=None) as made:
        assert made.get_info().expires_at is None
        done = made.commands.run("echo out; echo err >&2; exit 3")
        assert (lines(done.logs.stdout), lines(done.logs.stderr), done.exit_code) == (["out"], ["err"], 3)
        background = made.commands.run("sleep 1000", opts=RunCommandOpts(background=True))
        assert made.commands.get_command_status(background.id).running
        made.commands.interrupt(background.id)

        session = made.commands.create_session()
        made.commands.run_in_session(session, "export A=1")
        assert lines(made.commands.run_in_session(session, "echo $A").logs.stdout) == ["1"]
        made.commands.delete_session(session)

        made.files.write_file("/tmp/sync/file", "content", mode=600)
        assert made.files.read_file("/tmp/sync/file") == "content"
        assert b"".join(made.files.read_bytes_stream("/tmp/sync/file")) == b"content"
        assert [entry.path for entry in made.files.search(SearchEntry(path="/tmp/sync", pattern="f*"))] == ["/tmp/sync/file"]
        assert made.get_metrics().cpu_count > 0
        assert made.get_endpoint(8000).endpoint.endswith("8000")

        made.pause()
        assert not made.is_healthy()
        resumed = SandboxSync.resume(made.id, connection_config=config(reach))
        assert resumed.commands.run("true").exit_code == 0
        resumed.close()

        manager = SandboxManagerSync.create(connection_config=config(reach))
        found = manager.list_sandbox_infos(SandboxFilter(metadata={"kind": "sync"}))
        assert [info.id for info in found.sandbox_infos] == [made.id]
        manager.close()


def test_a_renewal_of_what_never_ends_is_refused(reach):
    with sandbox(reach, timeout=None) as made, pytest.raises(SandboxApiException) as refused:
        made.renew(timedelta(minutes=5))
    assert refused.value.status_code == 409
