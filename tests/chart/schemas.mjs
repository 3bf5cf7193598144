// Writes what kubeconform needs from an API server's own OpenAPI document: a JSON schema for each kind, in which a field
// that nobody knows is an error.
//
//   node schemas.mjs openapi.json FOLDER
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const [, , document, folder] = process.argv;
const { definitions } = JSON.parse(readFileSync(document, "utf8"));
for (const definition of Object.values(definitions)) {
  for (const field of Object.values(definition.properties ?? {})) {
    // OpenAPI 2 has no word for either.
    if (field.format === "int-or-string") {
      delete field.type;
      field.oneOf = [{ type: "string" }, { type: "integer" }];
    }
  }
  if (definition.format === "int-or-string") {
    delete definition.type;
    definition.oneOf = [{ type: "string" }, { type: "integer" }];
  }
  if (definition.properties && !definition["x-kubernetes-preserve-unknown-fields"]) {
    definition.additionalProperties ??= false;
  }
}
mkdirSync(folder, { recursive: true });
for (const [name, definition] of Object.entries(definitions)) {
  for (const { group, version, kind } of definition["x-kubernetes-group-version-kind"] ?? []) {
    // As kubeconform calls them: ingress-networking-v1.json, pod-v1.json.
    const parts = [kind, ...(group ? [group.split(".")[0]] : []), version];
    const file = `${folder}/${parts.join("-").toLowerCase()}.json`;
    writeFileSync(file, JSON.stringify({ $ref: `#/definitions/${name}`, definitions }));
  }
}
