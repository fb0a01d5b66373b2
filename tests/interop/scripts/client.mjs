// An official TypeScript client against `compere serve everything`: every feature, sampling and
// roots included. Runs with the SDK of late 2024, with the newest 1.x and with 2.x alike.
//
// node client.mjs stdio COMPERE WIRE_LOG
// node client.mjs sse|http URL

import assert from "node:assert/strict";

const [kind, target, wireLog] = process.argv.slice(2);
const optional = (name) => import(name).catch(() => undefined);
const second = await optional("@modelcontextprotocol/client");
const first = second ? undefined : await import("@modelcontextprotocol/sdk/types.js");
const { Client } = second ?? (await import("@modelcontextprotocol/sdk/client/index.js"));

const open = async () => {
  if (kind === "stdio") {
    const from = second ?? (await import("@modelcontextprotocol/sdk/client/stdio.js"));
    return new from.StdioClientTransport({
      command: target,
      args: ["serve", "everything", "--wire-log", wireLog],
    });
  }
  if (kind === "sse") {
    globalThis.EventSource ??= (await optional("eventsource"))?.default;
    const from = second ?? (await import("@modelcontextprotocol/sdk/client/sse.js"));
    return new from.SSEClientTransport(new URL(target));
  }
  const from = second ?? (await import("@modelcontextprotocol/sdk/client/streamableHttp.js"));
  return new from.StreamableHTTPClientTransport(new URL(target));
};
const transport = await open();
const client = new Client(
  { name: "interop", version: "1.0.0" },
  {
    capabilities: { roots: { listChanged: true }, sampling: {} },
    versionNegotiation: { mode: "legacy" },
  },
);
// The second line names methods where the first has schemas.
const answer = (method, schema, handler) =>
  client.setRequestHandler(second ? method : first[schema], handler);
const hear = (method, schema, handler) =>
  client.setNotificationHandler(second ? method : first[schema], handler);

let roots = [{ uri: "file:///home/ada", name: "home" }];
answer("roots/list", "ListRootsRequestSchema", async () => ({ roots }));
answer("sampling/createMessage", "CreateMessageRequestSchema", async ({ params }) => {
  assert.equal(params.messages[0].content.text, "2 + 2?");
  assert.equal(params.maxTokens, 7);
  return {
    role: "assistant",
    content: { type: "text", text: "4" },
    model: "abacus",
    stopReason: "endTurn",
  };
});

const heard = { log: [], tools: 0, prompts: 0, resources: 0, updated: [] };
hear("notifications/message", "LoggingMessageNotificationSchema", ({ params }) => {
  heard.log.push(params.level);
});
hear("notifications/tools/list_changed", "ToolListChangedNotificationSchema", () => void heard.tools++);
hear("notifications/prompts/list_changed", "PromptListChangedNotificationSchema", () => void heard.prompts++);
hear("notifications/resources/list_changed", "ResourceListChangedNotificationSchema", () => void heard.resources++);
hear("notifications/resources/updated", "ResourceUpdatedNotificationSchema", ({ params }) => {
  heard.updated.push(params.uri);
});

