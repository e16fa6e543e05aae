"""The daemon that the tests speak to, as the environment names it:

BIVOUAC_TEST_TCP      host:port of a listener that asks for a key
BIVOUAC_TEST_KEY      the key
BIVOUAC_TEST_SOCKET   path of a Unix socket of the same daemon, which asks for none
BIVOUAC_TEST_IMAGE    an image with bash, python3 and node
"""

import os
import time

import httpx
import pytest

DOMAIN = os.environ["BIVOUAC_TEST_TCP"]
KEY = os.environ["BIVOUAC_TEST_KEY"]
SOCKET = os.environ["BIVOUAC_TEST_SOCKET"]
IMAGE = os.environ["BIVOUAC_TEST_IMAGE"]

# Reports of the SDK go to the daemon too, but nobody waits for them.
os.environ["OPENSANDBOX_DISABLE_METRICS"] = "1"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(params=["direct", "by server proxy", "socket"])
def reach(request):
    """The ways to a sandbox, as arguments of a ConnectionConfig; a transport is made by who knows which kind it takes."""
    if request.param == "socket":
        return {"domain": "localhost", "uds": SOCKET}
    return {"domain": DOMAIN, "api_key": KEY, "use_server_proxy": request.param == "by server proxy"}


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Every test removes what it made."""
    yield
    with httpx.Client(base_url=f"http://{DOMAIN}/v1", headers={"OPEN-SANDBOX-API-KEY": KEY}) as api:
        end = time.monotonic() + 10
        while left := api.get("/sandboxes").raise_for_status().json()["items"]:
            assert time.monotonic() < end, f"sandboxes are left: {left}"
            for item in left:
                api.delete(f"/sandboxes/{item['id']}")
