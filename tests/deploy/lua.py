"""Lua as a library: the scripts for Slurm by themselves, in the interpreter that Slurm loads."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

from tests.integration.debian import UNPACKED

NAMES = ("liblua5.4.so.0", "liblua5.3.so.0", "liblua5.2.so.0", "liblua5.1.so.0")


class Lua:
    """An interpreter with its standard libraries. `OSError` where there is no Lua here."""

    def __init__(self) -> None:
        self._library = _library()
        self._library.luaL_newstate.restype = ctypes.c_void_p
        self._library.lua_tolstring.restype = ctypes.c_char_p
        self._state = ctypes.c_void_p(self._library.luaL_newstate())
        self._library.luaL_openlibs(self._state)

    def run(self, program: str) -> str:
        """The text that a program returns; `RuntimeError` with what Lua says where it fails."""
        failed = self._library.luaL_loadstring(self._state, program.encode()) or self._call()
        text = self._library.lua_tolstring(self._state, -1, None)
        self._library.lua_settop(self._state, 0)
        answer = (text or b"").decode(errors="replace")
        if failed:
            raise RuntimeError(answer)
        return answer

    def _call(self) -> int:
        if hasattr(self._library, "lua_pcallk"):
            return int(self._library.lua_pcallk(self._state, 0, 1, 0, ctypes.c_long(0), None))
        return int(self._library.lua_pcall(self._state, 0, 1, 0))


def _library() -> ctypes.CDLL:
    places = [Path(name) for name in NAMES] + [
        each for name in NAMES for each in UNPACKED.glob(f"usr/lib/*/{name}")
    ]
    for each in places:
        with suppress(OSError):
            return ctypes.CDLL(str(each))
    raise OSError(f"none of {', '.join(NAMES)}")
