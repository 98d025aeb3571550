//! A PLC as the slave: results and status go to its registers, its command block comes from there
//! and is carried out by the station like a server's writes.

use super::codec::{Answer, BadAnswer, Exchange, MasterRequest};
use super::{BACKOFF, CONNECT_TIMEOUT, TIMEOUT, longer};
use crate::line_io::modbus::server::House;
use crate::part::Duration;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, sleep, timeout};

/// The command block, from the base register on: HR 200 to 207 of the server's map.
const COMMANDS: u16 = 64;
/// Its words.
const COMMAND_WORDS: u16 = 8;
/// The command block's words in the order they are carried out, each group one write: first of
/// the block, how many. The heartbeat is for itself: a command that is refused must not hide it.
const GROUPS: [(usize, usize, &str); 5] = [
    (1, 1, "plc_heartbeat"),
    (6, 2, "tag"),
    (4, 2, "read_index"),
    (2, 1, "product_req"),
    (0, 1, "ctrl"),
];
/// First register of the server's map that is read for the PLC: the status.
const STATUS: u16 = 4;
/// Registers from there to the end of the head result (63).
const STATUS_AND_RESULT: u16 = 60;
/// Where in these the head result starts (32).
const RESULT: usize = 28;

/// The PLC and its registers (line-io 1.4, client mode).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlcSettings {
    /// Its Modbus server.
    pub address: SocketAddr,
    /// Its unit.
    pub unit: u8,
    /// Base register B: head result at B, status at B + 32, command block at B + 64.
    pub register: u16,
    /// Words of status from a = 4 on: 8 (line-io) to 24.
    pub status_registers: u16,
    /// How often both are exchanged.
    pub cycle: Duration,
    /// An answer is waited for this long, twice.
    pub timeout: Duration,
}

impl PlcSettings {
    /// The defaults of the contract, at register 0.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            unit: 255,
            register: 0,
            status_registers: 8,
            cycle: Duration::from_millis(20),
            timeout: TIMEOUT,
        }
    }
}

/// Why a connection to the PLC ends.
#[derive(Debug, Error)]
enum End {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer, twice")]
    Silent,
    #[error("{0}")]
    Bad(#[from] BadAnswer),
    #[error(
        "registers {first} to {last} are refused with exception {code}; \
         modbus_client.register must name a writable area of the PLC"
    )]
    Refused { first: u32, last: u32, code: u8 },
}

/// Serves the PLC for ever; a connection lost is made again.
pub(in crate::line_io::modbus) async fn run(settings: &PlcSettings, house: &RefCell<House>) {
    let address = settings.address;
    let (mut pause, mut down) = (BACKOFF.0, false);
    loop {
        let end = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let client = house.borrow_mut().enter();
                let on_first = || {
                    log::info!("Modbus client: results go to the PLC {address}");
                    (pause, down) = (BACKOFF.0, false);
                };
                let end = serve(stream, settings, client, house, on_first).await;
                house.borrow_mut().leave(client);
                end
            }
            Ok(Err(error)) => End::Io(error),
            Err(_) => End::Io(io::ErrorKind::TimedOut.into()),
        };
        if !down {
            down = true;
            log::error!("Modbus client: PLC {address}: {end}; tried again until it answers");
        }
        sleep(pause).await;
        pause = longer(pause);
    }
}

/// Exchanges both blocks once per cycle; returns why it cannot go on.
async fn serve(
    stream: TcpStream,
    settings: &PlcSettings,
    client: u64,
    house: &RefCell<House>,
    on_first: impl FnOnce(),
) -> End {
    // Small segments that are waited for; without it only latency is worse.
    let _ = stream.set_nodelay(true);
    let mut link = Link { stream, exchange: Exchange::new(settings.unit), settings };
    let mut commands = Commands { client, settings, refused: [0; GROUPS.len()] };
    let mut on_first = Some(on_first);
    let mut ticks = tokio::time::interval(settings.cycle);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(end) = link.cycle(&mut commands, house).await {
            return end;
        }
        if let Some(tell) = on_first.take() {
            tell();
        }
    }
}

/// A connection to the PLC.
struct Link<'a> {
    stream: TcpStream,
    exchange: Exchange,
    settings: &'a PlcSettings,
}

