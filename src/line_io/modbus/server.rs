//! Modbus TCP: one thread, one current-thread runtime, one task per connection.

use super::fieldbus::Fieldbus;
use super::frame::{self, HEADER_BYTES, Header};
use super::results::{PublishedResult, ResultsMode};
use super::station::{Caller, Station};
use super::traffic::{Counted, Teller, Traffic};
use crate::line::{Alarm, LineEvent, LineSnapshot};
use crate::line_io::LineIoError;
use crate::line_io::channel::Sender;
use crate::line_io::realtime::{self, RealtimeSettings};
use crate::part::{Duration, LineTime, PartResult};
use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// TCP keepalive: a silent client is asked this often whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// A client that acknowledges nothing for so long, data or keepalive, is gone.
const GONE_AFTER: Duration = Duration::from_secs(15);
/// From its first byte a request must be complete, and its answer taken, within this.
const REQUEST_TIME: Duration = Duration::from_secs(1);
/// Without requests the station is kept current this often.
const TICK: Duration = Duration::from_millis(20);
/// Modbus may fill this share of the line's channel: edges and verdicts always find room.
const CHANNEL_SHARE: usize = 4;

/// The server's configuration (line-io 1.4).
#[derive(Clone, Debug)]
pub struct ModbusSettings {
    /// Address and port; the port of Modbus is 502.
    pub listen: SocketAddr,
    /// How the PLC reads results.
    pub results: ResultsMode,
    /// 32 and 64 bit values with the low word first.
    pub low_word_first: bool,
    /// Connections at a time; one more is closed at once.
    pub connections: usize,
    /// A connection without a request for this long is closed.
    pub idle_timeout: Duration,
    /// The write lock is free after this long without a write.
    pub writer_timeout: Duration,
    /// The only address that may write; without it, whoever writes first.
    pub writer: Option<IpAddr>,
    /// Addresses that may connect; empty: all.
    pub allow: Vec<IpAddr>,
    /// Nobody may write.
    pub read_only: bool,
    /// Coil INHIBIT may be set.
    pub allow_inhibit: bool,
    /// Coil TRIGGER announces a part.
    pub soft_trigger: bool,
    /// Scheduling of the line, which the thread `modbus` comes behind.
    pub realtime: RealtimeSettings,
}

impl Default for ModbusSettings {
    /// The contract's defaults, on every interface.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 502)),
            results: ResultsMode::Latest,
            low_word_first: false,
            connections: 8,
            idle_timeout: Duration::from_secs(60),
            writer_timeout: Duration::from_secs(10),
            writer: None,
            allow: Vec::new(),
            read_only: false,
            allow_inhibit: false,
            soft_trigger: false,
            realtime: RealtimeSettings::default(),
        }
    }
}

/// The running server; dropping it closes every connection and joins its thread.
pub struct ModbusServer {
    address: SocketAddr,
    traffic: Counted,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ModbusServer {
    /// Binds and starts serving.
    ///
    /// `snapshot` is what the line shows, `results` what it decides, in order of sequence;
    /// commands and Modbus triggers go to `commands` with their times, without ever waiting.
    ///
    /// # Errors
    /// The address cannot be bound, or the thread not be started; with the remedy.
    pub fn start(
        settings: ModbusSettings,
        snapshot: Arc<ArcSwap<LineSnapshot>>,
        results: Receiver<PartResult>,
        commands: Sender<LineEvent>,
    ) -> Result<Self, LineIoError> {
        Self::start_with(settings, Fieldbus::default(), snapshot, results, commands)
    }

    /// As [`ModbusServer::start`], with a serial line and a PLC at the same station: one writer,
    /// one set of results.
    ///
    /// # Errors
    /// As there. A serial port or a PLC that is not there is no error: it is tried for ever.
    pub fn start_with(
        settings: ModbusSettings,
        fieldbus: Fieldbus,
        snapshot: Arc<ArcSwap<LineSnapshot>>,
        results: Receiver<PartResult>,
        commands: Sender<LineEvent>,
    ) -> Result<Self, LineIoError> {
        let listen = settings.listen;
        let refused = |error: io::Error| refusal(listen, &error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(refused)?;
        let (listener, address) = if fieldbus.without_tcp {
            (None, listen)
        } else {
            let (listener, address) = bind(listen, &runtime).map_err(refused)?;
            (Some(listener), address)
        };
        let serves_tcp = listener.is_some();
        let (stop, stopped) = oneshot::channel();
        let traffic = Counted::default();
        let counted = traffic.clone();
        let serve = move || {
            realtime::apply_ahead(&settings.realtime);
            let station = Station::new(&settings, LineTime::now());
            let house = House {
                station,
                snapshot,
                results,
                commands,
                traffic: counted,
                clients: 0,
                connected: 0,
                told: Teller::default(),
            };
            let house = Rc::new(RefCell::new(house));
            let settings = Rc::new(settings);
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, async {
                tokio::select! {
                    () = accept(listener.as_ref(), &settings, &house) => {}
                    () = keep_current(&house) => {}
                    () = fieldbus.run(&house) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("modbus".into()).spawn(serve);
        let thread = thread.map_err(refused)?;
        if serves_tcp {
            log::info!("Modbus TCP serves {address}");
        }
        Ok(Self { address, traffic, stop: Some(stop), thread: Some(thread) })
    }

    /// The address bound; tells the port when port 0 was asked for.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// What was done with clients since the start.
    pub fn traffic(&self) -> Traffic {
        self.traffic.read()
    }

    /// Closes every connection and waits for the thread.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ModbusServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the Modbus thread ended by a panic");
        }
        log::info!("Modbus TCP {}: {}", self.address, self.traffic.read());
    }
}

fn bind(
    listen: SocketAddr,
    runtime: &tokio::runtime::Runtime,
) -> io::Result<(tokio::net::TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let _inside = runtime.enter();
    Ok((tokio::net::TcpListener::from_std(listener)?, address))
}

fn refusal(listen: SocketAddr, error: &io::Error) -> LineIoError {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= of the service), \
             or listen on a port from 1024 on"
        }
        io::ErrorKind::AddrInUse => {
            "another process listens there: stop it (`ss -ltnp` names it) or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface has this address: use 0.0.0.0 or an address of this box"
        }
        _ => "the system refused it",
    };
    LineIoError::Modbus { what: listen.to_string(), reason: format!("{error}; {remedy}") }
}

