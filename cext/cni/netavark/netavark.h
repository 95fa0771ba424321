/* The same as a plugin of netavark, podman's own network tool: create, setup, teardown and info. */
#pragma once

/* The exit code; `words` are the arguments without the program's name. */
int netavark(int count, char **words);
