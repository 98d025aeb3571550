//! What the station's thread serves besides its TCP clients.

use super::client::{PlcSettings, plc};
use super::rtu::{self, RtuSettings};
use super::server::House;
use std::cell::RefCell;

/// Serial line and PLC of one station; the default is neither, TCP alone.
#[derive(Clone, Debug, Default)]
pub struct Fieldbus {
    /// No TCP server: the station is on the serial line or at the PLC only.
    pub without_tcp: bool,
    /// The serial line.
    pub rtu: Option<RtuSettings>,
    /// The PLC whose registers are written and read.
    pub plc: Option<PlcSettings>,
}

impl Fieldbus {
    /// Serves both for ever.
    pub(super) async fn run(&self, house: &RefCell<House>) {
        let serial = async {
            match &self.rtu {
                Some(settings) => rtu::run(settings, house).await,
                None => std::future::pending().await,
            }
        };
        let plc = async {
            match &self.plc {
                Some(settings) => plc::run(settings, house).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(serial, plc);
    }
}
