// A server made with the official TypeScript SDK of late 2024, which speaks 2024-11-05 only.

import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import {
  CallToolRequestSchema,
  CompleteRequestSchema,
  CreateMessageResultSchema,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListResourcesRequestSchema,
  ListRootsResultSchema,
  ListToolsRequestSchema,
  ReadResourceRequestSchema,
  SetLevelRequestSchema,
  SubscribeRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";

const server = new Server(
  { name: "late-2024", version: "1.0.0" },
  { capabilities: { tools: {}, prompts: {}, resources: { subscribe: true }, logging: {} } },
);
const text = (value) => ({ content: [{ type: "text", text: value }] });

server.setRequestHandler(ListToolsRequestSchema, async ({ params }) => {
  const names = ["echo", "progress", "sample", "roots", "log"];
  const tools = names.map((name) => ({ name, inputSchema: { type: "object" } }));
  // Two pages, to be followed.
  return params?.cursor === "second"
    ? { tools: tools.slice(3) }
    : { tools: tools.slice(0, 3), nextCursor: "second" };
});
server.setRequestHandler(CallToolRequestSchema, async ({ params }) => {
  switch (params.name) {
    case "echo":
      return text(params.arguments.message);
    case "progress":
      for (const progress of [1, 2, 3]) {
        await server.notification({
          method: "notifications/progress",
          params: { progressToken: params._meta.progressToken, progress, total: 3 },
        });
      }
      return text("done");
    case "sample": {
      const answer = await server.request(
        {
          method: "sampling/createMessage",
          params: {
            messages: [{ role: "user", content: { type: "text", text: "2 + 2?" } }],
            maxTokens: 10,
          },
        },
        CreateMessageResultSchema,
      );
      return text(answer.content.text);
    }
    case "roots": {
      const { roots } = await server.request({ method: "roots/list" }, ListRootsResultSchema);
      return text(roots.map((root) => root.uri).join(" "));
    }
    case "log":
      await server.sendLoggingMessage({ level: "warning", data: { disk: 93 } });
      return text("logged");
    default:
      throw new Error("no such tool");
  }
});
server.setRequestHandler(ListPromptsRequestSchema, async () => ({
  prompts: [{ name: "greet", arguments: [{ name: "name", required: true }] }],
}));
server.setRequestHandler(GetPromptRequestSchema, async ({ params }) => ({
  messages: [
    { role: "user", content: { type: "text", text: `Say hello to ${params.arguments.name}.` } },
  ],
}));
server.setRequestHandler(ListResourcesRequestSchema, async () => ({
  resources: [{ uri: "test://text", name: "text" }],
}));
server.setRequestHandler(ListResourceTemplatesRequestSchema, async () => ({
  resourceTemplates: [{ uriTemplate: "test://item/{id}", name: "item" }],
}));
server.setRequestHandler(ReadResourceRequestSchema, async ({ params }) => ({
  contents: [{ uri: params.uri, text: "plain text" }],
}));
server.setRequestHandler(SubscribeRequestSchema, async ({ params }) => {
  setTimeout(() => server.sendResourceUpdated({ uri: params.uri }), 10);
  return {};
});
server.setRequestHandler(CompleteRequestSchema, async ({ params }) => ({
  completion: { values: [`${params.argument.value}da`] },
}));
server.setRequestHandler(SetLevelRequestSchema, async () => ({}));

await server.connect(new StdioServerTransport());
