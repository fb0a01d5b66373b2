"""The official Python client of late 2024 against `compere serve everything`.

python client_old.py stdio COMPERE WIRE_LOG
python client_old.py sse URL
"""

import sys

import anyio
import mcp.types as types
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import McpError
from mcp.shared.session import RequestResponder

heard = {"progress": [], "log": [], "updated": [], "changed": 0}
roots = [types.Root(uri="file:///home/ada", name="home")]


async def listen(session: ClientSession) -> None:
    """Answers requests and collects notifications: sessions of that age only queue them."""
    async for message in session.incoming_messages:
        if isinstance(message, RequestResponder):
            request = message.request.root
            if isinstance(request, types.ListRootsRequest):
                await message.respond(types.ClientResult(types.ListRootsResult(roots=roots)))
            elif isinstance(request, types.CreateMessageRequest):
                assert request.params.maxTokens == 7
                answer = types.CreateMessageResult(
                    role="assistant",
                    content=types.TextContent(type="text", text="4"),
                    model="abacus",
                )
                await message.respond(types.ClientResult(answer))
        elif isinstance(message, Exception):
            raise message
        else:
            note = message.root
            if isinstance(note, types.ProgressNotification):
                heard["progress"].append((note.params.progress, note.params.total))
            elif isinstance(note, types.LoggingMessageNotification):
                heard["log"].append(note.params.level)
            elif isinstance(note, types.ResourceUpdatedNotification):
                heard["updated"].append(str(note.params.uri))
            else:
                heard["changed"] += 1


async def initialize(session: ClientSession) -> types.InitializeResult:
    """As the session does it, with sampling declared too."""
    request = types.InitializeRequest(
        method="initialize",
        params=types.InitializeRequestParams(
            protocolVersion=types.LATEST_PROTOCOL_VERSION,
            capabilities=types.ClientCapabilities(
                sampling={}, roots=types.RootsCapability(listChanged=True)
            ),
            clientInfo=types.Implementation(name="interop", version="1.0.0"),
        ),
    )
    result = await session.send_request(types.ClientRequest(request), types.InitializeResult)
    await session.send_notification(
        types.ClientNotification(
            types.InitializedNotification(method="notifications/initialized")
        )
    )
    return result


async def until(what, holds):
    for _ in range(500):
        if holds():
            return
        await anyio.sleep(0.01)
    raise AssertionError(f"{what} never came")


async def refused(code, awaitable):
    try:
        await awaitable
    except McpError as error:
        # The first versions keep the code to themselves.
        found = getattr(getattr(error, "error", None), "code", code)
        assert found == code, error
        return
    raise AssertionError("was not refused")


async def exercise(session: ClientSession) -> None:
    result = await initialize(session)
    assert result.protocolVersion == "2024-11-05"
    assert result.serverInfo.name == "compere-everything"
    await session.send_ping()

    async def call(name, arguments):
        return await session.call_tool(name, arguments)

    tools = (await session.list_tools()).tools
    assert any(tool.name == "echo" for tool in tools)
    assert (await call("echo", {"message": "héllo 😀"})).content[0].text == "héllo 😀"
    assert (await call("get-tiny-image", {})).content[1].mimeType == "image/png"
    # In this revision sound travels as an embedded resource.
    assert (await call("get-tiny-sound", {})).content[0].type == "resource"
    assert (await call("get-error", {"kind": "public"})).isError
    assert (await call("get-sum", {"a": "two", "b": 3})).isError
    await refused(-32602, call("no-such-tool", {}))
    await refused(-32603, call("get-error", {"kind": "panic"}))

    params = types.CallToolRequestParams(
        name="trigger-long-running-operation", arguments={"duration": 0.2, "steps": 4}
    )
    params.meta = types.RequestParams.Meta(progressToken="p1")
    request = types.CallToolRequest(method="tools/call", params=params)
    await session.send_request(types.ClientRequest(request), types.CallToolResult)
    if types.RequestParams.model_fields.get("meta"):
        assert heard["progress"] == [(1, 4), (2, 4), (3, 4), (4, 4)], heard
    else:
        # The first release cannot send a progress token: it writes `meta` for `_meta`.
        assert heard["progress"] == []

    answer = await call("trigger-sampling-request", {"prompt": "2 + 2?", "maxTokens": 7})
    assert answer.content[0].text == "abacus says: 4"
    listed = await call("get-roots-list", {})
    assert "home: file:///home/ada" in listed.content[0].text
    roots.clear()
    await session.send_roots_list_changed()
    listed = await call("get-roots-list", {})
    assert listed.content[0].text.startswith("0 roots")

    prompts = (await session.list_prompts()).prompts
    assert any(prompt.name == "args-prompt" for prompt in prompts)
    prompt = await session.get_prompt("args-prompt", {"city": "London"})
    assert prompt.messages[0].content.text == "What is the weather in London?"
    await refused(-32602, session.get_prompt("args-prompt", {}))

    assert len((await session.list_resources()).resources) == 100
    read = await session.read_resource("demo://resource/dynamic/text/4")
    assert read.contents[0].text == "Resource 4: this is its content."
    await refused(-32002, session.read_resource("demo://nothing"))
    await session.subscribe_resource("demo://resource/dynamic/text/2")
    await call("toggle-subscriber-updates", {})
    await until("an update", lambda: heard["updated"])
    await call("toggle-subscriber-updates", {})
    await session.unsubscribe_resource("demo://resource/dynamic/text/2")

    completed = await session.complete(
        types.PromptReference(type="ref/prompt", name="completable-prompt"),
        {"name": "department", "value": "s"},
    )
    assert completed.completion.values == ["Sales", "Support"]

    await session.set_logging_level("error")
    await call("trigger-logging", {})
    await until("the log", lambda: heard["log"] == ["error", "critical", "alert", "emergency"])
    await call("trigger-list-changed", {})
    await until("the changes", lambda: heard["changed"] == 6)


async def main() -> None:
    kind, target = sys.argv[1:3]
    if kind == "sse":
        transport = sse_client(target)
    else:
        serve = ["serve", "everything", "--wire-log", sys.argv[3]]
        transport = stdio_client(StdioServerParameters(command=target, args=serve))
    async with transport as (read, write):
        async with ClientSession(read, write) as session:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen, session)
                with anyio.fail_after(60):
                    await exercise(session)
                tasks.cancel_scope.cancel()
    print("everything passed")


anyio.run(main)
