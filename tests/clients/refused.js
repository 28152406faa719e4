// Reads a schema and values as JSON from standard input; prints the values that Ajv refuses.
import { readFileSync } from "node:fs";
import Ajv from "ajv/dist/2020.js";

const { schema, values } = JSON.parse(readFileSync(0, "utf-8"));
const isValid = new Ajv({ strict: false }).compile(schema);
console.log(JSON.stringify(values.filter((value) => !isValid(value))));
