// The JavaScript SDK, by node's own test runner; the environment is that of conftest.py.
import assert from "node:assert/strict";
import { test } from "node:test";

import { ConnectionConfig, Sandbox, SandboxApiException, SandboxManager } from "@alibaba-group/opensandbox";

const { BIVOUAC_TEST_TCP: domain, BIVOUAC_TEST_KEY: apiKey, BIVOUAC_TEST_IMAGE: image } = process.env;
const texts = (messages) => messages.map((message) => message.text);

async function withSandbox(connectionConfig, options, use) {
  const sandbox = await Sandbox.create({ connectionConfig, image, ...options });
  try {
    await use(sandbox);
  } finally {
    await sandbox.kill();
    await sandbox.close();
  }
}

async function eventually(what, look) {
  for (const end = Date.now() + 30_000; Date.now() < end; await new Promise((done) => setTimeout(done, 20))) {
    if (await look()) return;
  }
  assert.fail(`not ${what} in time`);
}

for (const useServerProxy of [false, true]) {
  const config = () => new ConnectionConfig({ domain, apiKey, useServerProxy });
  const by = useServerProxy ? "by server proxy" : "direct";

  test(`life, ${by}`, async () => {
    await withSandbox(config(), { metadata: { by: "js" }, env: { GREETING: "hé" }, timeoutSeconds: 300 }, async (sandbox) => {
      const info = await sandbox.getInfo();
      assert.equal(info.status.state, "Running");
      assert.deepEqual(info.metadata, { by: "js" });
      assert.ok((await sandbox.renew(1200)).expiresAt > info.expiresAt);
      assert.deepEqual((await sandbox.patchMetadata({ by: null, now: "x" })).metadata, { now: "x" });
      await sandbox.pause();
      assert.equal(await sandbox.isHealthy(), false);
      await assert.rejects(sandbox.commands.run("true"), (error) => error instanceof SandboxApiException && error.statusCode === 409);
      const resumed = await sandbox.resume();
      assert.deepEqual(texts((await resumed.commands.run("echo $GREETING")).logs.stdout), ["hé"]);
      const manager = SandboxManager.create({ connectionConfig: config() });
      const list = await manager.listSandboxInfos({ states: ["Running"], metadata: { now: "x" } });
      assert.deepEqual(list.items.map((item) => item.id), [sandbox.id]);
      await manager.close();
    });
  });

  test(`commands and sessions, ${by}`, async () => {
    await withSandbox(config(), {}, async ({ commands }) => {
      const done = await commands.run("echo out; echo err >&2; exit 3", { workingDirectory: "/usr" });
      assert.deepEqual([texts(done.logs.stdout), texts(done.logs.stderr), done.exitCode], [["out"], ["err"], 3]);
      const late = await commands.run("sleep 60", { timeoutSeconds: 1 });
      assert.ok(late.error);
      const background = await commands.run("echo later; sleep 1000", { background: true });
      await eventually("written", async () => (await commands.getBackgroundCommandLogs(background.id, 0)).content === "later\n");
      assert.equal((await commands.getCommandStatus(background.id)).running, true);
      await commands.interrupt(background.id);
      await eventually("interrupted", async () => !(await commands.getCommandStatus(background.id)).running);
      const session = await commands.createSession({ workingDirectory: "/tmp" });
      await commands.runInSession(session, "export A=1");
      assert.deepEqual(texts((await commands.runInSession(session, "echo $A; pwd")).logs.stdout), ["1", "/tmp"]);
      await commands.deleteSession(session);
      await assert.rejects(commands.getCommandStatus("0".repeat(32)), SandboxApiException);
    });
  });

  test(`files, ${by}`, async () => {
    await withSandbox(config(), {}, async ({ files }) => {
      const blob = new Uint8Array(1 << 20).map((_, at) => at * 31);
      async function* pieces() {
        for (let at = 0; at < blob.length; at += 100_000) yield blob.slice(at, at + 100_000);
      }
      await files.createDirectories([{ path: "/tmp/js", mode: 755 }]);
      await files.writeFiles([
        { path: "/tmp/js/text", data: "one\ntwo\n", mode: 640 },
        { path: "/tmp/js/blob", data: blob },
        { path: "/tmp/js/streamed", data: pieces() },
      ]);
      assert.equal(await files.readFile("/tmp/js/text"), "one\ntwo\n");
      assert.deepEqual(await files.readBytes("/tmp/js/blob"), blob);
      assert.deepEqual(await files.readBytes("/tmp/js/streamed"), blob);
      assert.deepEqual(await files.readBytes("/tmp/js/blob", { range: "bytes=1-3" }), blob.slice(1, 4));
      assert.equal((await files.getFileInfo(["/tmp/js/text"]))["/tmp/js/text"].mode, 640);
      const [replaced] = await files.replaceContentsDetailed([{ path: "/tmp/js/text", oldContent: "two", newContent: "2" }]);
      assert.equal(replaced.replacedCount, 1);
      await files.setPermissions([{ path: "/tmp/js/text", mode: 600 }]);
      await files.moveFiles([{ src: "/tmp/js/text", dest: "/tmp/js/moved" }]);
      assert.deepEqual((await files.search({ path: "/tmp/js", pattern: "mov*" })).map((file) => file.path), ["/tmp/js/moved"]);
      assert.equal((await files.listDirectory({ path: "/tmp/js" })).length, 3);
      await files.deleteFiles(["/tmp/js/moved"]);
      await files.deleteDirectories(["/tmp/js"]);
      await assert.rejects(files.readFile("/tmp/js/blob"), SandboxApiException);
    });
  });

  test(`metrics and endpoints, ${by}`, async () => {
    await withSandbox(config(), { resource: { cpu: "500m", memory: "256Mi" } }, async (sandbox) => {
      const metrics = await sandbox.getMetrics();
      assert.deepEqual([metrics.cpuCount, metrics.memoryTotalMiB], [0.5, 256]);
      await sandbox.commands.run("cd /etc && exec python3 -m http.server 8000", { background: true });
      const { headers } = await sandbox.getEndpoint(8000);
      const url = await sandbox.getEndpointUrl(8000);
      await eventually("served", async () => (await fetch(`${url}/passwd`, { headers })).status === 200);
    });
  });
}

test("errors", async () => {
  const wrong = new ConnectionConfig({ domain, apiKey: "a-wrong-key-of-enough-bytes" });
  await assert.rejects(Sandbox.create({ connectionConfig: wrong, image }), (error) => error.statusCode === 401);
  const connectionConfig = new ConnectionConfig({ domain, apiKey });
  const sandboxId = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11";
  await assert.rejects(Sandbox.connect({ connectionConfig, sandboxId }), (error) => error.statusCode === 404);
});
