// Exchanges a byte and keeps the connection until the server ends it: `hold.js HOST PORT`.
"use strict";
const net = require("net");

const [host, port] = process.argv.slice(2);
const socket = net.connect(Number(port), host, () => {
  socket.write("GET /file/1 HTTP/1.1\r\nHost: test\r\n\r\n");
});
socket.once("data", () => console.log("held"));
socket.on("error", (error) => console.log(error.message));
socket.on("close", () => {
  console.log("ended");
  process.exit(0);
});
