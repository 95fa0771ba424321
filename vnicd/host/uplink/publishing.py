"""Publishes single ports of partitions behind an uplink in nat mode, and takes them back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

from vnicd.errors import Invalid, NotFound
from vnicd.host.ports.port import Ports
from vnicd.host.uplink import published
from vnicd.host.uplink.controller import Uplink
from vnicd.spec.uplink import Publish, UplinkSpec, add_published, remove_published

Change = Callable[[Iterable[Publish], Iterable[object]], tuple[Publish, ...]]


class SetUplink(Protocol):
    """Fabric.change_uplink()"""

    async def __call__(
        self, change: Callable[[UplinkSpec | None], UplinkSpec], absent: bool = ..., checks_ports: bool = ...
    ) -> None: ...


class Publishing:
    def __init__(self, uplink: Uplink, ports: Ports, set_uplink: SetUplink) -> None:
        self.uplink = uplink
        self.ports = ports
        self.set_uplink = set_uplink

    async def add_method(self, params: dict[str, Any]) -> Any:
        return await self._change(params, add_published)

    async def remove_method(self, params: dict[str, Any]) -> Any:
        return await self._change(params, remove_published)

    async def list_method(self, params: dict[str, Any]) -> Any:
        return {"published": self._list()}

    async def _change(self, params: dict[str, Any], how: Change) -> Any:
        """All ports of a request or none; those that came or went are told."""
        words = params.get("publish")
        if not isinstance(words, list) or not words:
            raise Invalid('this takes "publish", a list of ports')
        before = self._list()

        def change(uplink: UplinkSpec | None) -> UplinkSpec:
            if uplink is None:
                raise NotFound("no uplink is set", "set one with: vnicctl uplink set NIC --mode nat")
            if uplink.mode != "nat":
                hint = f"vnicctl uplink set {uplink.nic or 'NIC'} --mode nat"
                raise Invalid(f"ports are published in nat mode, and the uplink's is {uplink.mode}", hint)
            return replace(uplink, publish=how(uplink.publish, words))

        await self.set_uplink(
            change, absent=True, checks_ports=how is add_published and not params.get("held")
        )
        after = self._list()
        texts = {each["publish"] for each in before} ^ {each["publish"] for each in after}
        return {"published": [each for each in (*before, *after) if each["publish"] in texts]}

    def _list(self) -> list[dict[str, Any]]:
        ports = [port for port in self.ports if not port.is_being_removed]
        return published.to_json(self.uplink.spec, {port.spec.name: port.spec.addresses for port in ports})
