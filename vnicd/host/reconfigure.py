"""Changes a partition that goes on: addresses, gateways, rate, MTU; its interface and its connections stay."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from vnicd.errors import VnicdError
from vnicd.host.partitions import kernel_ops
from vnicd.host.partitions.executor import Executor
from vnicd.host.ports.port import Port, Ports, PortState
from vnicd.host.uplink.controller import Uplink
from vnicd.kernel.limits import descriptors
from vnicd.native import directory
from vnicd.spec.partition import PartitionSpec

DESCRIPTORS = 16
"""That a change may take for a moment."""


class Reconfiguration:
    def __init__(self, ports: Ports, actions: Executor, uplink: Uplink) -> None:
        self.ports = ports
        self.actions = actions
        self.uplink = uplink

    async def reconfigure(self, port: Port, spec: PartitionSpec) -> None:
        """Bring a partition in line with a spec; when that fails it is as it was."""
        async with port.lock:
            port.check_member()
            descriptors.check_room(DESCRIPTORS, "a change")
            old = port.spec
            self.uplink.check(spec)
            self.ports.check_addresses(spec)
            try:
                await self._make_so(port, old, spec)
                self.actions.save()
            except BaseException:
                with suppress(VnicdError, OSError):  # the first error tells more than a second one
                    await self._make_so(port, spec, old, is_known=False)
                raise

    async def _make_so(
        self, port: Port, old: PartitionSpec, new: PartitionSpec, is_known: bool = True
    ) -> None:
        """The rate, the interface, the directory, the uplink, the neighbours; what is known to be so is not touched."""
        relay, kernel = self.actions.relay, self.actions.kernel
        port.change_spec(new)
        relay.set_rate(port)
        wanted = replace(port.following, mtu=self.uplink.mtu(new))
        have = port.following if is_known else None
        state = directory.LIVE if port.state is PortState.UP else directory.DOWN
        kept = replace(new, rate=old.rate, rate_in=old.rate_in, mtu=old.mtu, aliases=old.aliases)
        if wanted == have and kept == old:
            relay.announce(port, state)  # peers wait longer for what a rate limit delays
            return
        await kernel(lambda: kernel_ops.reconfigure(old, port.location, wanted, have))
        port.shall_follow(wanted)
        relay.announce(port, state)
        await self.uplink.admit()
        if added := set(new.addresses) - set(old.addresses):
            await kernel(lambda: kernel_ops.announce_addresses(port.location, added))
