"""The MCP server over standard input and output, with a client of the protocol's own library."""

import os
import sys

import pytest
from conftest import DOMAIN, IMAGE, KEY
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("proxy", [[], ["--use-server-proxy"]], ids=["direct", "by server proxy"])
async def test_tools(proxy):
    program = os.path.join(os.path.dirname(sys.executable), "opensandbox-mcp")
    arguments = ["--domain", DOMAIN, "--api-key", KEY, "--transport", "stdio", *proxy]
    server = StdioServerParameters(command=program, args=arguments, env={"OPENSANDBOX_DISABLE_METRICS": "1"})
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()

        async def call(tool, **arguments):
            answer = await session.call_tool(tool, arguments)
            assert not failed(answer), f"{tool}: {answer}"
            return answer

        made = await call("sandbox_create", image=IMAGE, timeout_seconds=600)
        name = structured(made)["sandbox_id"]
        try:
            assert "hello" in str(await call("command_run", sandbox_id=name, command="echo hello"))
            await call("file_write", sandbox_id=name, path="/tmp/mcp", content="by mcp")
            assert "by mcp" in str(await call("file_read", sandbox_id=name, path="/tmp/mcp"))
            assert "/tmp/mcp" in str(await call("file_search", sandbox_id=name, path="/tmp", pattern="mcp"))
            assert "Running" in str(await call("sandbox_get_info", sandbox_id=name))
            assert name in str(await call("sandbox_list"))
            await call("sandbox_renew", sandbox_id=name, timeout_seconds=1200)
            await call("sandbox_get_metrics", sandbox_id=name)
            assert "8000" in str(await call("sandbox_get_endpoint", sandbox_id=name, port=8000))
            assert failed(await session.call_tool("file_read", {"sandbox_id": name, "path": "/nowhere"}))
        finally:
            await call("sandbox_kill", sandbox_id=name)


def structured(answer):
    content = getattr(answer, "structured_content", None) or getattr(answer, "structuredContent", None)
    return content.get("result", content)


def failed(answer):
    return getattr(answer, "is_error", None) or getattr(answer, "isError", False)
