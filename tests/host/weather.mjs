// A server of one file, as the package that tests publish holds it. VERSION is replaced.
import { createInterface } from "node:readline";
import { connect } from "node:net";

const say = (id, result) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id, result }) + "\n");
const tool = { name: "weather", description: "The weather", inputSchema: { type: "object" } };
const reach = (port) =>
  new Promise((done) => {
    try {
      const socket = connect(port, "127.0.0.1", () => done("reached"));
      socket.on("error", (error) => done(error.code));
    } catch (error) {
      done(error.code);
    }
  });

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (method === "initialize") {
    const { protocolVersion } = params;
    say(id, { protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "weather", version: "VERSION" } });
  } else if (method === "tools/list") {
    say(id, { tools: [tool] });
  } else if (method === "tools/call") {
    const { port } = params.arguments;
    const text = `VERSION ${process.argv.slice(2)} ${await reach(port)}`;
    say(id, { content: [{ type: "text", text }] });
  } else if (id !== undefined) {
    say(id, {});
  }
}
