// The verification of the console on the command line: `node verify.mjs RECEIPT.json KEYS.json`.
import { readFile } from "node:fs/promises";
import { verify } from "../../../web/src/verify/receipt.js";

const [receipt, keys] = await Promise.all(process.argv.slice(2, 4).map(async (path) => JSON.parse(await readFile(path))));
try {
  console.log(await verify(receipt, keys));
} catch (error) {
  console.error(`NOT valid: ${error.message}`);
  process.exitCode = 1;
}
