"""The asynchronous SDK: the life of a sandbox, commands, files, sessions, metrics, endpoints, and what fails."""

import asyncio
import io
import time
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone

import httpx
import pytest
from conftest import DOMAIN, IMAGE, KEY
from opensandbox import Sandbox, SandboxManager
from opensandbox.config import ConnectionConfig
from opensandbox.exceptions import (
    SandboxApiException, SandboxException, SandboxReadyTimeoutException, SandboxUnhealthyException)
from opensandbox.models.execd import ExecutionHandlers, RunCommandOpts
from opensandbox.models.filesystem import (
    ContentReplaceEntry, DirectoryListEntry, MoveEntry, SearchEntry, SetPermissionEntry, WriteEntry)
from opensandbox.models.sandboxes import SandboxFilter

pytestmark = pytest.mark.anyio
ROOT = RunCommandOpts(uid=0, gid=0)


def config(reach):
    reach = dict(reach)
    if uds := reach.pop("uds", None):
        reach["transport"] = httpx.AsyncHTTPTransport(uds=uds)
    return ConnectionConfig(**reach)


@asynccontextmanager
async def sandbox(reach, **more):
    made = await Sandbox.create(IMAGE, connection_config=config(reach), **more)
    try:
        yield made
    finally:
        await made.kill()
        await made.close()


def lines(messages):
    return [message.text for message in messages]


async def eventually(what, look):
    end = time.monotonic() + 30
    while not (found := await look()):
        assert time.monotonic() < end, f"not {what} in time; last: {found}"
        await asyncio.sleep(0.02)
    return found


async def test_life(reach):
    before = datetime.now(timezone.utc)
    async with sandbox(reach, metadata={"team": "a-b", "n": "1"}, env={"GREETING": "hé"},
                       resource={"cpu": "500m", "memory": "256Mi"}, timeout=timedelta(minutes=5)) as made:
        info = await made.get_info()
        assert (info.status.state, info.metadata, info.entrypoint) == (
            "Running", {"team": "a-b", "n": "1"}, ["tail", "-f", "/dev/null"])
        assert timedelta(minutes=4) < info.expires_at - before < timedelta(minutes=6)
        assert await made.is_healthy()

        renewed = await made.renew(timedelta(minutes=20))
        assert renewed.expires_at > info.expires_at
        patched = await made.patch_metadata({"n": None, "new": "x"})
        assert patched.metadata == {"team": "a-b", "new": "x"}

        await made.commands.run("echo kept > /tmp/kept")
        await made.pause()
        assert (await made.get_info()).status.state == "Paused"
        assert not await made.is_healthy()
        with pytest.raises(SandboxApiException) as refused:
            await made.commands.run("true")
        assert refused.value.status_code == 409 and "Paused" in str(refused.value)
        resumed = await Sandbox.resume(made.id, connection_config=config(reach))
        assert lines((await resumed.commands.run("cat /tmp/kept; echo $GREETING")).logs.stdout) == ["kept", "hé"]
        await resumed.close()

        again = await Sandbox.connect(made.id, connection_config=config(reach))
        assert (await again.commands.run("true")).exit_code == 0
        await again.close()
        assert "Running" in (await made.get_diagnostic_events("runtime")).content
        assert (await made.get_diagnostic_logs("container")).kind == "logs"


async def test_manager_lists_with_filters(reach):
    async with (sandbox(reach, metadata={"set": "one"}) as first, sandbox(reach, metadata={"set": "two_2.x"}) as second,
                manager_of(reach) as manager):
        everything = await manager.list_sandbox_infos(SandboxFilter())
        assert {info.id for info in everything.sandbox_infos} == {first.id, second.id}
        one = await manager.list_sandbox_infos(SandboxFilter(metadata={"set": "one"}))
        assert [info.id for info in one.sandbox_infos] == [first.id]
        page = await manager.list_sandbox_infos(SandboxFilter(states=["Running"], page=1, page_size=1))
        assert page.pagination.total_items == 2 and page.pagination.has_next_page
        await manager.pause_sandbox(first.id)
        paused = await manager.list_sandbox_infos(SandboxFilter(states=["Paused"]))
        assert [info.id for info in paused.sandbox_infos] == [first.id]
        await manager.resume_sandbox(first.id)
        await manager.renew_sandbox(first.id, timedelta(hours=1))
        assert (await manager.get_sandbox_info(first.id)).status.state == "Running"


@asynccontextmanager
async def manager_of(reach):
    manager = await SandboxManager.create(connection_config=config(reach))
    try:
        yield manager
    finally:
        await manager.close()