const until = async (what, holds) => {
  for (let tries = 0; !holds(); tries++) {
    assert.ok(tries < 500, `${what} never came`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};
const refused = async (code, promise) => {
  await assert.rejects(promise, (error) => {
    assert.equal(error.code, code);
    return true;
  });
};
const call = (name, args, options) =>
  second
    ? client.callTool({ name, arguments: args }, options)
    : client.callTool({ name, arguments: args }, undefined, options);

await client.connect(transport);
assert.equal(client.getServerVersion().name, "compere-everything");
assert.ok(client.getServerCapabilities().resources.subscribe);
await client.ping();

// Tools.
const { tools } = await client.listTools();
assert.ok(tools.some((tool) => tool.name === "echo" && tool.inputSchema.type === "object"));
assert.equal((await call("echo", { message: "h\u00e9llo \u{1f600}" })).content[0].text, "h\u00e9llo \u{1f600}");
assert.equal((await call("get-sum", { a: 2, b: 3 })).content[0].text, "The sum of 2 and 3 is 5.");
// A-PROM-04
const image = (await call("get-tiny-image", {})).content[1];
assert.equal(image.mimeType, "image/png");
assert.ok(Buffer.from(image.data, "base64").length > 60);
const annotated = (await call("get-annotated-message", { messageType: "error" })).content[0];
assert.deepEqual(annotated.annotations.audience, ["user", "assistant"]);
const reference = (await call("get-resource-reference", { resourceId: 2 })).content[1];
assert.equal(reference.resource.uri, "demo://resource/dynamic/text/2");
assert.equal((await call("get-error", { kind: "public" })).isError, true);
// A-TOOL-13 A-LOG-17: the inside stays inside.
assert.equal((await call("get-error", { kind: "internal" })).content[0].text, "internal error");
assert.equal((await call("get-sum", { a: "two", b: 3 })).isError, true);
assert.equal((await call("get-resource-reference", { resourceId: 101 })).isError, true);
await refused(-32602, call("get-error", { kind: "protocol" }));
await refused(-32603, call("get-error", { kind: "panic" }));
await refused(-32602, call("no-such-tool", {}));

// Progress and cancellation.
const steps = [];
await call(
  "trigger-long-running-operation",
  { duration: 0.2, steps: 4 },
  { onprogress: ({ progress, total }) => steps.push([progress, total]) },
);
// This client drops progress that stands in the same read as the answer, so the last may be lost.
assert.deepEqual(steps.slice(0, 3), [[1, 4], [2, 4], [3, 4]]);
const abort = new AbortController();
const long = call(
  "trigger-long-running-operation",
  { duration: 600, steps: 1 },
  { signal: abort.signal },
);
setTimeout(() => abort.abort("changed my mind"), 50);
await assert.rejects(long);
await client.ping();

// What the server asks.
assert.equal(
  (await call("trigger-sampling-request", { prompt: "2 + 2?", maxTokens: 7 })).content[0].text,
  "abacus says: 4",
);
assert.match((await call("get-roots-list", {})).content[0].text, /home: file:\/\/\/home\/ada/);
roots = [];
await client.sendRootsListChanged();
assert.match((await call("get-roots-list", {})).content[0].text, /^0 roots/);

// Prompts.
const { prompts } = await client.listPrompts();
assert.ok(prompts.some((prompt) => prompt.name === "args-prompt" && prompt.arguments[0].required));
const prompt = await client.getPrompt({ name: "args-prompt", arguments: { city: "London" } });
assert.equal(prompt.messages[0].content.text, "What is the weather in London?");
const embedded = await client.getPrompt({ name: "resource-prompt", arguments: { resourceId: "2" } });
// A-PROM-05 A-PROM-06 A-PROM-07
assert.deepEqual(embedded.messages[1].content, {
  type: "resource",
  resource: {
    uri: "demo://resource/dynamic/text/2",
    mimeType: "text/plain",
    text: "Resource 2: this is its content.",
  },
});
await refused(-32602, client.getPrompt({ name: "args-prompt", arguments: {} }));
await refused(-32602, client.getPrompt({ name: "no-such-prompt" }));

// Resources.
const { resources } = await client.listResources();
assert.equal(resources.length, 100);
const { resourceTemplates } = await client.listResourceTemplates();
assert.equal(resourceTemplates.length, 2);
const text = await client.readResource({ uri: "demo://resource/dynamic/text/4" });
assert.equal(text.contents[0].text, "Resource 4: this is its content.");
const blob = await client.readResource({ uri: "demo://resource/dynamic/blob/3" });
assert.equal(Buffer.from(blob.contents[0].blob, "base64").toString(), "Resource 3: this is its content.");
// The second line shows the code of the newest revision whatever the server said.
await refused(second ? -32602 : -32002, client.readResource({ uri: "demo://nothing" }));
await client.subscribeResource({ uri: "demo://resource/dynamic/text/2" });
await call("toggle-subscriber-updates", {});
await until("an update", () => heard.updated.length > 0);
assert.equal(heard.updated[0], "demo://resource/dynamic/text/2");
await call("toggle-subscriber-updates", {});
await client.unsubscribeResource({ uri: "demo://resource/dynamic/text/2" });

// Completion.
const completed = await client.complete({
  ref: { type: "ref/prompt", name: "completable-prompt" },
  argument: { name: "department", value: "s" },
});
assert.deepEqual(completed.completion.values, ["Sales", "Support"]);
const numbers = await client.complete({
  ref: { type: "ref/resource", uri: "demo://resource/dynamic/text/{id}" },
  argument: { name: "id", value: "9" },
});
assert.ok(numbers.completion.values.includes("90"));

// Logging and changes of the lists.
await client.setLoggingLevel("error");
heard.log.length = 0;
await call("trigger-logging", {});
await until("the log", () => heard.log.length === 4);
assert.deepEqual(heard.log, ["error", "critical", "alert", "emergency"]);
await call("trigger-list-changed", {});
// A-PROM-02 A-RES-03
// Behind some relays several changes at once are told once.
const all = process.argv[4] === "relayed" ? (count) => count >= 1 : (count) => count === 2;
await until("the changes", () => all(heard.tools) && all(heard.prompts) && all(heard.resources));

await client.close();
console.log("everything passed");
