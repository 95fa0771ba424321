"""A network of a test: a fabric beside another one, added to it by `vnicctl network add` and removed with it."""

from __future__ import annotations

from pathlib import Path

from tests.framework.fabric.fabric import Fabric


class Network(Fabric):
    def __init__(self, default: Fabric, name: str) -> None:
        super().__init__(Path(default.runtime, "networks", name), default.tag, default.netns)
        self.default, self.network = default, name

    def begin(self, *options: str) -> Network:
        """Add it; it is removed when the default one is closed."""
        self.default.cli("network", "add", self.network, *options)
        self.default._stack.callback(self.end)
        return self

    def end(self) -> None:
        self._stack.close()
        if self.network in names(self.default):
            self.default.cli("network", "remove", self.network, "--force")


def names(default: Fabric) -> set[str]:
    """Of all networks but the default one."""
    return {each["name"] for each in default.json("network", "list")["networks"]} - {"default"}
