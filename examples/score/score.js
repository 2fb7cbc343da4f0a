// Reads rows as JSON, one object a line, and prints the probability of a positive for each:
//
//   LD_LIBRARY_PATH=. node score.js ctr.score < today.jsonl
//
// with the module that addon.c says how to compile.
"use strict";

const { open, columns, predict } = require("./score.node");
const { createInterface } = require("node:readline");

const [path] = process.argv.slice(2);
if (path === undefined) {
  console.error("usage: node score.js EXPORT <ROWS.jsonl");
  process.exit(1);
}
const model = open(path);
const names = columns(model).map((column) => column.name);
const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
lines.on("line", (line) => {
  const row = JSON.parse(line);
  console.log(predict(model, names.map((name) => row[name])));
});
