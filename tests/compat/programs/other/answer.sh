#!/bin/sh
# The program that ncat and socat start: a line says whether to echo, or of how many bytes to tell the digest.
read -r word size
if [ "$word" = digest ]; then
    head -c "$size" | sha256sum
    exec cat
fi
echo "$word"
exec cat
