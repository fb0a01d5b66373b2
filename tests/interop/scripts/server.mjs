// A server made with an official TypeScript SDK: the one of late 2024, which speaks 2024-11-05 only,
// the newest 1.x, or 2.x.
//
// node server.mjs stdio
// node server.mjs sse|http      listens on a free port of this machine and prints the URL
// node server.mjs stdio-both|http-both     2.x only: both eras

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

const kind = process.argv[2];
const optional = (name) => import(name).catch(() => undefined);
const second = await optional("@modelcontextprotocol/server");
const first = second ? undefined : await import("@modelcontextprotocol/sdk/types.js");
const { Server } = second ?? (await import("@modelcontextprotocol/sdk/server/index.js"));

const text = (value) => ({ content: [{ type: "text", text: value }] });

const make = () => {
const server = new Server(
  { name: "typescript", version: "1.0.0" },
  {
    capabilities: {
      tools: {},
      prompts: {},
      resources: { subscribe: true },
      logging: {},
      completions: {},
    },
  },
);
// The second line names methods where the first has schemas.
const on = (method, schema, handler) =>
  server.setRequestHandler(second ? method : first[schema], handler);
// Both ways of asking: through the call, where the SDK has that, and through the server.
const ask = (request, schema) =>
  second ? server.request(request) : server.request(request, first[schema]);

on("tools/list", "ListToolsRequestSchema", async ({ params }) => {
  const names = ["echo", "progress", "sample", "roots", "log"];
  const tools = names.map((name) => ({ name, inputSchema: { type: "object" } }));
  // Two pages, to be followed.
  return params?.cursor === "second"
    ? { tools: tools.slice(3) }
    : { tools: tools.slice(0, 3), nextCursor: "second" };
});
on("tools/call", "CallToolRequestSchema", async ({ params }, extra) => {
  // In the newer lines what belongs to a call goes with the call.
  // Without a session what is asked is the answer, and the call comes again with what was said.
  const brought = extra?.mcpReq?.envelope ? (extra.mcpReq.inputResponses ?? {}) : undefined;
  const round = (question) => second.inputRequired({ inputRequests: { answer: question } });
  const notify = extra?.sendNotification ?? extra?.mcpReq?.notify ?? ((note) => server.notification(note));
  switch (params.name) {
    case "echo":
      return text(params.arguments.message);
    case "progress":
      for (const progress of [1, 2, 3]) {
        await notify({
          method: "notifications/progress",
          params: { progressToken: params._meta.progressToken, progress, total: 3 },
        });
      }
      return text("done");
    case "sample": {
      if (brought) {
        const messages = [{ role: "user", content: { type: "text", text: "2 + 2?" } }];
        return brought.answer
          ? text(brought.answer.content.text)
          : round(second.inputRequired.createMessage({ messages, maxTokens: 10 }));
      }
      const answer = await ask(
        {
          method: "sampling/createMessage",
          params: {
            messages: [{ role: "user", content: { type: "text", text: "2 + 2?" } }],
            maxTokens: 10,
          },
        },
        "CreateMessageResultSchema",
      );
      return text(answer.content.text);
    }
    case "roots": {
      if (brought) {
        return brought.answer
          ? text(brought.answer.roots.map((root) => root.uri).join(" "))
          : round(second.inputRequired.listRoots());
      }
      const { roots } = await ask({ method: "roots/list" }, "ListRootsResultSchema");
      return text(roots.map((root) => root.uri).join(" "));
    }
    case "log":
      if (brought) {
        await notify({ method: "notifications/message", params: { level: "warning", data: { disk: 93 } } });
      } else {
        await server.sendLoggingMessage({ level: "warning", data: { disk: 93 } });
      }
      return text("logged");
    default:
      throw new Error("no such tool");
  }
});
on("prompts/list", "ListPromptsRequestSchema", async () => ({
  prompts: [{ name: "greet", arguments: [{ name: "name", required: true }] }],
}));
on("prompts/get", "GetPromptRequestSchema", async ({ params }) => ({
  messages: [
    { role: "user", content: { type: "text", text: `Say hello to ${params.arguments.name}.` } },
  ],
}));
on("resources/list", "ListResourcesRequestSchema", async () => ({
  resources: [{ uri: "test://text", name: "text" }],
}));
on("resources/templates/list", "ListResourceTemplatesRequestSchema", async () => ({
  resourceTemplates: [{ uriTemplate: "test://item/{id}", name: "item" }],
}));
on("resources/read", "ReadResourceRequestSchema", async ({ params }) => ({
  contents: [{ uri: params.uri, text: "plain text" }],
}));
on("resources/subscribe", "SubscribeRequestSchema", async ({ params }) => {
  setTimeout(() => server.sendResourceUpdated({ uri: params.uri }), 10);
  return {};
});
on("completion/complete", "CompleteRequestSchema", async ({ params }) => ({
  completion: { values: [`${params.argument.value}da`] },
}));
on("logging/setLevel", "SetLevelRequestSchema", async () => ({}));
return server;
};