/// What the tasks of the thread share; never borrowed across an await.
pub(super) struct House {
    station: Station,
    snapshot: Arc<ArcSwap<LineSnapshot>>,
    results: Receiver<PartResult>,
    commands: Sender<LineEvent>,
    traffic: Counted,
    /// Clients ever; numbers them.
    clients: u64,
    connected: usize,
    told: Teller,
}

impl House {
    /// Takes every result and the snapshot of this moment, hands out what waits. The line shows a
    /// result before it sends it, so a snapshot loaded after it has it counted.
    fn refresh(&mut self, now: LineTime) {
        while let Ok(result) = self.results.try_recv() {
            let utc_micros = self.utc_micros(result.triggered, now);
            self.station.publish(PublishedResult { result, utc_micros }, now);
        }
        self.station.observe(**self.snapshot.load(), now);
        self.hand_out();
    }

    /// Without requests: keeps the station current, tells of refusals.
    fn tick(&mut self, now: LineTime) {
        self.refresh(now);
        if let Some(traffic) = self.told.due(self.traffic.read(), now) {
            log::warn!("Modbus TCP refuses clients or requests: {traffic}");
        }
    }

    /// Never waits for the line: what its channel cannot take now stays and keeps its stamp.
    fn hand_out(&mut self) {
        let most = self.commands.capacity().div_ceil(CHANNEL_SHARE);
        while let Some(&event) = self.station.outbox().front() {
            if self.commands.len() >= most {
                break;
            }
            match self.commands.try_send(event) {
                Ok(()) => drop(self.station.outbox().pop_front()),
                Err(_) => break,
            }
        }
    }

    fn utc_micros(&self, moment: LineTime, now: LineTime) -> u64 {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok();
        let synchronised = !self.snapshot.load().alarms.contains(Alarm::Clock);
        let utc = wall.filter(|_| synchronised).and_then(|w| w.checked_sub(now.since(moment)));
        utc.and_then(|utc| u64::try_from(utc.as_micros()).ok()).unwrap_or(0)
    }

    /// A new client; its number, never used twice.
    pub(super) fn enter(&mut self) -> u64 {
        self.clients += 1;
        self.clients
    }

    /// That client is gone: its write lock is free.
    pub(super) fn leave(&mut self, client: u64) {
        self.station.closed(client);
    }

    /// Answers one request of `client` now.
    pub(super) fn answer(&mut self, pdu: &[u8], client: u64, address: IpAddr) -> Option<Vec<u8>> {
        let time = LineTime::now();
        self.refresh(time);
        let answer = frame::answer(pdu, &mut self.station, Caller { client, address, time });
        self.hand_out();
        let refused = answer.as_ref().and_then(|pdu| pdu.first()).is_some_and(|f| f & 0x80 != 0);
        self.traffic.count(|traffic| {
            traffic.requests += u64::from(answer.is_some());
            traffic.exceptions += u64::from(refused);
        });
        answer
    }
}

