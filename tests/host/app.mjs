// An app: the official TypeScript client, with all servers of a host behind one endpoint.
//
// node app.mjs stdio COMMAND ARGUMENT…
// node app.mjs http URL TOKEN
//
// Reads lines of JSON: {"call": tool, "with": arguments}, {"list": "tools"}, {"read": uri},
// {"prompt": name, "with": arguments}, {"complete": …}; answers each with a line, in their order of ending, by its "id".

import { createInterface } from "node:readline";

const [kind, target, ...rest] = process.argv.slice(2);
const types = await import("@modelcontextprotocol/sdk/types.js");
const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");

const open = async () => {
  if (kind === "stdio") {
    const { StdioClientTransport } = await import("@modelcontextprotocol/sdk/client/stdio.js");
    return new StdioClientTransport({ command: target, args: rest });
  }
  const { StreamableHTTPClientTransport } = await import(
    "@modelcontextprotocol/sdk/client/streamableHttp.js"
  );
  const headers = { authorization: `Bearer ${rest[0]}` };
  return new StreamableHTTPClientTransport(new URL(target), { requestInit: { headers } });
};

const client = new Client(
  { name: "app", version: "1.0.0" },
  { capabilities: { roots: { listChanged: true }, elicitation: {}, ...(process.env.WITHOUT_MODEL ? {} : { sampling: {} }) } },
);
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
client.setRequestHandler(types.ListRootsRequestSchema, async () => ({ roots: [] }));
if (!process.env.WITHOUT_MODEL) client.setRequestHandler(types.CreateMessageRequestSchema, async () => ({
  role: "assistant",
  content: { type: "text", text: "sampled by the app" },
  model: "abacus",
}));
client.setRequestHandler(types.ElicitRequestSchema, async ({ params }) => {
  say({ asked: params.message });
  return { action: "decline" };
});
client.setNotificationHandler(types.ToolListChangedNotificationSchema, () => say({ changed: "tools" }));
client.setNotificationHandler(types.LoggingMessageNotificationSchema, ({ params }) =>
  say({ log: params }),
);
await client.connect(await open());
say({ ready: true, instructions: client.getInstructions() ?? null });

const cancelled = new Map();
const act = async ({ id, ...what }) => {
  const controller = new AbortController();
  cancelled.set(id, controller);
  const progress = [];
  const options = {
    signal: controller.signal,
    timeout: 60000,
    resetTimeoutOnProgress: true,
    onprogress: (step) => progress.push(step),
  };
  try {
    if (what.list) {
      const lists = {
        tools: () => client.listTools(),
        prompts: () => client.listPrompts(),
        resources: () => client.listResources(),
        templates: () => client.listResourceTemplates(),
      };
      say({ id, result: await lists[what.list]() });
    } else if (what.call) {
      const params = { name: what.call, arguments: what.with ?? {} };
      const result = await client.callTool(params, undefined, options);
      say({ id, result, progress: progress.length });
    } else if (what.read) {
      say({ id, result: await client.readResource({ uri: what.read }) });
    } else if (what.prompt) {
      say({ id, result: await client.getPrompt({ name: what.prompt, arguments: what.with ?? {} }) });
    } else if (what.complete) {
      say({ id, result: await client.complete(what.complete) });
    } else if (what.cancel) {
      cancelled.get(what.cancel)?.abort("no longer wanted");
      say({ id, result: {} });
    }
  } catch (error) {
    say({ id, error: error.message, code: error.code });
  }
};
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => act(JSON.parse(line)));
lines.on("close", async () => {
  await client.close();
  process.exit(0);
});
