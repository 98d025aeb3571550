//! Modbus TCP: one thread, one current-thread runtime, one task per connection.

use super::frame::{self, HEADER_BYTES, Header};
use super::results::{PublishedResult, ResultsMode};
use super::station::{Caller, Station};
use crate::line::{Alarm, LineEvent, LineSnapshot};
use crate::line_io::LineIoError;
use crate::part::{Duration, LineTime, PartResult};
use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender};
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

/// TCP keepalive: a client that vanished is noticed after some of these.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Without requests the station is kept current this often.
const TICK: Duration = Duration::from_millis(20);

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
        }
    }
}

/// The running server; dropping it closes every connection and joins its thread.
pub struct ModbusServer {
    address: SocketAddr,
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
        let listen = settings.listen;
        let refused = |error: io::Error| refusal(listen, &error);
        let listener = TcpListener::bind(listen).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(refused)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(refused)?
        };
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let station = Station::new(&settings, LineTime::now());
            let house = House { station, snapshot, results, commands, clients: 0, connected: 0 };
            let house = Rc::new(RefCell::new(house));
            let settings = Rc::new(settings);
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, async {
                tokio::select! {
                    () = accept(&listener, &settings, &house) => {}
                    () = keep_current(&house) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("modbus".into()).spawn(serve);
        let thread = thread.map_err(refused)?;
        log::info!("Modbus TCP serves {address}");
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address bound; tells the port when port 0 was asked for.
    pub fn local_address(&self) -> SocketAddr {
        self.address
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
    }
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
struct House {
    station: Station,
    snapshot: Arc<ArcSwap<LineSnapshot>>,
    results: Receiver<PartResult>,
    commands: Sender<LineEvent>,
    /// Connections ever; numbers them.
    clients: u64,
    connected: usize,
}

impl House {
    /// Takes every result and the snapshot of this moment, hands out what waits.
    fn refresh(&mut self, now: LineTime) {
        while let Ok(result) = self.results.try_recv() {
            let utc_micros = self.utc_micros(result.triggered, now);
            self.station.publish(PublishedResult { result, utc_micros }, now);
        }
        self.station.observe(**self.snapshot.load(), now);
        self.hand_out();
    }

    /// Never waits for the line: what its channel cannot take now stays and keeps its stamp.
    fn hand_out(&mut self) {
        while let Some(&event) = self.station.outbox().front() {
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

    fn answer(&mut self, pdu: &[u8], client: u64, address: IpAddr) -> Option<Vec<u8>> {
        let time = LineTime::now();
        self.refresh(time);
        let answer = frame::answer(pdu, &mut self.station, Caller { client, address, time });
        self.hand_out();
        answer
    }
}

async fn keep_current(house: &RefCell<House>) {
    loop {
        house.borrow_mut().refresh(LineTime::now());
        tokio::time::sleep(TICK).await;
    }
}

async fn accept(
    listener: &tokio::net::TcpListener,
    settings: &Rc<ModbusSettings>,
    house: &Rc<RefCell<House>>,
) {
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
        return;
    }
    if state.connected >= settings.connections {
        log::debug!("Modbus client {address} refused: {} connections", state.connected);
        return;
    }
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
        log::warn!("Modbus client {address}: no keepalive: {error}");
    }
    // An answer is one small segment the master waits for; without it only latency is worse.
    let _ = stream.set_nodelay(true);
    state.clients += 1;
    state.connected += 1;
    let (client, idle) = (state.clients, settings.idle_timeout);
    let house = Rc::clone(house);
    tokio::task::spawn_local(async move {
        let end = serve(stream, address, client, idle, &house).await;
        log::debug!("Modbus client {address} closed: {end}");
        let mut state = house.borrow_mut();
        state.connected -= 1;
        state.station.closed(client);
    });
}

/// Answers one request after the other; returns why the connection ends.
async fn serve(
    mut stream: TcpStream,
    address: IpAddr,
    client: u64,
    idle: Duration,
    house: &RefCell<House>,
) -> String {
    let mut pdu = Vec::new();
    loop {
        let header = match timeout(idle, read_request(&mut stream, &mut pdu)).await {
            Ok(Ok(Some(header))) => header,
            Ok(Ok(None)) => return "not Modbus".into(),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "idle".into(),
        };
        let answer = house.borrow_mut().answer(&pdu, client, address);
        let Some(answer) = answer else { return "not Modbus".into() };
        match timeout(idle, stream.write_all(&header.frame(&answer))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "does not read its answers".into(),
        }
    }
}

/// `None`: what came is no Modbus.
async fn read_request(stream: &mut TcpStream, pdu: &mut Vec<u8>) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER_BYTES];
    stream.read_exact(&mut bytes).await?;
    let Some(header) = Header::parse(bytes) else { return Ok(None) };
    pdu.resize(header.pdu_bytes, 0);
    stream.read_exact(pdu).await?;
    Ok(Some(header))
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
        let (commands, _) = crossbeam_channel::bounded(1);
        let error = ModbusServer::start(settings, Arc::default(), results, commands).err().unwrap();
        let text = error.to_string();
        assert!(text.contains(&listen.to_string()) && text.contains("another port"), "{text}");
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = refusal(SocketAddr::from(([0, 0, 0, 0], 502)), &denied).to_string();
        assert!(text.contains("0.0.0.0:502") && text.contains("CAP_NET_BIND_SERVICE"), "{text}");
    }
}
