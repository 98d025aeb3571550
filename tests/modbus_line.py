"""An independent Modbus master (pymodbus) beside the running daemon; run by modbus_line.rs.

Usage: modbus_line.py PORT PARTS. Reads results by index until PARTS of them are consumed, holds them
against the counters, then changes the product as line-io 1.7 C says.
"""

import sys
import time

from pymodbus.client import ModbusTcpClient


def words(answer):
    assert not answer.isError(), answer
    return answer.registers


def u32(registers, at):
    return registers[at] << 16 | registers[at + 1]


def until(done):
    for _ in range(2000):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("did not happen")


def main():
    port, parts = int(sys.argv[1]), int(sys.argv[2])
    client = ModbusTcpClient("127.0.0.1", port=port, timeout=10)
    assert client.connect(), "no connection"
    assert words(client.read_holding_registers(0, count=4)) == [0x4F4E, 0x0100, 0x0102, 0x0304]
    until(lambda: client.read_discrete_inputs(0, count=16).bits[0])
    heartbeat = words(client.read_holding_registers(6, count=1))
    until(lambda: words(client.read_holding_registers(6, count=1)) != heartbeat)

    print("ready", flush=True)
    seen, last = {1: 0, 2: 0, 3: 0}, 0
    while sum(seen.values()) < parts:
        block = words(
            client.readwrite_registers(
                read_address=32, read_count=32, write_address=204, values=[last >> 16, last & 0xFFFF]
            )
        )
        sequence, decision, reason = u32(block, 0), block[2], block[3]
        assert sequence == u32(block, 30), "torn"
        if sequence == 0:
            time.sleep(0.002)
            continue
        assert sequence == last + 1, (last, sequence)
        assert (decision == 1) == (reason == 0), block
        if decision == 2:
            assert u32(block, 6) >= u32(block, 8) and block[10] >= 1000, block
        seen[decision] += 1
        last = sequence
    words(client.write_registers(204, [last >> 16, last & 0xFFFF]))

    counters = words(client.read_holding_registers(96, count=16))
    assert [u32(counters, at) for at in (0, 2, 4, 6)] == [parts, seen[1], seen[2], seen[3]], counters
    assert u32(words(client.read_holding_registers(20, count=2)), 0) == parts, "trig_seq"
    assert words(client.read_holding_registers(17, count=1)) == [0], "fifo_lost"

    until(lambda: words(client.read_holding_registers(22, count=1)) == [0])
    words(client.write_register(202, 2))
    assert not client.write_coil(4, False).isError()
    assert not client.write_coil(4, True).isError()
    until(lambda: words(client.read_holding_registers(14, count=1))[0] & 0x10)
    assert words(client.read_holding_registers(15, count=1)) == [0], "cmd_result"
    assert words(client.read_holding_registers(12, count=1)) == [2], "product_active"
    assert not client.write_coil(4, False).isError()
    client.close()
    print(f"read {sum(seen.values())} results: {seen}")


main()
