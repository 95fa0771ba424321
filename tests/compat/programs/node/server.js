// An HTTP server that echoes bodies and sends files: `server.js HOST PORT FOLDER`.
"use strict";
const http = require("http");
const { checkedFile, writeFiles } = require("./common.js");

const [host, port, folder] = process.argv.slice(2);
writeFiles(folder);

function answer(request, response, body) {
  const number = Number(request.url.split("/").pop());
  if (request.url.startsWith("/file/")) {
    checkedFile(folder, number).then(
      (text) => response.end(text, "latin1"),
      (error) => response.writeHead(500).end(String(error)),
    );
    return;
  }
  response.writeHead(200, { "Content-Type": "text/plain", "X-Number": number });
  response.end(Buffer.concat(body));
}

const server = http.createServer((request, response) => {
  const body = [];
  request.on("data", (piece) => body.push(piece));
  request.on("end", () => answer(request, response, body));
});
server.keepAliveTimeout = 60000;
server.listen(Number(port), host, () => console.log("listening"));
