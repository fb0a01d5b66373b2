"""The official Python SDK, echoing."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("bench")


@server.tool()
def echo(message: str) -> str:
    return message


server.run("stdio")
