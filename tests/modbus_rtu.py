"""An independent Modbus RTU master (pymodbus) against onenipd's serial line; run by modbus_rtu.rs.

Usage: modbus_rtu.py DEVICE. From the first heartbeat on results 1, 2, 3 ... 401 are published, as far
ahead as the tag lets them.
"""

import sys
import time

from pymodbus.client import ModbusSerialClient

RESULTS = 401


def words(answer):
    assert not answer.isError(), answer
    return answer.registers


def u32(registers, at):
    return registers[at] << 16 | registers[at + 1]


def until(done):
    for _ in range(1000):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("did not happen")


def main():
    # A pseudo-terminal has no parity, and says so.
    client = ModbusSerialClient(sys.argv[1], baudrate=19200, parity="N", stopbits=1, timeout=5)
    assert client.connect(), "no connection"
    line = {"device_id": 1}
    assert words(client.read_holding_registers(0, count=4, **line)) == [0x4F4E, 0x0100, 0x0102, 0x0304]
    assert client.read_discrete_inputs(0, count=16, **line).bits[0], "READY"
    assert len(words(client.read_input_registers(0, count=125, **line))) == 125
    assert client.write_register(4, 1, **line).exception_code == 2

    # Broadcast: the heartbeat arrives, a command does not.
    client.write_register(201, 77, device_id=0, no_response_expected=True)
    until(lambda: words(client.read_holding_registers(7, count=1, **line)) == [77])
    client.write_register(202, 5, device_id=0, no_response_expected=True)
    assert words(client.read_holding_registers(202, count=1, **line)) == [0]

    # Function 23 acknowledges n (read_index, tag) and reads n + 1 at once.
    last = 0
    while last < RESULTS:
        block = words(
            client.readwrite_registers(
                read_address=32,
                read_count=32,
                write_address=204,
                values=[last >> 16, last & 0xFFFF] * 2,
                **line,
            )
        )
        sequence = u32(block, 0)
        assert sequence == u32(block, 30), "torn"
        if sequence:
            assert sequence == last + 1, (last, sequence)
            last = sequence
    assert words(client.read_holding_registers(17, count=1, **line)) == [0], "fifo_lost"

    words(client.write_register(202, 5, **line))
    assert not client.write_coil(4, False, **line).isError()
    assert not client.write_coil(4, True, **line).isError()
    until(lambda: words(client.read_holding_registers(14, count=1, **line))[0] & 0x10)
    assert words(client.read_holding_registers(12, count=1, **line)) == [5], "product_active"
    client.close()
    print(f"{last} results in order, none lost, none twice")


main()
