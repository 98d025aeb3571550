"""A remote I/O coupler (pymodbus) whose coil 0 is onenipd's gate; run by modbus_fieldbus.rs.

Usage: modbus_coupler.py PORT WATCHDOG. WATCHDOG is "wago" (registers 0x1000 to 0x100A: stopped before
it is set, running after 0x100A = 1), "deaf" (takes the time and does not start) or "none". Prints
every change of coils 0 (gate), 1 (ready) and 2 (alive, only its first edges).
"""

import asyncio
import sys

from pymodbus.pdu.bit_message import WriteSingleCoilRequest
from pymodbus.pdu.register_message import WriteSingleRegisterRequest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

UNIT = 1
coils = {}
alive_edges = 0
server = None
tasks = []


def watch(watchdog):
    def trace(sending, pdu):
        global alive_edges
        if not sending and isinstance(pdu, WriteSingleCoilRequest):
            level = int(pdu.bits[0])
            if coils.get(pdu.address) != level:
                coils[pdu.address] = level
                alive_edges += pdu.address == 2
                if pdu.address != 2 or alive_edges <= 4:
                    print(f"coil {pdu.address} {level}", flush=True)
        if not sending and isinstance(pdu, WriteSingleRegisterRequest) and watchdog == "wago":
            running = {0x100A: pdu.registers[0], 0x1008: 0}.get(pdu.address)
            if running is not None:
                status = server.async_setValues(UNIT, 6, 0x1006, [running])
                tasks.append(asyncio.ensure_future(status))
        return pdu

    return trace


async def main():
    global server
    port, watchdog = int(sys.argv[1]), sys.argv[2]
    outputs = SimData(0, count=8, values=False, datatype=DataType.BITS)
    inputs = SimData(0, count=8, values=False, datatype=DataType.BITS)
    first = 0x2000 if watchdog == "none" else 0x1000
    registers = SimData(first, count=16, values=0, datatype=DataType.REGISTERS)
    process = SimData(0, count=8, values=0, datatype=DataType.REGISTERS)
    device = SimDevice(UNIT, simdata=([outputs], [inputs], [registers], [process]))
    trace = watch(watchdog)
    server = ModbusTcpServer(device, address=("127.0.0.1", port), trace_pdu=trace)
    await server.serve_forever(background=True)
    print("listening", flush=True)
    # Ends with the test that started it.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
