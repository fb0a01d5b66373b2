// An official TypeScript client that calls one tool and prints what it heard, as JSON. Whether its
// connection lives that long is up to whoever stands between.
//
// node resume.mjs URL

const [url] = process.argv.slice(2);
const second = await import("@modelcontextprotocol/client").catch(() => undefined);
const { Client } = second ?? (await import("@modelcontextprotocol/sdk/client/index.js"));
const { StreamableHTTPClientTransport } =
  second ?? (await import("@modelcontextprotocol/sdk/client/streamableHttp.js"));

const client = new Client(
  { name: "resumption", version: "1.0.0" },
  { versionNegotiation: { mode: "legacy" } },
);
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const steps = [];
const options = { onprogress: ({ progress }) => void steps.push(progress) };
const params = {
  name: "trigger-long-running-operation",
  arguments: { duration: 0.5, steps: 5 },
};
const { content } = second
  ? await client.callTool(params, options)
  : await client.callTool(params, undefined, options);
console.log(JSON.stringify({ steps, text: content[0].text }));
await client.close();
process.exit(0);
