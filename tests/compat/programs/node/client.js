// Asks the server for echoes and files: `client.js HOST PORT COUNT keep|close FOLDER`; all of them must be right.
"use strict";
const http = require("http");
const { bodyOf, fileOf, checkedFile } = require("./common.js");

const [host, port, count, kind, folder] = process.argv.slice(2);
const AT_ONCE = 8;
const REQUEST_TIMEOUT_MS = 5000;
const agent = kind === "keep" ? new http.Agent({ keepAlive: true, maxSockets: AT_ONCE }) : false;

function ask(method, path, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, path, method, agent, timeout: REQUEST_TIMEOUT_MS }, (response) => {
      const got = [];
      response.on("data", (piece) => got.push(piece));
      response.on("error", reject);
      response.on("end", () => resolve([response.statusCode, Buffer.concat(got).toString("latin1")]));
    });
    request.on("error", reject);
    request.on("timeout", () => request.destroy(new Error("no answer in time")));
    request.end(body);
  });
}

async function once(number) {
  const isFile = number % 3 === 0;
  const [status, got] = isFile
    ? await ask("GET", `/file/${number}`)
    : await ask("POST", `/echo/${number}`, bodyOf(number));
  if (status !== 200) throw new Error(`status ${status}: ${got.slice(0, 60)}`);
  if (got !== (isFile ? fileOf(number) : bodyOf(number))) throw new Error(`${got.length} bytes are wrong`);
  await checkedFile(folder, number);
}

async function main() {
  let next = 0;
  const wrong = [];
  const worker = async () => {
    while (next < Number(count)) {
      await once(next++).catch((error) => wrong.push(error.message));
      if (wrong.length > 30) return;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  console.log(`${next - wrong.length} of ${next} right${wrong.length ? `; first wrong: ${wrong[0]}` : ""}`);
  process.exit(wrong.length ? 1 : 0);
}

main();
