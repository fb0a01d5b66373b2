// The official TypeScript SDK over HTTP, echoing: `json` without sessions, `session` with them.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { CallToolRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const stateless = process.argv[2] === "json";
const sessions = new Map();
const connect = async (options) => {
  const server = new Server({ name: "bench", version: "1.0.0" }, { capabilities: { tools: {} } });
  server.setRequestHandler(CallToolRequestSchema, async ({ params }) => ({
    content: [{ type: "text", text: params.arguments.message }],
  }));
  const transport = new StreamableHTTPServerTransport(options);
  await server.connect(transport);
  return transport;
};
const answer = async (request, response) => {
  if (stateless) {
    const transport = await connect({ sessionIdGenerator: undefined, enableJsonResponse: true });
    return transport.handleRequest(request, response);
  }
  let transport = sessions.get(request.headers["mcp-session-id"]);
  transport ??= await connect({
    sessionIdGenerator: () => randomUUID(),
    onsessioninitialized: (id) => void sessions.set(id, transport),
  });
  return transport.handleRequest(request, response);
};
const listener = createServer((request, response) => void answer(request, response));
listener.listen(0, "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${listener.address().port}/mcp`);
});
