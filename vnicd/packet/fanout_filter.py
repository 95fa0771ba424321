"""Which packet socket takes which inbound frame: the classic BPF program that an uplink's sockets share.

Theory of operation. The hosting daemon opens a number of packet sockets, the rx queues, on the NIC, as one
PACKET_FANOUT_CBPF group: for each inbound frame the kernel runs the group's program once and hands the frame to the
socket whose number the program returns. So the program decides, before anything is queued or woken, between

- rx queue 0, whose own filter takes nothing: frames that are for no partition are thrown away there;
- rx queue 1: multicast and broadcast, and all that is not worth an rx queue of its own;
- rx queues 2 and up, which the ports share out (`assign`): a flood to one port fills only its rx queue's buffer.

It sees a frame as receiving drivers leave it: the Ethernet header before the packet's data (SKF_LL_OFF), and offsets
from 0 in the network header, which can be read there also where a driver has put it into pages. A read beyond the
frame's end ends the program with 0, the waste rx queue.

MAC and IP addresses are looked up by a binary search tree on their low 32 bits, which mostly tell them apart; the rest
is compared in the leaf. Of an IPv6 address the rest is 96 bits, and a 32-bit hash of them is compared. So an rx queue
is a hint (also because the kernel numbers the rx queues anew while the NIC goes down or up): who reads an rx queue
looks at each frame again.

Code is put together from blocks, lists of instructions that either return or run out at their end, into the block that
follows. Jumps are relative, so blocks can be joined freely; conditional ones reach 255 instructions only, and are
helped by JA where that is too short.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Mapping

WASTE, GROUP, FIRST = 0, 1, 2
"""The rx queues: for nobody, for everybody, and the first that belongs to ports."""

SKF_LL_OFF = 0xFFE00000
SKF_AD_VLAN_TAG_PRESENT = 0xFFFFF000 + 48
MAX_INSTRUCTIONS = 4096

Instruction = tuple[int, int, int, int]
"""struct sock_filter: code, jumps if true and if false, operand."""
Block = list[Instruction]

_LD_W, _LD_H, _LD_B, _LD_W_IND, _LD_MEM = 0x20, 0x28, 0x30, 0x40, 0x60
_LDX_IMM, _LDX_MEM, _ST, _STX = 0x01, 0x61, 0x02, 0x03
_JA, _JEQ, _JGE, _JSET, _JEQ_X = 0x05, 0x15, 0x35, 0x45, 0x1D
_ADD_X, _XOR_X, _MUL, _RSH, _TAX, _RET = 0x0C, 0xAC, 0x24, 0x74, 0x07, 0x06

_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD
_ICMPV6, _SOLICITATION = 58, 135

Key = tuple[int, int, int]
"""The low 32 bits of an address, its rest (0 where none is compared), its rx queue."""


def assign(ports: Iterable[int], rx_queues: int) -> dict[int, int]:
    """The rx queue of each port, where there are `rx_queues` in all; always the same for a port."""
    own = rx_queues - FIRST
    return {port: FIRST + port % own if own > 0 else GROUP for port in ports}


def program(
    mode_shared: bool,
    nic_mac: str,
    macs: Mapping[str, int],
    addresses: Mapping[str, int],
    link: int = SKF_LL_OFF,
    network: int = 0,
) -> bytes:
    """The program, as packed struct sock_filter, for rx queues of MAC addresses or, in shared mode, of IP addresses.

    `link` and `network` are the offsets of the Ethernet header and of what follows. Where the addresses are too many
    for one program, all that might be for a partition goes to GROUP.
    """
    make = _shared if mode_shared else _bridge
    for exact in (True, False):
        code = make(_Frame(link, network, exact), nic_mac, macs, addresses)
        if len(code) <= MAX_INSTRUCTIONS:
            break
    return _pack(code)


class _Frame:
    """Where things are in a frame, and whether single addresses are looked up at all."""

    def __init__(self, link: int, network: int, exact: bool) -> None:
        self.target = [_ld(_LD_W, link + 2)], [_ld(_LD_H, link)]
        self.source = [_ld(_LD_W, link + 8)], [_ld(_LD_H, link + 6)]
        self.kind = [_ld(_LD_H, link + 12)]
        self.is_group = [_ld(_LD_B, link)]
        self.network = network
        self.exact = exact

    def word(self, offset: int, code: int = _LD_W) -> Block:
        """Load what is at an offset in the network header."""
        return [_ld(code, self.network + offset)]


def _bridge(frame: _Frame, nic_mac: str, macs: Mapping[str, int], _: Mapping[str, int]) -> Block:
    keys = _mac_keys(macs)
    if frame.exact:
        (source, source_rest), (target, target_rest) = frame.source, frame.target
        before = source + _find([(low, rest, WASTE) for low, rest, _ in keys], source_rest)
        after = target + _find(keys, target_rest) + _ret(WASTE)
    else:
        before = []
        after = ([] if nic_mac in macs else _waste(frame.target, nic_mac)) + _ret(GROUP)
    return _untagged() + before + frame.is_group + _when(_JSET, 1, _ret(GROUP)) + after


def _shared(frame: _Frame, nic_mac: str, _: Mapping[str, int], addresses: Mapping[str, int]) -> Block:
    found = [(ipaddress.ip_address(text), rx_queue) for text, rx_queue in addresses.items()]
    keys4 = [(int(address), 0, rx_queue) for address, rx_queue in found if address.version == 4]
    keys6 = [_ipv6_key(address.packed, rx_queue) for address, rx_queue in found if address.version == 6]
    find4, find6 = _find(keys4, []), _find(keys6, [_ld(_LD_MEM, 0)])
    if not frame.exact:
        find4 = find6 = _ret(GROUP)
    return (
        _untagged()
        + _waste(frame.source, nic_mac)
        + [_ld(_LDX_IMM, _TARGET_IPV6)]
        + frame.is_group
        + _either(_JSET, 1, _group(frame), _waste_others(frame.target, nic_mac))
        + frame.kind
        + _when(_JEQ, _IPV6, _load_ipv6(frame) + find6 + _ret(WASTE))
        + _either(_JEQ, _ARP, frame.word(24), _unless(_JEQ, _IPV4, _ret(WASTE)) + frame.word(16))
        + find4
        + _ret(WASTE)
    )


_TARGET_IPV6, _TARGET_SOLICITED = 24, 48
"""Where the address that counts is: in an IPv6 header, in a neighbour solicitation (without extension headers)."""


def _group(frame: _Frame) -> Block:
    """Sorts out group frames of shared mode; runs out, with X set, at questions for one partition.

    An ARP message that asks for its sender's own address announces it: that is for everybody.
    """
    announced = [*frame.word(14), (_TAX, 0, 0, 0), *frame.word(24), (_JEQ_X, 0, 1, 0), *_ret(GROUP)]
    solicited = [
        *frame.word(6, _LD_B),
        *_unless(_JEQ, _ICMPV6, _ret(GROUP)),
        *frame.word(40, _LD_B),
        *_unless(_JEQ, _SOLICITATION, _ret(GROUP)),
        _ld(_LDX_IMM, _TARGET_SOLICITED),
    ]
    other = _either(_JEQ, _IPV6, solicited, _ret(GROUP))
    return frame.kind + _either(_JEQ, _ARP, announced, other)


def _load_ipv6(frame: _Frame) -> Block:
    """The address at X: its low 32 bits in A, the hash of the rest (see _ipv6_key) in memory 0."""

    def word(number: int) -> Instruction:
        return _ld(_LD_W_IND, frame.network + 4 * number)

    add = [_ld(_LDX_MEM, 0), (_ADD_X, 0, 0, 0)]
    stir = [(_TAX, 0, 0, 0), _ld(_RSH, 15), (_XOR_X, 0, 0, 0), _ld(_MUL, _FACTOR), _ld(_ST, 0)]
    restore = _ld(_LDX_MEM, 1)
    first_two = [_ld(_STX, 1), word(0), *stir, restore, word(1), *add, *stir]
    return [*first_two, restore, word(2), *add, _ld(_ST, 0), restore, word(3)]


_FACTOR = 0x9E3779B1


def _ipv6_key(packed: bytes, rx_queue: int) -> Key:
    first, second, third, low = struct.unpack("!4I", packed)
    return low, (_stir(_stir(first) + second) + third) & 0xFFFFFFFF, rx_queue


def _stir(word: int) -> int:
    """Makes a small change of a word a large one; the shift, that it does not stay in the highest bit."""
    word &= 0xFFFFFFFF
    return (word ^ word >> 15) * _FACTOR & 0xFFFFFFFF


def _mac_words(mac: str) -> tuple[int, int]:
    """The low 32 bits and the 16 before them."""
    high, low = struct.unpack("!HI", bytes.fromhex(mac.replace(":", "")))
    return low, high


def _mac_keys(macs: Mapping[str, int]) -> list[Key]:
    return [(*_mac_words(mac), rx_queue) for mac, rx_queue in macs.items()]


def _find(keys: list[Key], load_rest: Block) -> Block:
    """Return the rx queue of the key in A; runs out when there is none. `load_rest` is what loads the rest into A."""
    by_low: dict[int, list[Key]] = {}
    for key in sorted(keys):
        by_low.setdefault(key[0], []).append(key)
    return _tree(list(by_low.values()), load_rest)


def _tree(leaves: list[list[Key]], load_rest: Block) -> Block:
    if not leaves:
        return []
    if len(leaves) == 1:
        if not load_rest:
            return _when(_JEQ, leaves[0][0][0], _ret(leaves[0][0][2]))
        ends = [_when(_JEQ, rest, _ret(rx_queue)) for _, rest, rx_queue in leaves[0]]
        return _when(_JEQ, leaves[0][0][0], load_rest + [step for end in ends for step in end])
    middle = len(leaves) // 2
    low, high = _tree(leaves[:middle], load_rest), _tree(leaves[middle:], load_rest)
    return _either(_JGE, leaves[middle][0][0], high, low)


def _untagged() -> Block:
    return [_ld(_LD_W, SKF_AD_VLAN_TAG_PRESENT), *_unless(_JEQ, 0, _ret(WASTE))]


def _waste(where: tuple[Block, Block], mac: str) -> Block:
    """Return WASTE when the MAC address at `where` is this one."""
    (load_low, load_rest), (low, rest) = where, _mac_words(mac)
    return load_low + _when(_JEQ, low, load_rest + _when(_JEQ, rest, _ret(WASTE)))


def _waste_others(where: tuple[Block, Block], mac: str) -> Block:
    """Return WASTE when the MAC address at `where` is another."""
    (load_low, load_rest), (low, rest) = where, _mac_words(mac)
    return load_low + _unless(_JEQ, low, _ret(WASTE)) + load_rest + _unless(_JEQ, rest, _ret(WASTE))


def _ld(code: int, operand: int) -> Instruction:
    """Any instruction with an operand that is no jump."""
    return code, 0, 0, operand & 0xFFFFFFFF


def _ret(rx_queue: int) -> Block:
    return [_ld(_RET, rx_queue)]


def _when(test: int, operand: int, block: Block) -> Block:
    """The block, passed over when A fails the test."""
    if len(block) <= 255:
        return [(test, 0, len(block), operand), *block]
    return [(test, 1, 0, operand), _ld(_JA, len(block)), *block]


def _unless(test: int, operand: int, block: Block) -> Block:
    """The block, passed over when A passes the test."""
    return [(test, len(block), 0, operand), *block]


def _either(test: int, operand: int, yes: Block, no: Block) -> Block:
    return _when(test, operand, [*yes, _ld(_JA, len(no))]) + no


def _pack(code: Block) -> bytes:
    return b"".join(struct.pack("=HBBI", *each) for each in code)


TAKE_NOTHING = _pack(_ret(0))
"""The filter of a packet socket that is to get no frame."""
