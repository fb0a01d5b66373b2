// The official TypeScript client 2.x without a session against `compere serve everything`.
//
// node client_both.mjs stdio COMPERE WIRE_LOG     pinned to 2026-07-28
// node client_both.mjs http URL                   finds it out

import assert from "node:assert/strict";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [kind, target, wireLog] = process.argv.slice(2);
const stdio = await import("@modelcontextprotocol/client/stdio");
const transport =
  kind === "stdio"
    ? new stdio.StdioClientTransport({
        command: target,
        args: ["serve", "everything", "--wire-log", wireLog],
      })
    : new StreamableHTTPClientTransport(new URL(target));
const client = new Client(
  { name: "interop", version: "1.0.0" },
  {
    capabilities: { roots: {}, sampling: {}, elicitation: { form: {} } },
    versionNegotiation: { mode: kind === "stdio" ? { pin: "2026-07-28" } : "auto" },
  },
);
let roots = [{ uri: "file:///home/ada", name: "home" }];
client.setRequestHandler("roots/list", async () => ({ roots }));
client.setRequestHandler("sampling/createMessage", async ({ params }) => {
  assert.equal(params.messages[0].content.text, "2 + 2?");
  return { role: "assistant", content: { type: "text", text: "4" }, model: "abacus", stopReason: "endTurn" };
});
client.setRequestHandler("elicitation/create", async () => ({ action: "decline" }));
const heard = { log: [], tools: 0, updated: [] };
client.setNotificationHandler("notifications/message", ({ params }) => void heard.log.push(params.level));
client.setNotificationHandler("notifications/tools/list_changed", () => void heard.tools++);
client.setNotificationHandler("notifications/resources/updated", ({ params }) => void heard.updated.push(params.uri));

const until = async (what, holds) => {
  for (let tries = 0; !holds(); tries++) {
    assert.ok(tries < 500, `${what} never came`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};
const refused = (code, promise) =>
  assert.rejects(promise, (error) => {
    assert.equal(error.code, code);
    return true;
  });
const call = (name, args, options) => client.callTool({ name, arguments: args }, options);
const said = async (name, args) => (await call(name, args)).content[0].text;

await client.connect(transport);
assert.equal(client.getNegotiatedProtocolVersion?.() ?? "2026-07-28", "2026-07-28");
assert.equal(client.getServerVersion().name, "compere-everything");

const { tools } = await client.listTools();
assert.ok(tools.some((tool) => tool.name === "echo"));
assert.equal(await said("echo", { message: "héllo 😀" }), "héllo 😀");
assert.equal((await call("get-tiny-image", {})).content[1].mimeType, "image/png");
assert.equal((await call("get-error", { kind: "public" })).isError, true);
await refused(-32602, call("no-such-tool", {}));
await refused(-32603, call("get-error", { kind: "panic" }));
assert.ok((await call("get-structured-content", { location: "Chicago" })).structuredContent);

const steps = [];
await call(
  "trigger-long-running-operation",
  { duration: 0.2, steps: 4 },
  { onprogress: ({ progress, total }) => steps.push([progress, total]) },
);
assert.deepEqual(steps.slice(0, 3), [[1, 4], [2, 4], [3, 4]]);
const abort = new AbortController();
const long = call("trigger-long-running-operation", { duration: 600, steps: 1 }, { signal: abort.signal });
setTimeout(() => abort.abort("changed my mind"), 50);
await assert.rejects(long);

// Rounds.
assert.equal(await said("trigger-sampling-request", { prompt: "2 + 2?", maxTokens: 7 }), "abacus says: 4");
assert.match(await said("get-roots-list", {}), /home: file:\/\/\/home\/ada/);
assert.match(await said("trigger-elicitation-request", {}), /rather not/);

const prompt = await client.getPrompt({ name: "args-prompt", arguments: { city: "London" } });
assert.equal(prompt.messages[0].content.text, "What is the weather in London?");
assert.equal((await client.listResources()).resources.length, 100);
const read = await client.readResource({ uri: "demo://resource/dynamic/text/4" });
assert.match(read.contents[0].text, /^Resource 4/);
await refused(-32602, client.readResource({ uri: "demo://nothing" }));
const completed = await client.complete({
  ref: { type: "ref/prompt", name: "completable-prompt" },
  argument: { name: "department", value: "s" },
});
assert.deepEqual(completed.completion.values, ["Sales", "Support"]);

const listening = await client.listen({
  toolsListChanged: true,
  resourceSubscriptions: ["demo://resource/dynamic/text/2"],
});
assert.equal(listening.honoredFilter.toolsListChanged, true);
await call("toggle-subscriber-updates", {});
await until("an update", () => heard.updated.length > 0);
await call("toggle-subscriber-updates", {});
await call("trigger-list-changed", {});
await until("the change", () => heard.tools > 0);
await listening.close();
assert.equal(await listening.closed, "local");

const meta = { "io.modelcontextprotocol/logLevel": "error" };
await client.callTool({ name: "trigger-logging", arguments: {}, _meta: meta });
await until("the log", () => heard.log.length === 4);
assert.deepEqual(heard.log, ["error", "critical", "alert", "emergency"]);
await client.close();
console.log("everything passed");
