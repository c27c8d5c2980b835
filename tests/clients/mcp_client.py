"""The official MCP client against `pagesight mcp` and `/mcp`.

    python mcp_client.py PROGRAM INDEX

Wants `pip install mcp`; `make test-clients` makes an environment for it.
"""

import asyncio
import json
import subprocess
import sys

import jsonschema
from mcp import Client, MCPError, StdioServerParameters

# By `initialize`, and the revision without it.
MODES = ["legacy", "2026-07-28", "auto"]


async def check(client):
    assert "path#page" in (client.instructions or "path#page")
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"search", "get_page", "list_documents", "status"}, tools
    schemas = sum(len(tool.model_dump_json(by_alias=True, exclude_none=True)) for tool in tools.values())
    assert schemas < 16_000, schemas
    for tool in tools.values():
        hints = tool.annotations
        assert hints.read_only_hint and hints.idempotent_hint and hints.open_world_hint is False
        assert tool.input_schema["additionalProperties"] is False
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)

    async def call(name, **arguments):
        result = await client.call_tool(name, arguments)
        if not result.is_error:
            jsonschema.validate(result.structured_content, tools[name].output_schema)
        return result

    found = await call("search", query="travel expenses in total", k=5)
    assert not found.is_error, found
    size = len(found.model_dump_json(by_alias=True, exclude_none=True))
    assert size < 32_768, size
    hit = found.structured_content["hits"][0]
    page = await call("get_page", ref=hit["ref"], query="travel expenses")
    assert [part.type for part in page.content] == ["image", "text"]
    assert len(page.content[0].data) < 200_000 * 4 / 3 + 4
    assert page.structured_content["region"]["rect_pt"]
    by_path = await call("get_page", ref=f"{hit['path']}#{hit['page']}", include=["text"])
    assert [part.type for part in by_path.content] == ["text"]
    part = await call("get_page", ref=hit["ref"], include=["image"], region=[50, 50, 250, 150])
    assert part.content[0].mime_type == "image/jpeg"
    listed = await call("list_documents", limit=1)
    assert len(listed.structured_content["documents"]) == 1
    assert not (await call("status")).is_error
    for name, arguments, said in [
        ("search", {"query": "a", "limit": 1}, "limit"),
        ("search", {"query": ""}, "invalid_value"),
        ("search", {"query": "a", "k": 21}, "invalid_value"),
        ("get_page", {"ref": "../../etc/passwd#1"}, "document_not_found"),
        ("get_page", {"ref": "ffffffffffffffff-1"}, "page_not_found"),
    ]:
        wrong = await call(name, **arguments)
        assert wrong.is_error and said in wrong.content[0].text, (name, arguments, wrong)
    templates = await client.list_resource_templates()
    assert templates.resource_templates[0].uri_template == "pagesight://{index}/{ref}"
    link = next(part for part in found.content if part.type == "resource_link")
    read = await client.read_resource(link.uri)
    assert [content.mime_type for content in read.contents] == ["text/plain", "image/jpeg"]
    for uri in ["pagesight://other/ffffffff-1", "file:///etc/passwd"]:
        try:
            await client.read_resource(uri)
        except MCPError as error:
            assert error.error.code == -32602, error
        else:
            raise SystemExit(f"{uri} was read")


async def main():
    program, index = sys.argv[1], sys.argv[2]
    for mode in MODES:
        parameters = StdioServerParameters(command=program, args=["mcp", index])
        async with Client(parameters, mode=mode) as client:
            await check(client)
        print(f"stdio, {mode}: as it should be")
    server = subprocess.Popen(
        [program, "serve", index, "--bind", "127.0.0.1:0", "--json", "--quiet"],
        stdout=subprocess.PIPE,
    )
    try:
        url = json.loads(server.stdout.readline())["url"] + "/mcp"
        for mode in MODES:
            async with Client(url, mode=mode) as client:
                await check(client)
            print(f"http, {mode}: as it should be")
    finally:
        server.terminate()
    assert server.wait() == 0


asyncio.run(main())
