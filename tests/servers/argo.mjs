// Argo CD's side of a health check: argo.mjs SITUATIONS SCRIPT runs the Lua script for each object of the file, and
// prints one line of JSON, a list of what it gave. fengari is Lua in JavaScript.
import { readFileSync } from "node:fs";
import fengari from "fengari";

const { lua, lauxlib, lualib, to_luastring } = fengari;

/** A value as Lua writes it; null is not there, as in Argo CD. */
function literal(value) {
  if (Array.isArray(value)) return `{${value.map(literal).join(",")}}`;
  if (value && typeof value === "object") {
    const there = Object.entries(value).filter(([, inner]) => inner !== null);
    return `{${there.map(([key, inner]) => `[${literal(key)}]=${literal(inner)}`).join(",")}}`;
  }
  if (typeof value !== "string") return String(value);
  const bytes = [...Buffer.from(value, "utf8")];
  return `"${bytes.map((byte) => `\\${String(byte).padStart(3, "0")}`).join("")}"`;
}

function health(script, object) {
  const state = lauxlib.luaL_newstate();
  lualib.luaL_openlibs(state);
  const source = `local obj = ${literal(object)}
    local function health() ${script}
    end
    local given = health()
    return given.status, given.message`;
  if (lauxlib.luaL_dostring(state, to_luastring(source)) !== lua.LUA_OK) {
    throw new Error(lua.lua_tojsstring(state, -1));
  }
  return { status: lua.lua_tojsstring(state, -2), message: lua.lua_tojsstring(state, -1) };
}

const [situations, script] = process.argv.slice(2);
const objects = JSON.parse(readFileSync(situations, "utf8"));
console.log(JSON.stringify({ given: objects.map(({ object }) => health(script, object)) }));
