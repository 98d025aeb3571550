"""An independent Modbus master (pymodbus) beside the running line; run by modbus_line.rs.

Usage: modbus_line.py index PORT PARTS LAST: results by index (line-io 1.7 B) from LAST + 1 to PARTS;
       modbus_line.py handshake PORT PARTS: triggers and results by handshake (1.7 A).

Says "ready", then "seq decision reason score" for each result it takes, then "content".
"""

import sys
import time

from pymodbus.client import ModbusTcpClient

TRIGGER, RESULTS_ACK, PRODUCT_CHANGE = 0, 1, 4
READY, TRIGGER_READY, TRIGGER_ACK, RESULTS_VALID = 0, 2, 3, 6


def words(answer):
    assert not answer.isError(), answer
    return answer.registers


def u32(registers, at):
    return registers[at] << 16 | registers[at + 1]


def until(done):
    patience = time.monotonic() + 20
    while not done():
        assert time.monotonic() < patience, "did not happen"
        time.sleep(0.0005)


class Box:
    def __init__(self, port):
        self.client = ModbusTcpClient("127.0.0.1", port=port, timeout=10)
        assert self.client.connect(), "no connection"
        assert self.read(0, 4) == [0x4F4E, 0x0100, 0x0102, 0x0304]
        self.boot_id = self.read(8, 1)

    def read(self, address, count):
        return words(self.client.read_holding_registers(address, count=count))

    def status(self, bit):
        return self.client.read_discrete_inputs(bit, count=1).bits[0]

    def coil(self, number, value):
        assert not self.client.write_coil(number, value).isError()

    def said(self, block):
        """Checks and says one result; returns its number."""
        sequence, decision, reason = u32(block, 0), block[2], block[3]
        assert sequence == u32(block, 30), "torn"
        assert (decision == 1) == (reason == 0), block
        if decision == 2:
            assert u32(block, 6) >= u32(block, 8) and block[10] >= 1000, block
        print(sequence, decision, reason, u32(block, 6), flush=True)
        return sequence

    def change_product(self, product):
        """Line-io 1.7 C."""
        words(self.client.write_register(202, product))
        self.coil(PRODUCT_CHANGE, False)
        self.coil(PRODUCT_CHANGE, True)
        until(lambda: self.read(14, 1)[0] & 1 << PRODUCT_CHANGE)
        assert self.read(15, 1) == [0], "cmd_result"
        assert self.read(12, 1) == [product], "product_active"
        self.coil(PRODUCT_CHANGE, False)


def by_index(box, parts, last):
    """Acknowledges n and reads n + 1 in one request; `last` is what this PLC remembers."""
    while last < parts:
        acknowledged = [last >> 16, last & 0xFFFF]
        block = words(
            box.client.readwrite_registers(
                read_address=32, read_count=32, write_address=204, values=acknowledged
            )
        )
        if block[2] == 0:
            time.sleep(0.001)
            continue
        assert u32(block, 0) == last + 1, (last, block)
        last = box.said(block)
    words(box.client.write_registers(204, [last >> 16, last & 0xFFFF]))


def by_handshake(box, parts):
    """Each part triggered and each result taken by levels that take turns."""
    box.coil(TRIGGER, False)
    for part in range(1, parts + 1):
        until(lambda: box.status(TRIGGER_READY))
        box.coil(TRIGGER, True)
        until(lambda: box.status(TRIGGER_ACK))
        assert u32(box.read(20, 2), 0) == part, "trig_seq"
        box.coil(TRIGGER, False)
        assert not box.status(TRIGGER_ACK)
        until(lambda: box.status(RESULTS_VALID))
        assert box.said(box.read(32, 32)) == part
        box.coil(RESULTS_ACK, True)
        assert not box.status(RESULTS_VALID)
        box.coil(RESULTS_ACK, False)


def main():
    style, port, parts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    box = Box(port)
    until(lambda: box.status(READY))
    heartbeat = box.read(6, 1)
    until(lambda: box.read(6, 1) != heartbeat)
    print("ready", flush=True)
    if style == "index":
        by_index(box, parts, int(sys.argv[4]))
    else:
        by_handshake(box, parts)

    counters = box.read(96, 8)
    assert u32(counters, 0) == parts == sum(u32(counters, at) for at in (2, 4, 6)), counters
    assert u32(box.read(20, 2), 0) == parts, "trig_seq"
    assert box.read(16, 2) == [0, 0], "fifo_count, fifo_lost"
    assert u32(box.read(18, 2), 0) == parts, "newest_seq"
    until(lambda: box.read(22, 1) == [0])
    box.change_product(2)
    assert box.read(8, 1) == box.boot_id
    box.client.close()
    print("content", flush=True)


main()
