"""The official Python SDK over HTTP, echoing: `json` without sessions, `session` with them."""

import asyncio
import socket
import sys

import mcp_types as types
import uvicorn
from mcp.server.lowlevel.server import Server


async def call_tool(context, params):
    text = params.arguments["message"]
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


async def list_tools(context, params):
    return types.ListToolsResult(tools=[types.Tool(name="echo", input_schema={"type": "object"})])


async def main():
    stateless = sys.argv[1] == "json"
    server = Server("bench", on_call_tool=call_tool, on_list_tools=list_tools)
    app = server.streamable_http_app(stateless_http=stateless, json_response=stateless)
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="error")).serve(sockets=[listener])


asyncio.run(main())
