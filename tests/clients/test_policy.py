"""Network policies by the SDKs: at create, looked at, changed. The world outside has a.example and b.example, each with an address."""

import pytest
from conftest import IMAGE
from opensandbox import Sandbox
from opensandbox.exceptions import SandboxApiException
from opensandbox.models.sandboxes import NetworkPolicy, NetworkRule
from test_sdk import config, lines, sandbox
from test_sdk_sync import sandbox as sync_sandbox

anyio = pytest.mark.anyio


def allow(target):
    return NetworkRule(action="allow", target=target)


def told(policy):
    return policy.default_action, [(rule.action, rule.target) for rule in policy.egress]


async def resolves(made, name):
    """The address that a program in the sandbox finds for a name."""
    done = await made.commands.run(f"getent ahostsv4 {name} | head -n 1 | cut -d ' ' -f 1")
    return lines(done.logs.stdout)


async def answers(made, address):
    """Whether somebody answers there."""
    code = f"import socket; socket.create_connection(('{address}', 7777), 3).recv(100); print('yes')"
    return lines((await made.commands.run(["python3", "-c", code])).logs.stdout) == ["yes"]


@anyio
async def test_policy_at_create_and_after_changes(reach):
    policy = NetworkPolicy(defaultAction="deny", egress=[allow("a.example")])
    async with sandbox(reach, network_policy=policy) as made:
        assert told(await made.get_egress_policy()) == ("deny", [("allow", "a.example")])
        assert not await answers(made, "93.184.216.34"), "nobody has asked for the name yet"
        assert await resolves(made, "a.example") == ["93.184.216.34"] and await resolves(made, "b.example") == []
        assert await answers(made, "93.184.216.34") and not await answers(made, "8.8.8.8")

        await made.patch_egress_rules([allow("b.example"), NetworkRule(action="deny", target="b.example")])
        assert told(await made.get_egress_policy()) == ("deny", [("allow", "b.example"), ("allow", "a.example")])
        assert await resolves(made, "b.example") == ["8.8.8.8"] and await answers(made, "8.8.8.8")

        await made.delete_egress_rules(["A.example", "nosuch.example"])
        assert told(await made.get_egress_policy()) == ("deny", [("allow", "b.example")])
        assert not await answers(made, "93.184.216.34") and await answers(made, "8.8.8.8")

        again = await Sandbox.connect(made.id, connection_config=config(reach))
        assert told(await again.get_egress_policy()) == ("deny", [("allow", "b.example")])
        await again.close()


@anyio
async def test_without_a_policy_everything_is_open(reach):
    async with sandbox(reach) as made:
        assert told(await made.get_egress_policy()) == ("allow", [])
        assert await answers(made, "8.8.8.8")
        await made.patch_egress_rules([NetworkRule(action="deny", target="8.8.8.0/24")])
        assert not await answers(made, "8.8.8.8") and await answers(made, "93.184.216.34")


@anyio
async def test_what_is_no_target_is_refused(reach):
    async with sandbox(reach, network_policy=NetworkPolicy()) as made:
        assert told(await made.get_egress_policy()) == ("deny", [])
        with pytest.raises(SandboxApiException) as refused:
            await made.patch_egress_rules([allow("https://a.example")])
        assert refused.value.status_code == 400
        assert told(await made.get_egress_policy()) == ("deny", [])


def test_sync(reach):
    policy = NetworkPolicy(defaultAction="deny", egress=[allow("*.example"), allow("192.0.2.0/24")])
    with sync_sandbox(reach, network_policy=policy) as made:
        assert told(made.get_egress_policy()) == ("deny", [("allow", "*.example"), ("allow", "192.0.2.0/24")])
        made.patch_egress_rules([allow("10.1.2.3/8")])
        made.delete_egress_rules(["*.example"])
        assert told(made.get_egress_policy()) == ("deny", [("allow", "10.0.0.0/8"), ("allow", "192.0.2.0/24")])
