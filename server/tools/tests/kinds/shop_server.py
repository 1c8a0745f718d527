"""An MCP server made with the official package. Arguments: the folder of packages."""
import sys

sys.path.insert(0, sys.argv[1])

from mcp.server.mcpserver import MCPServer

server = MCPServer("shop")


@server.tool()
def price(item: str, count: int = 1) -> float:
    """Price of so many of an item, in euros"""
    return {"apple": 0.5, "pear": 0.75}[item] * count


@server.tool()
def stock() -> list[str]:
    """What is there"""
    return ["apple", "pear"]


server.run()