// What was said, for clients whose connection was cut.
const events = [];
const eventStore = {
  async storeEvent(streamId, message) {
    events.push({ streamId, message });
    return String(events.length);
  },
  async getStreamIdForEventId(id) {
    return events[id - 1]?.streamId;
  },
  async replayEventsAfter(id, { send }) {
    const { streamId } = events[id - 1];
    for (let after = Number(id); after < events.length; after++) {
      const { streamId: of, message } = events[after];
      // A message without a method or an answer is an id to come back with, and nothing else.
      if (of === streamId && Object.keys(message).length > 0) {
        await send(String(after + 1), message);
      }
    }
    return streamId;
  },
};

if (kind === "stdio-both") {
  const { serveStdio } = await import("@modelcontextprotocol/server/stdio");
  serveStdio(() => {
    const server = make();
    // Something changes all the time.
    const changes = setInterval(
      () => server.sendResourceUpdated({ uri: "test://text" }).catch(() => {}),
      50,
    );
    server.onclose = () => clearInterval(changes);
    return server;
  });
} else if (kind === "http-both") {
  const { toNodeHandler } = await import("@modelcontextprotocol/node");
  const handler = second.createMcpHandler(make);
  setInterval(() => handler.notify.resourceUpdated("test://text"), 50);
  const listener = createServer(toNodeHandler(handler));
  listener.listen(0, "127.0.0.1", () => {
    console.log(`http://127.0.0.1:${listener.address().port}/mcp`);
  });
} else if (kind === "stdio") {
  const from = second ?? (await import("@modelcontextprotocol/sdk/server/stdio.js"));
  await make().connect(new from.StdioServerTransport());
} else {
  const sessions = new Map();
  const sse = async (request, response, url) => {
    const { SSEServerTransport } = await import("@modelcontextprotocol/sdk/server/sse.js");
    if (url.pathname === "/sse") {
      const transport = new SSEServerTransport("/message", response);
      sessions.set(transport.sessionId, transport);
      await make().connect(transport);
    } else {
      const transport = sessions.get(url.searchParams.get("sessionId"));
      await transport.handlePostMessage(request, response);
    }
  };
  const http = async (request, response) => {
    const from = second
      ? await import("@modelcontextprotocol/node")
      : await import("@modelcontextprotocol/sdk/server/streamableHttp.js");
    const Transport =
      from.NodeStreamableHTTPServerTransport ?? from.StreamableHTTPServerTransport;
    let transport = sessions.get(request.headers["mcp-session-id"]);
    if (!transport) {
      transport = new Transport({
        sessionIdGenerator: () => randomUUID(),
        eventStore,
        onsessioninitialized: (id) => void sessions.set(id, transport),
      });
      await make().connect(transport);
    }
    await transport.handleRequest(request, response);
  };
  const listener = createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    (kind === "sse" ? sse(request, response, url) : http(request, response)).catch((error) => {
      console.error(error);
      response.end();
    });
  });
  listener.listen(0, "127.0.0.1", () => {
    const path = kind === "sse" ? "/sse" : "/mcp";
    console.log(`http://127.0.0.1:${listener.address().port}${path}`);
  });
}
