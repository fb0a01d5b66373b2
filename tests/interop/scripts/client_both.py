"""The newest official Python client without a session against `compere serve everything`.

python client_both.py stdio COMPERE WIRE_LOG     pinned to 2026-07-28
python client_both.py http URL                   finds it out
"""

import sys

import anyio
import mcp_types as types
from mcp import MCPError, StdioServerParameters
from mcp.client import Client

heard = {"progress": [], "log": []}


async def on_sample(context, params):
    content = types.TextContent(type="text", text="4")
    return types.CreateMessageResult(role="assistant", content=content, model="abacus")


async def on_roots(context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///home/ada", name="home")])


async def on_elicit(context, params):
    return types.ElicitResult(action="decline")


async def on_log(params):
    heard["log"].append(params.level)


async def on_progress(progress, total, message):
    heard["progress"].append((progress, total))


async def refused(code, awaitable):
    try:
        await awaitable
    except MCPError as error:
        assert error.error.code == code, error
        return
    raise AssertionError("was not refused")


async def exercise(client: Client) -> None:
    assert client.protocol_version == "2026-07-28", client.protocol_version

    async def said(name, arguments):
        return (await client.call_tool(name, arguments)).content[0].text

    tools = (await client.list_tools()).tools
    assert any(tool.name == "echo" for tool in tools)
    assert await said("echo", {"message": "héllo 😀"}) == "héllo 😀"
    assert (await client.call_tool("get-error", {"kind": "public"})).is_error
    await refused(-32602, client.call_tool("no-such-tool", {}))
    await refused(-32603, client.call_tool("get-error", {"kind": "panic"}))
    operation = {"duration": 0.2, "steps": 4}
    await client.call_tool(
        "trigger-long-running-operation", operation, progress_callback=on_progress
    )
    assert heard["progress"][:3] == [(1, 4), (2, 4), (3, 4)], heard

    # Rounds.
    sample = {"prompt": "2 + 2?", "maxTokens": 7}
    assert await said("trigger-sampling-request", sample) == "abacus says: 4"
    assert "home: file:///home/ada" in await said("get-roots-list", {})
    assert "rather not" in await said("trigger-elicitation-request", {})

    prompt = await client.get_prompt("args-prompt", {"city": "London"})
    assert prompt.messages[0].content.text == "What is the weather in London?"
    assert len((await client.list_resources()).resources) == 100
    read = await client.read_resource("demo://resource/dynamic/text/4")
    assert read.contents[0].text.startswith("Resource 4")
    await refused(-32602, client.read_resource("demo://nothing"))
    reference = types.PromptReference(type="ref/prompt", name="completable-prompt")
    completed = await client.complete(reference, {"name": "department", "value": "s"})
    assert completed.completion.values == ["Sales", "Support"]

    uri = "demo://resource/dynamic/text/2"
    async with client.listen(tools_list_changed=True, resource_subscriptions=[uri]) as events:
        await client.call_tool("toggle-subscriber-updates", {})
        async for event in events:
            if getattr(event, "uri", None) is not None:
                assert str(event.uri) == uri
                break
        await client.call_tool("toggle-subscriber-updates", {})
        await client.call_tool("trigger-list-changed", {})
        async for event in events:
            if "Tool" in type(event).__name__:
                break

    await client.call_tool("trigger-logging", {})
    for _ in range(500):
        if len(heard["log"]) == 4:
            break
        await anyio.sleep(0.01)
    assert heard["log"] == ["error", "critical", "alert", "emergency"], heard


async def main() -> None:
    kind, target = sys.argv[1:3]
    mode = "auto"
    if kind == "stdio":
        mode = "2026-07-28"
        serve = ["serve", "everything", "--wire-log", sys.argv[3]]
        target = StdioServerParameters(command=target, args=serve)
    client = Client(
        target,
        mode=mode,
        sampling_callback=on_sample,
        list_roots_callback=on_roots,
        elicitation_callback=on_elicit,
        logging_callback=on_log,
        log_level="error",
    )
    with anyio.fail_after(60):
        async with client:
            await exercise(client)
    print("everything passed")


anyio.run(main)