async fn keep_current(house: &RefCell<House>) {
    loop {
        house.borrow_mut().tick(LineTime::now());
        tokio::time::sleep(TICK).await;
    }
}

async fn accept(
    listener: Option<&tokio::net::TcpListener>,
    settings: &Rc<ModbusSettings>,
    house: &Rc<RefCell<House>>,
) {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(stream, peer.ip().to_canonical(), settings, house),
            Err(error) => {
                // Out of file descriptors, mostly: the clients connected are served on.
                log::warn!("Modbus cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Serves a new connection, or closes it: not allowed, or one too many.
fn admit(
    stream: TcpStream,
    address: IpAddr,
    settings: &Rc<ModbusSettings>,
    house: &Rc<RefCell<House>>,
) {
    let mut state = house.borrow_mut();
    let allowed = settings.allow.iter().any(|allowed| allowed.to_canonical() == address);
    if !allowed && !settings.allow.is_empty() {
        log::debug!("Modbus client {address} is not allowed");
        state.traffic.count(|traffic| traffic.not_allowed += 1);
        return;
    }
    if state.connected >= settings.connections {
        log::debug!("Modbus client {address} refused: {} connections", state.connected);
        state.traffic.count(|traffic| traffic.too_many += 1);
        return;
    }
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let socket = socket2::SockRef::from(&stream);
    let watched = socket.set_tcp_keepalive(&keepalive);
    if let Err(error) = watched.and_then(|()| socket.set_tcp_user_timeout(Some(GONE_AFTER))) {
        log::warn!("Modbus client {address}: no keepalive: {error}");
    }
    // An answer is one small segment the master waits for; without it only latency is worse.
    let _ = stream.set_nodelay(true);
    state.connected += 1;
    state.traffic.count(|traffic| traffic.connections += 1);
    let (client, idle) = (state.enter(), settings.idle_timeout);
    let house = Rc::clone(house);
    tokio::task::spawn_local(async move {
        let end = serve(stream, address, client, idle, &house).await;
        log::debug!("Modbus client {address} closed: {end}");
        let mut state = house.borrow_mut();
        state.traffic.count(|traffic| match end {
            End::Malformed => traffic.malformed += 1,
            End::Slow => traffic.slow += 1,
            End::Idle => traffic.idle += 1,
            End::Closed(_) => {}
        });
        state.connected -= 1;
        state.station.closed(client);
    });
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Closed(#[from] io::Error),
    #[error("what came is no Modbus")]
    Malformed,
    #[error("a request or an answer took too long")]
    Slow,
    #[error("nothing was asked for long")]
    Idle,
}

/// Answers one request after the other; returns why the connection ends.
async fn serve(
    mut stream: TcpStream,
    address: IpAddr,
    client: u64,
    idle: Duration,
    house: &RefCell<House>,
) -> End {
    let mut pdu = Vec::new();
    loop {
        let header = match read_request(&mut stream, &mut pdu, idle).await {
            Ok(header) => header,
            Err(end) => return end,
        };
        let answer = house.borrow_mut().answer(&pdu, client, address);
        let Some(answer) = answer else { return End::Malformed };
        match timeout(REQUEST_TIME, stream.write_all(&header.frame(&answer))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return End::Closed(error),
            Err(_) => return End::Slow,
        }
    }
}

/// Waits for the first byte as long as a client may idle; the rest must follow at once.
async fn read_request(
    stream: &mut TcpStream,
    pdu: &mut Vec<u8>,
    idle: Duration,
) -> Result<Header, End> {
    let mut first = [0; 1];
    timeout(idle, stream.read_exact(&mut first)).await.map_err(|_| End::Idle)??;
    let complete = async {
        let mut bytes = [first[0]; HEADER_BYTES];
        stream.read_exact(&mut bytes[1..]).await?;
        let header = Header::parse(bytes).ok_or(End::Malformed)?;
        pdu.resize(header.pdu_bytes, 0);
        stream.read_exact(pdu).await?;
        Ok(header)
    };
    timeout(REQUEST_TIME, complete).await.unwrap_or(Err(End::Slow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bind_errors_name_the_address_and_the_remedy() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        let settings = ModbusSettings { listen, ..ModbusSettings::default() };
        let (_, results) = crossbeam_channel::bounded(1);
        let (commands, _) = crate::line_io::channel::bounded(1);
        let error = ModbusServer::start(settings, Arc::default(), results, commands).err().unwrap();
        let text = error.to_string();
        assert!(text.contains(&listen.to_string()) && text.contains("another port"), "{text}");
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = refusal(SocketAddr::from(([0, 0, 0, 0], 502)), &denied).to_string();
        assert!(text.contains("0.0.0.0:502") && text.contains("CAP_NET_BIND_SERVICE"), "{text}");
    }
}