impl Link<'_> {
    /// Commands in, then results and status out: an acknowledgement shows within one cycle.
    async fn cycle(
        &mut self,
        commands: &mut Commands<'_>,
        house: &RefCell<House>,
    ) -> Result<(), End> {
        let base = self.settings.register;
        let address = base.saturating_add(COMMANDS);
        let read = MasterRequest::ReadRegisters { address, quantity: COMMAND_WORDS };
        if let Answer::Words(block) = self.ask(&read).await? {
            commands.carry_out(&block, house);
        }
        // A line thread that stands still writes nothing: the PLC sees hb_box stand still.
        if let Some(words) = commands.results(house) {
            self.ask(&MasterRequest::WriteRegisters { address: base, words: &words }).await?;
        }
        Ok(())
    }

    /// Asks once, and once more.
    async fn ask(&mut self, request: &MasterRequest<'_>) -> Result<Answer, End> {
        for _ in 0..2 {
            let frame = self.exchange.ask(request);
            match timeout(self.settings.timeout, self.transact(&frame, request)).await {
                Ok(Ok(Answer::Exception(code))) => return Err(refused(request, code)),
                Ok(answered) => return answered,
                Err(_) => {}
            }
        }
        Err(End::Silent)
    }

    async fn transact(&mut self, frame: &[u8], request: &MasterRequest<'_>) -> Result<Answer, End> {
        self.stream.write_all(frame).await?;
        let mut bytes = [0; 512];
        loop {
            if let Some(answer) = self.exchange.answer(request)? {
                return Ok(answer);
            }
            match self.stream.read(&mut bytes).await? {
                0 => return Err(End::Io(io::ErrorKind::UnexpectedEof.into())),
                read => self.exchange.feed(bytes.get(..read).unwrap_or_default()),
            }
        }
    }
}

fn refused(request: &MasterRequest<'_>, code: u8) -> End {
    let (first, count) = match *request {
        MasterRequest::ReadRegisters { address, quantity } => (address, u32::from(quantity)),
        MasterRequest::WriteRegisters { address, words } => (address, words.len() as u32),
        MasterRequest::WriteCoil { address, .. } | MasterRequest::WriteRegister { address, .. } => {
            (address, 1)
        }
    };
    let first = u32::from(first);
    End::Refused { first, last: first + count - 1, code }
}

/// The PLC as a client of the station.
struct Commands<'a> {
    client: u64,
    settings: &'a PlcSettings,
    /// Exception of each group's last write; 0 none.
    refused: [u8; GROUPS.len()],
}

impl Commands<'_> {
    fn ask(&self, request: &MasterRequest<'_>, house: &RefCell<House>) -> Option<Vec<u8>> {
        house.borrow_mut().answer(&request.pdu(), self.client, self.settings.address.ip())
    }

    /// Writes the command block as a master of the server would.
    fn carry_out(&mut self, block: &[u16], house: &RefCell<House>) {
        for (index, &(first, count, name)) in GROUPS.iter().enumerate() {
            let Some(words) = block.get(first..first + count) else { continue };
            let address = 200 + first as u16;
            let answer = self.ask(&MasterRequest::WriteRegisters { address, words }, house);
            let code = match answer.as_deref() {
                Some([0x90, code]) => *code,
                _ => 0,
            };
            let before = self.refused.get_mut(index).map(|old| std::mem::replace(old, code));
            if code != 0 && before != Some(code) {
                let plc = self.settings.address;
                log::warn!(
                    "Modbus client: {name} = {words:?} of PLC {plc} refused, exception {code}"
                );
            }
        }
    }

    /// Head result, then status, of one moment; `None` while the line is silent.
    fn results(&self, house: &RefCell<House>) -> Option<Vec<u16>> {
        let read = MasterRequest::ReadRegisters { address: STATUS, quantity: STATUS_AND_RESULT };
        let answer = self.ask(&read, house)?;
        let [3, _, data @ ..] = answer.as_slice() else { return None };
        let (pairs, _) = data.as_chunks::<2>();
        let words = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
        let result = words.clone().skip(RESULT);
        Some(result.chain(words.take(usize::from(self.settings.status_registers))).collect())
    }
}
