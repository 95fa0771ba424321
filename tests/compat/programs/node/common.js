// What both ends of the Node.js rows know: the bodies and the files of each number.
"use strict";
const fs = require("fs");
const path = require("path");

function pattern(number, size) {
  const seed = `${number}:${size};`;
  return seed.repeat(Math.ceil(size / seed.length)).slice(0, size);
}

const bodyOf = (number) => pattern(number, 1 + ((number * 977) % 40000));
const FILES = 8;
const fileOf = (number) => pattern(number % FILES, 3000 + (number % FILES) * 2000);

// A file of the folder, which must have what belongs in it.
async function checkedFile(folder, number) {
  const text = await fs.promises.readFile(path.join(folder, `file${number % FILES}`), "latin1");
  if (text !== fileOf(number)) throw new Error(`a file was read wrong: ${text.length} bytes`);
  return text;
}

function writeFiles(folder) {
  for (let number = 0; number < FILES; number++) {
    fs.writeFileSync(path.join(folder, `file${number}`), fileOf(number), "latin1");
  }
}

module.exports = { bodyOf, fileOf, checkedFile, writeFiles };
