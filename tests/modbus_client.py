"""An independent Modbus master (pymodbus) against onenipd's server; run by modbus_client.rs.

Usage: modbus_client.py PORT. From the first heartbeat on results 1, 2, 3 ... are published, one
every 2 ms: part n has score n % 100 / 100 against threshold 0.5, and tag 7 n.
"""

import sys
import time

from pymodbus.client import ModbusTcpClient

RESULTS = 401


def connect(port):
    client = ModbusTcpClient("127.0.0.1", port=port, timeout=10)
    assert client.connect(), "no connection"
    return client


def words(answer):
    assert not answer.isError(), answer
    return answer.registers


def u32(registers, at):
    return registers[at] << 16 | registers[at + 1]


def exception(answer):
    assert answer.isError(), answer
    return answer.exception_code


def until(done):
    for _ in range(1000):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("did not happen")


def check_result(block):
    """One result block of 32 registers; returns its sequence number, 0 for none."""
    sequence = u32(block, 0)
    assert sequence == u32(block, 30), "torn"
    if sequence == 0:
        assert not any(block), block
        return 0
    score = sequence % 100 / 100
    passes = score < 0.5
    assert block[2] == (1 if passes else 2) and block[3] == (0 if passes else 100), block
    assert u32(block, 6) == round(score * 10000) and u32(block, 8) == 5000, block
    assert abs(block[10] - 2000 * score) <= 1, block
    assert u32(block, 18) == 1000 and u32(block, 20) == 1000, "verdict_us, slack_us"
    assert u32(block, 22) == 0xFFFFFFFF and u32(block, 28) == 7 * sequence, "enc0, tag"
    utc_us = u32(block, 24) << 32 | u32(block, 26)
    assert abs(utc_us / 1e6 - time.time()) < 3600, utc_us
    return sequence


def site_check(client):
    identity = words(client.read_holding_registers(0, count=4))
    assert identity == [0x4F4E, 0x0100, 0x0102, 0x0304], identity
    assert words(client.read_input_registers(0, count=4)) == identity
    status = client.read_discrete_inputs(0, count=16).bits
    assert status[0] and status[2] and not status[12], "READY, TRIGGER_READY, no FAULT"
    assert words(client.read_holding_registers(8, count=1)) == [77], "boot_id"
    assert words(client.read_holding_registers(12, count=1)) == [3], "product_active"


def refusals(client, other):
    assert exception(client.write_register(4, 1)) == 2, "read-only"
    assert exception(client.write_register(204, 1)) == 2, "half of a u32"
    assert exception(client.read_holding_registers(767, count=2)) == 2
    assert exception(client.write_registers(204, [0xFFFF, 0xFFFF])) == 3, "read_index ahead"
    assert exception(client.write_register(200, 0x8000)) == 3, "reserved bit"
    assert exception(client.write_coil(2, True)) == 3, "INHIBIT not allowed"
    words(client.write_registers(206, [0x0102, 0x0304]))
    assert exception(other.write_register(202, 1)) == 6, "second writer"
    assert words(other.read_holding_registers(206, count=2)) == [0x0102, 0x0304]


def commands(client):
    """Edge commands: write 1, wait for ctrl_echo, read cmd_result, write 0."""
    words(client.write_registers(200, [0, 11]))
    assert words(client.read_holding_registers(7, count=1)) == [11], "hb_echo"
    for product, active, result in [(5, 5, 0), (99, 0, 2)]:
        words(client.write_register(202, product))
        assert not client.write_coil(4, True).isError()
        until(lambda: words(client.read_holding_registers(14, count=1))[0] & 0x10)
        assert words(client.read_holding_registers(15, count=1)) == [result]
        assert words(client.read_holding_registers(12, count=1)) == [active]
        assert not client.write_coil(4, False).isError()
        assert words(client.read_holding_registers(14, count=1)) == [0]
    assert client.read_coils(0, count=16).bits == [False] * 16


def consume(client):
    """Acknowledges n and reads n + 1 at once (FC23) until every result is read."""
    read, last, lost = 0, 0, 0
    while last < RESULTS:
        block = words(
            client.readwrite_registers(
                read_address=32, read_count=32, write_address=204, values=[last >> 16, last & 0xFFFF]
            )
        )
        sequence = check_result(block)
        head = words(client.read_holding_registers(32, count=2))
        assert sequence == 0 or u32(head, 0) == sequence, "the head stays until acknowledged"
        if sequence:
            assert sequence > last, (last, sequence)
            lost += sequence - last - 1
            read, last = read + 1, sequence
            assert client.read_discrete_inputs(6, count=1).bits[0], "RESULTS_VALID"
        if read == 5:
            # A master that stops for a while: 64 results wait, the rest is counted as lost.
            until(lambda: u32(words(client.read_holding_registers(18, count=2)), 0) > 150)
            assert client.read_discrete_inputs(7, count=1).bits[0], "RESULTS_OVERRUN"
    assert client.read_discrete_inputs(5, count=1).bits[0], "COMPLETED toggled 401 times"
    assert lost > 0 and words(client.read_holding_registers(17, count=1)) == [lost], lost
    assert words(client.write_registers(204, [0, last])) is not None
    assert words(client.read_holding_registers(16, count=1)) == [0], "fifo_count"
    assert check_result(words(client.read_holding_registers(32, count=32))) == 0
    assert check_result(words(client.read_holding_registers(64, count=32))) == RESULTS


def counters_and_ring(client):
    counters = words(client.read_holding_registers(96, count=16))
    parts, passed, failed, unknown = (u32(counters, at) for at in (0, 2, 4, 6))
    assert parts == passed + failed + unknown == RESULTS, counters
    assert (passed, failed) == (201, 200), counters
    assert u32(words(client.read_holding_registers(20, count=2)), 0) == RESULTS, "trig_seq"
    for sequence in range(RESULTS - 63, RESULTS + 1):
        entry = words(client.read_input_registers(256 + 8 * (sequence % 64), count=8))
        assert u32(entry, 0) == entry[7] == sequence and entry[5:7] == [3, 0xFFFF], entry
    assert not client.write_coil(6, False).isError()
    assert not client.write_coil(6, True).isError()
    until(lambda: words(client.read_holding_registers(14, count=1)) == [0x40])
    assert words(client.read_holding_registers(96, count=16)) == [0] * 16


def main():
    port = int(sys.argv[1])
    client, other = connect(port), connect(port)
    site_check(client)
    refusals(client, other)
    commands(client)
    consume(client)
    counters_and_ring(client)
    client.close()
    until(lambda: not other.write_register(202, 1).isError())
    other.close()


main()
