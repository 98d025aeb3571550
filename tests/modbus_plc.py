"""A PLC with a Modbus server (pymodbus) that onenipd is the master of; run by modbus_fieldbus.rs.

Usage: modbus_plc.py PORT PROGRAM COUNT. Base register 100: result at 100, status (12 words, a = 4..15) at
132, command block at 164. PROGRAM is "handshake", "index" or "heartbeat".
"""

import asyncio
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

UNIT, BASE = 1, 100
RESULTS_ACK, PRODUCT_CHANGE = 1 << 1, 1 << 4


def u32(words, at):
    return words[at] << 16 | words[at + 1]


class Plc:
    """The program's memory, and its scan."""

    def __init__(self, port):
        registers = SimData(BASE, count=72, values=0, datatype=DataType.REGISTERS)
        device = SimDevice(UNIT, simdata=[registers])
        self.server = ModbusTcpServer(device, address=("127.0.0.1", port))
        self.command = [0] * 8
        self.beats = True

    async def scan(self):
        """Commands out, results and status in, every 2 ms."""
        if self.beats:
            self.command[1] = (self.command[1] + 1) & 0xFFFF
        await self.server.async_setValues(UNIT, 16, BASE + 64, list(self.command))
        await asyncio.sleep(0.002)
        words = await self.server.async_getValues(UNIT, 3, BASE, 44)
        self.result, self.status = words[:32], words[32:]

    def bit(self, number):
        return self.status[0] >> number & 1

    def put_u32(self, at, value):
        self.command[at : at + 2] = [value >> 16, value & 0xFFFF]

    async def until(self, done, what):
        for _ in range(10_000):
            if done():
                return
            await self.scan()
        raise AssertionError(f"did not happen: {what}; status {self.status}")


def check(result, last):
    sequence = u32(result, 0)
    assert sequence == last + 1, (last, sequence)
    assert result[2] == (2 if sequence % 3 == 0 else 1), result
    assert u32(result, 28) == 7 * sequence, "tag"
    return sequence


async def take_results(plc, style, count):
    """Every result in order, none twice and none lost; the tag says how far it is."""
    last = 0
    while last < count:
        await plc.scan()
        result = plc.result
        whole = result[2] != 0 and u32(result, 0) == u32(result, 30)
        if style == "index":
            if whole and u32(result, 0) != last:
                last = check(result, last)
                plc.put_u32(4, last)
                plc.put_u32(6, last)
        elif plc.command[0] & RESULTS_ACK:
            if not plc.bit(6):
                plc.command[0] &= ~RESULTS_ACK
        elif plc.bit(6) and whole:
            last = check(result, last)
            plc.command[0] |= RESULTS_ACK
            plc.put_u32(6, last)
    await plc.until(lambda: style == "index" or not plc.bit(6), "RESULTS_VALID gone")
    plc.command[0] = 0
    print(f"{style}: {last} results in order, none lost, none twice")


async def change_product(plc):
    """line-io 1.7 C, with product_active, ctrl_echo and cmd_result from the longer status."""
    echo = lambda: plc.status[10]
    await plc.until(lambda: echo() == 0, "echo 0")
    plc.command[2], plc.command[0] = 5, PRODUCT_CHANGE
    await plc.until(lambda: echo() & PRODUCT_CHANGE, "echo of PRODUCT_CHANGE")
    assert plc.status[8] == 5 and plc.status[11] == 0, plc.status
    plc.command[0] = 0
    await plc.until(lambda: echo() == 0, "echo 0 again")
    # A reserved bit is refused; the heartbeat beside it is not.
    plc.command[0] = 0x8000
    beat = plc.command[1]
    await plc.until(lambda: (plc.status[3] - beat) & 0xFFFF in range(5, 1000), "hb_echo goes on")
    assert echo() == 0, plc.status
    plc.command[0] = 0
    print("product changed, reserved bit refused")


async def heartbeat(plc):
    """Lost when it stands still, back when it beats again; the box beats too."""
    await plc.until(lambda: plc.bit(0) and not plc.bit(15), "READY and the PLC heard")
    plc.beats = False
    await plc.until(lambda: plc.bit(15) and plc.bit(11), "PLC_LOST and ALARM")
    box = plc.status[2]
    await plc.until(lambda: plc.status[2] != box, "hb_box goes on")
    plc.beats = True
    await plc.until(lambda: not plc.bit(15), "the PLC heard again")
    print("heartbeat lost and back")


async def main():
    port, program, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    plc = Plc(port)
    await plc.server.serve_forever(background=True)
    await plc.scan()
    await plc.until(lambda: plc.status[2] != 0, "hb_box")
    if program == "heartbeat":
        await heartbeat(plc)
    else:
        await take_results(plc, program, count)
        await change_product(plc)
    await plc.server.shutdown()


asyncio.run(main())