async def test_commands(reach):
    async with sandbox(reach) as made:
        run = made.commands.run
        done = await run("echo out; echo err >&2; printf 'no end'")
        assert (lines(done.logs.stdout), lines(done.logs.stderr), done.exit_code) == (["out", "no end"], ["err"], 0)
        assert done.complete is not None and done.error is None

        failed = await run("exit 7")
        assert failed.exit_code == 7 and failed.error.name == "CommandExecError" and failed.complete is None
        assert (await run(["printf", "%s|", "a b", "$HOME", ""])).logs.stdout[0].text == "a b|$HOME||"
        where = await run("pwd; id -u; id -g; echo $E", opts=RunCommandOpts(
            working_directory="/usr", uid=1, gid=2, envs={"E": "e=f g"}))
        assert lines(where.logs.stdout) == ["/usr", "1", "2", "e=f g"]
        with pytest.raises(SandboxException):
            await run("true", opts=RunCommandOpts(working_directory="/nowhere"))

        began = time.monotonic()
        slow = await run("sleep 60", opts=RunCommandOpts(timeout=timedelta(milliseconds=300)))
        assert slow.exit_code != 0 and time.monotonic() - began < 30

        seen = []
        async def see(message):
            seen.append(message.text)
        await run("echo 1; echo 2", handlers=ExecutionHandlers(on_stdout=see))
        assert seen == ["1", "2"]

        await made.commands.set_env("LATER", "it's here")
        assert lines((await run("echo $LATER")).logs.stdout) == ["it's here"]


async def test_commands_in_the_background(reach):
    async with sandbox(reach) as made:
        commands = made.commands
        started = await commands.run("for i in 1 2 3; do echo $i; done; exit 3", opts=RunCommandOpts(background=True))
        async def ended():
            status = await commands.get_command_status(started.id)
            return None if status.running else status
        status = await eventually("ended", ended)
        assert status.exit_code == 3 and status.finished_at >= status.started_at
        logs = await commands.get_background_command_logs(started.id)
        assert logs.content == "1\n2\n3\n"
        rest = await commands.get_background_command_logs(started.id, cursor=logs.cursor)
        assert (rest.content, rest.cursor) == ("", logs.cursor)

        endless = await commands.run("sleep 1000", opts=RunCommandOpts(background=True))
        await commands.interrupt(endless.id)
        async def over():
            return not (await commands.get_command_status(endless.id)).running
        await eventually("interrupted", over)
        with pytest.raises(SandboxApiException):
            await commands.get_command_status("0" * 32)


async def test_sessions(reach):
    async with sandbox(reach) as made:
        commands = made.commands
        session = await commands.create_session(working_directory="/tmp/work")
        async def said(command, **more):
            return lines((await commands.run_in_session(session, command, **more)).logs.stdout)
        await said("export A=1; cd ..")
        assert await said("echo $A; pwd") == ["1", "/tmp"]
        assert await said("pwd", working_directory="/usr") == ["/usr"]
        assert (await commands.run_in_session(session, "(exit 7)")).error.value == "7"
        late = await commands.run_in_session(session, "sleep 60", timeout=timedelta(milliseconds=300))
        assert late.error is not None
        await commands.delete_session(session)
        with pytest.raises(SandboxApiException):
            await commands.run_in_session(session, "true")


async def test_files(reach):
    async with sandbox(reach) as made:
        files, top = made.files, "/tmp/files"
        await files.create_directories([WriteEntry(path=top, mode=755), WriteEntry(path=f"{top}/deep/er", mode=700)])
        await files.write_file(f"{top}/text", "one\ntwo\nthree\n", mode=640)
        blob = bytes(range(256)) * 4096
        await files.write_files([
            WriteEntry(path=f"{top}/blob", data=blob, mode=600), WriteEntry(path=f"{top}/new/dir/é x", data="é", mode=644),
            WriteEntry(path=f"{top}/stream", data=io.BytesIO(blob), mode=644)])
        assert await files.read_file(f"{top}/text") == "one\ntwo\nthree\n"
        assert await files.read_bytes(f"{top}/blob") == blob
        assert await files.read_bytes(f"{top}/stream") == blob
        assert await files.read_file(f"{top}/new/dir/é x") == "é"
        assert await files.read_bytes(f"{top}/blob", range_header="bytes=1-3") == blob[1:4]
        assert await files.read_file(f"{top}/text", offset=2, limit=1) == "two"
        chunks = [chunk async for chunk in await streamed(files, f"{top}/blob")]
        assert b"".join(chunks) == blob

        info = (await files.get_file_info([f"{top}/text"]))[f"{top}/text"]
        assert (info.size, info.mode, info.entry_type) == (14, 640, "file")
        assert abs(info.modified_at - info.created_at) < timedelta(seconds=2)
        await files.set_permissions([SetPermissionEntry(path=f"{top}/text", mode=604)])
        assert (await files.get_file_info([f"{top}/text"]))[f"{top}/text"].mode == 604

        await files.replace_contents([ContentReplaceEntry(path=f"{top}/text", old_content="two", new_content="2")])
        replaced = await files.replace_contents_detailed(
            [ContentReplaceEntry(path=f"{top}/text", old_content="e", new_content="E")])
        assert replaced[0].replaced_count == 3
        assert await files.read_file(f"{top}/text") == "onE\n2\nthrEE\n"

        await files.move_files([MoveEntry(src=f"{top}/text", dest=f"{top}/moved")])
        found = await files.search(SearchEntry(path=top, pattern="mo*"))
        assert [entry.path for entry in found] == [f"{top}/moved"]
        listed = await files.list_directory(DirectoryListEntry(path=top, depth=1))
        assert {entry.path.rsplit("/", 1)[1] for entry in listed} == {"moved", "blob", "stream", "deep", "new"}
        await files.delete_files([f"{top}/moved"])
        await files.delete_directories([top])
        with pytest.raises(SandboxApiException) as gone:
            await files.get_file_info([top])
        assert gone.value.status_code == 404
        assert (await made.commands.run(f"test -e {top}")).exit_code == 1


async def streamed(files, path):
    stream = files.read_bytes_stream(path, chunk_size=10_000)
    return await stream if asyncio.iscoroutine(stream) else stream


async def test_files_of_another_user(reach):
    async with sandbox(reach) as made:
        files = made.files_with_identity(1, 2)
        await files.write_file("/tmp/owned", "x", mode=600)
        stat = await made.commands.run("stat -c '%u %g %a' /tmp/owned")
        assert lines(stat.logs.stdout) == ["1 2 600"]
        with pytest.raises(SandboxApiException):
            await files.write_file("/usr/owned", "x")


async def test_metrics(reach):
    async with sandbox(reach, resource={"cpu": "500m", "memory": "256Mi"}) as made:
        metrics = await made.get_metrics()
        assert metrics.cpu_count == 0.5 and metrics.memory_total_in_mib == 256
        assert 0 < metrics.memory_used_in_mib <= 256 and 0 <= metrics.cpu_used_percentage <= 100


async def test_endpoints(reach):
    async with sandbox(reach) as made:
        server = "import http.server as h\nclass S(h.SimpleHTTPRequestHandler):\n pass\nh.HTTPServer(('127.0.0.1', 8000), S).serve_forever()"
        await made.files.write_file("/tmp/www/page", "served\n", mode=644)
        await made.commands.run(["python3", "-c", server], opts=RunCommandOpts(background=True, working_directory="/tmp/www"))
        endpoint = await made.get_endpoint(8000)
        transport = made.connection_config.transport if "uds" in reach else None
        async with httpx.AsyncClient(transport=transport) as web:
            async def page():
                answer = await web.get(f"http://{endpoint.endpoint}/page", headers=endpoint.headers)
                return answer.text if answer.status_code == 200 else None
            assert await eventually("served", page) == "served\n"
            signed = await made.get_signed_endpoint(8000, int(time.time()) + 60) if not reach.get("use_server_proxy") else None
            if signed:
                answer = await web.get(f"http://{signed.endpoint}/page")
                assert (answer.status_code, answer.text) == (200, "served\n")
            if "uds" not in reach:
                assert (await web.get(f"http://{endpoint.endpoint}/page")).status_code == 401


async def test_what_is_not_there(reach):
    unknown = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11"
    with pytest.raises(SandboxApiException) as missing:
        await Sandbox.connect(unknown, connection_config=config(reach))
    assert missing.value.status_code == 404 and missing.value.request_id
    with pytest.raises(SandboxApiException) as refused:
        await Sandbox.create("test/none:latest", connection_config=config(reach), extensions={"bivouac.pull_policy": "never"})
    assert refused.value.status_code in (400, 404), refused.value
    with pytest.raises(SandboxApiException):
        await Sandbox.create(IMAGE, connection_config=config(reach), timeout=timedelta(seconds=-1))
    with pytest.raises(SandboxApiException):
        await Sandbox.create(IMAGE, connection_config=config(reach), resource={"cpu": "lots"})
    # It ends before it could answer.
    with pytest.raises((SandboxReadyTimeoutException, SandboxUnhealthyException, SandboxApiException)):
        await Sandbox.create(IMAGE, connection_config=config(reach), entrypoint=["false"], ready_timeout=timedelta(seconds=2))


async def test_after_the_kill(reach):
    made = await Sandbox.create(IMAGE, connection_config=config(reach))
    await made.kill()
    async def forgotten():
        try:
            # Its end is remembered for a while.
            assert (await made.get_info()).status.state in ("Stopping", "Terminated")
        except SandboxApiException as error:
            return error.status_code == 404
    await eventually("forgotten", forgotten)
    with pytest.raises(SandboxException):
        await made.commands.run("true")
    await made.close()


@pytest.mark.parametrize("key", [None, "a-wrong-key-of-enough-bytes"])
async def test_a_key_is_asked_for(key):
    with pytest.raises(SandboxApiException) as refused:
        await Sandbox.create(IMAGE, connection_config=ConnectionConfig(domain=DOMAIN, api_key=key))
    assert refused.value.status_code == 401
    assert KEY not in str(refused.value)
