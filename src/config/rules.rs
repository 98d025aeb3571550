//! What keys must be to one another.

use super::Configuration;
use super::setting::Setting;
use super::units::{BeltLength, PartSpacing};
use super::words::{
    CameraSource, ClientTarget, FaultGate, ReadyMode, RunSignal, SoftTrigger, Wiring,
};
use std::time::Duration;

/// A rule broken: the key that is named, what is wrong, what to do.
pub(super) struct Broken {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) what: String,
    pub(super) remedy: String,
}

fn broken(
    section: &'static str,
    key: &'static str,
    what: impl Into<String>,
    remedy: impl Into<String>,
) -> Broken {
    Broken { section, key, what: what.into(), remedy: remedy.into() }
}

/// Every rule that the configuration breaks.
pub(super) fn check(configuration: &Configuration) -> Vec<Broken> {
    let mut found = Vec::new();
    camera(configuration, &mut found);
    line(configuration, &mut found);
    if configuration.is_by_distance() {
        distance(configuration, &mut found);
    } else {
        delay(configuration, &mut found);
    }
    frame_of_two_parts(configuration, &mut found);
    belt(configuration, &mut found);
    wires(configuration, &mut found);
    modbus(configuration, &mut found);
    modbus_client(configuration, &mut found);
    found
}

fn camera(configuration: &Configuration, found: &mut Vec<Broken>) {
    let camera = &configuration.camera;
    let (key, missing) = match camera.source {
        CameraSource::Gstreamer => ("pipeline", camera.pipeline.is_none()),
        CameraSource::Uri => ("uri", camera.uri.is_none()),
        CameraSource::Device => ("device", camera.device.is_none()),
        CameraSource::Folder => ("folder", camera.folder.is_none()),
        CameraSource::Simulated => return,
    };
    if missing {
        let source = camera.source.word();
        let what = format!("camera.source is {source:?} but camera.{key} is empty");
        found.push(broken("camera", "source", what, format!("set camera.{key}")));
    }
}

fn line(configuration: &Configuration, found: &mut Vec<Broken>) {
    let line = &configuration.line;
    if line.m_of_n_rejects > line.m_of_n_parts {
        let what = format!(
            "line.m_of_n_rejects is {}, more than the {} parts it looks back on",
            line.m_of_n_rejects, line.m_of_n_parts
        );
        found.push(broken("line", "m_of_n_rejects", what, "raise line.m_of_n_parts or lower it"));
    }
    let can_write = plc_can_write(configuration);
    if line.soft_trigger == SoftTrigger::On && !can_write {
        let what = "line.soft_trigger is \"on\", but nobody can write over Modbus";
        let remedy = "enable modbus and leave modbus.read_only false";
        found.push(broken("line", "soft_trigger", what, remedy));
    }
    let wired = configuration.gpio.trigger.is_some();
    if line.free_run && wired {
        let what = "line.free_run makes every frame a part, but gpio.trigger is wired too";
        found.push(broken("line", "free_run", what, "choose one of the two"));
    }
    let simulated = configuration.camera.source == CameraSource::Simulated;
    let soft = line.soft_trigger != SoftTrigger::Off && can_write;
    if !(wired || line.free_run || simulated || soft) {
        let what = "nothing announces a part: no trigger line, no soft trigger, no free run";
        found.push(broken("gpio", "trigger", what, "wire gpio.trigger or set line.free_run"));
    }
}

/// Parts so close that a frame is of two of them get no decision (205).
fn frame_of_two_parts(configuration: &Configuration, found: &mut Vec<Broken>) {
    let (Some(span), Some(spacing)) =
        (configuration.frame_span(), configuration.line.part_spacing_time())
    else {
        return;
    };
    if spacing >= span {
        return;
    }
    let camera = &configuration.camera;
    let what = format!(
        "a frame is a part's for camera.match_before {} + camera.match_after {} = {}, but parts come \
         every {}: a frame of two parts decides neither (205), both are rejected",
        camera.match_before.show(),
        camera.match_after.show(),
        span.show(),
        spacing.show()
    );
    let remedy = "narrow both around the time your camera takes from trigger to stamp, or space \
                  the parts";
    found.push(broken("line", "part_spacing", what, remedy));
}

/// Delay mode.
fn delay(configuration: &Configuration, found: &mut Vec<Broken>) {
    let line = &configuration.line;
    let used = line.actuation_time + line.jitter + line.guard;
    if line.delay <= used {
        let what = format!(
            "line.delay is {}, but actuation_time {} + jitter {} + guard {} = {}: no part could \
             ever pass",
            line.delay.show(),
            line.actuation_time.show(),
            line.jitter.show(),
            line.guard.show(),
            used.show()
        );
        found.push(broken("line", "delay", what, "move the ejector away from the camera"));
    }
    let of_distance = [
        ("distance", line.distance.is_some()),
        ("length", line.length.is_some()),
        ("speed_max", line.speed_max.is_some()),
        ("counts_per_mm", line.counts_per_mm.is_some()),
        ("reverse_max", line.reverse_max.is_some()),
    ];
    for (key, _) in of_distance.iter().filter(|(_, given)| *given) {
        let what = format!("line.{key} is for distance mode, but parts are followed by time");
        let remedy = "wire gpio.encoder_a and encoder_b, or take it out";
        found.push(broken("line", key, what, remedy));
    }
    if configuration.gpio.encoder_a.is_some() || configuration.gpio.encoder_b.is_some() {
        let what = "line.mode is \"delay\", but an encoder is wired";
        found.push(broken("line", "mode", what, "set line.mode = \"distance\" or unwire it"));
    }
    if let Some(PartSpacing::Length(length)) = line.part_spacing {
        let what = format!(
            "line.part_spacing is {}, but parts are followed by time and no speed is known",
            length.show()
        );
        found.push(broken("line", "part_spacing", what, "write it as a time, like \"80 ms\""));
    }
}

/// Most edges per second that are followed over GPIO (line-io 1.3).
const EDGES_PER_SECOND: f64 = 4000.0;

/// Distance mode.
fn distance(configuration: &Configuration, found: &mut Vec<Broken>) {
    let (line, gpio) = (&configuration.line, &configuration.gpio);
    for (key, wire) in [("encoder_a", &gpio.encoder_a), ("encoder_b", &gpio.encoder_b)] {
        if wire.is_none() {
            let what = format!("parts are followed by distance, but gpio.{key} is not wired");
            found.push(broken("gpio", key, what, "wire both, or set line.mode = \"delay\""));
        }
    }
    let needed = [
        ("distance", line.distance.is_some()),
        ("length", line.length.is_some()),
        ("speed_max", line.speed_max.is_some()),
    ];
    for (key, _) in needed.iter().filter(|(_, given)| !given) {
        let what = format!("parts are followed by distance, but line.{key} is empty");
        found.push(broken("line", key, what, format!("set line.{key}")));
    }
    let spacing = match line.part_spacing {
        Some(PartSpacing::Length(length)) => Some(length),
        Some(PartSpacing::Time(_)) | None => None,
    };
    let lengths = [
        ("distance", line.distance),
        ("length", line.length),
        ("reverse_max", line.reverse_max),
        ("part_spacing", spacing),
    ];
    let without_scale = |length: BeltLength| line.counts(length).is_none();
    let lengths = lengths.iter().filter(|(_, length)| length.is_some_and(without_scale));
    let speed = line.speed_max.filter(|speed| line.counts_per_s(*speed).is_none());
    for key in lengths.map(|(key, _)| *key).chain(speed.map(|_| "speed_max")) {
        let what = format!("line.{key} is in millimetres, but line.counts_per_mm is empty");
        found.push(broken("line", key, what, "set line.counts_per_mm, or write it in counts"));
    }
    if let Some(speed) = line.speed_max
        && let Some(edges) = line.counts_per_s(speed).filter(|edges| *edges > EDGES_PER_SECOND)
    {
        let what = format!(
            "line.speed_max is {}, which is {edges} edges of the encoder per second, but GPIO \
             follows {EDGES_PER_SECOND} at most",
            speed.show()
        );
        let remedy = "use an encoder with fewer lines or gear it down";
        found.push(broken("line", "speed_max", what, remedy));
    }
}

/// What says that the belt runs, and the gate in Fault.
/// Over TCP, the serial line or the box's own connection to the PLC.
fn plc_can_write(configuration: &Configuration) -> bool {
    let modbus = &configuration.modbus;
    let plc = configuration.modbus_client.target == ClientTarget::Plc;
    let serves = modbus.enabled || configuration.modbus_rtu.device.is_some() || plc;
    serves && !modbus.read_only
}

fn belt(configuration: &Configuration, found: &mut Vec<Broken>) {
    let (line, gpio) = (&configuration.line, &configuration.gpio);
    let signal = configuration.run_signal();
    if signal == RunSignal::Line && gpio.run.is_none() {
        let what = "line.run_signal is \"line\", but gpio.run is not wired";
        found.push(broken("line", "run_signal", what, "wire gpio.run"));
    }
    if signal != RunSignal::Line && gpio.run.is_some() {
        let word = signal.word();
        let what = format!("gpio.run is wired, but line.run_signal is {word:?}");
        found.push(broken("line", "run_signal", what, "set \"auto\", or unwire gpio.run"));
    }
    if signal == RunSignal::Plc && !plc_can_write(configuration) {
        let what = "line.run_signal is \"plc\", but nobody can write BELT_RUN over Modbus";
        let remedy = "enable modbus and leave modbus.read_only false";
        found.push(broken("line", "run_signal", what, remedy));
    }
    if line.fault_gate == FaultGate::PerPart && line.wiring == Wiring::EnergiseToPass {
        let what = "line.fault_gate is \"per_part\", but an energise_to_pass gate rejects at rest";
        found.push(broken("line", "fault_gate", what, "leave it at \"reject\""));
    }
}

fn wires(configuration: &Configuration, found: &mut Vec<Broken>) {
    let gpio = &configuration.gpio;
    let lines = [
        ("trigger", &gpio.trigger),
        ("encoder_a", &gpio.encoder_a),
        ("encoder_b", &gpio.encoder_b),
        ("reset", &gpio.reset),
        ("confirm", &gpio.confirm),
        ("run", &gpio.run),
        ("air_ok", &gpio.air_ok),
        ("strobe", &gpio.strobe),
        ("ready", &gpio.ready),
        ("pass", &gpio.pass),
        ("reject", &gpio.reject),
        ("fault", &gpio.fault),
        ("busy", &gpio.busy),
        ("alive", &gpio.alive),
    ];
    let wired: Vec<_> =
        lines.iter().filter_map(|(key, line)| Some((*key, line.as_ref()?))).collect();
    for (index, (key, name)) in wired.iter().enumerate() {
        if let Some((first, _)) = wired[..index].iter().find(|(_, other)| other == name) {
            let what = format!("gpio.{key} is line {name:?}, which gpio.{first} is already");
            found.push(broken("gpio", key, what, "give each its own line"));
        }
    }
    match (&gpio.chip, wired.first()) {
        (None, Some((key, _))) => {
            let what = format!("gpio.{key} names a line, but no chip is given");
            found.push(broken("gpio", key, what, "set gpio.chip, for instance /dev/gpiochip0"));
        }
        (Some(_), _) => {
            let (gate, missing) = match configuration.line.wiring {
                Wiring::EnergiseToReject => ("reject", gpio.reject.is_none()),
                Wiring::EnergiseToPass => ("pass", gpio.pass.is_none()),
            };
            let coupler = configuration.modbus_client.target == ClientTarget::Coupler;
            if missing && !coupler {
                let wiring = configuration.line.wiring.word();
                let what = format!("line.wiring is {wiring:?}, but gpio.{gate} is not wired");
                found.push(broken("gpio", "chip", what, format!("set gpio.{gate}")));
            }
        }
        (None, None) => {}
    }
    if gpio.ready_mode == ReadyMode::Toggle && gpio.ready.is_none() {
        let what = "gpio.ready_mode is \"toggle\", but gpio.ready is not wired";
        found.push(broken("gpio", "ready_mode", what, "wire gpio.ready or take the key out"));
    }
    for (key, other, alone) in [
        ("encoder_a", "encoder_b", gpio.encoder_a.is_some() && gpio.encoder_b.is_none()),
        ("encoder_b", "encoder_a", gpio.encoder_b.is_some() && gpio.encoder_a.is_none()),
    ] {
        if alone {
            let what = format!("gpio.{key} is wired, but gpio.{other} is not: no direction");
            found.push(broken("gpio", key, what, format!("wire gpio.{other} too")));
        }
    }
    for low in &gpio.active_low {
        if !wired.iter().any(|(key, _)| *key == low.word()) {
            let what = format!("gpio.active_low names {:?}, which is not wired", low.word());
            found.push(broken("gpio", "active_low", what, "wire it or take it off the list"));
        }
    }
}

fn modbus(configuration: &Configuration, found: &mut Vec<Broken>) {
    let modbus = &configuration.modbus;
    if let Some(writer) = modbus.writer {
        if !modbus.allow.is_empty() && !modbus.allow.contains(&writer) {
            let what = format!("modbus.writer is {writer}, which modbus.allow does not admit");
            found.push(broken("modbus", "writer", what, "add it to modbus.allow"));
        }
        if modbus.read_only {
            let what = "modbus.writer is given, but modbus.read_only lets nobody write";
            found.push(broken("modbus", "writer", what, "choose one of the two"));
        }
    }
}

/// A coupler's outputs must be 0 this long after the last write (line-io 1.4).
const WATCHDOG: Duration = Duration::from_millis(200);
/// They are written at least this often.
const REFRESH: Duration = Duration::from_millis(50);

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

fn modbus_client(configuration: &Configuration, found: &mut Vec<Broken>) {
    let client = &configuration.modbus_client;
    if client.target == ClientTarget::Off {
        return;
    }
    let mut add = |key, what: String, remedy: &str| {
        found.push(broken("modbus_client", key, what, remedy));
    };
    let target = client.target.word();
    if client.address.is_none() {
        let what =
            format!("modbus_client.target is {target:?}, but modbus_client.address is empty");
        add("target", what, "set its address and port");
    }
    if client.target != ClientTarget::Coupler {
        return;
    }
    let coils = [Some(client.gate_coil), client.ready_coil, client.alive_coil];
    let wired: Vec<u16> = coils.into_iter().flatten().collect();
    let twice = wired.iter().enumerate().any(|(index, coil)| wired[..index].contains(coil));
    if twice {
        let what = "two outputs of modbus_client are on one coil".into();
        add("gate_coil", what, "give each its own coil");
    }
    let line = &configuration.line;
    for (key, shortest) in [("pulse", line.pulse), ("min_gap", line.min_gap)] {
        if shortest < client.net_time {
            let what = format!(
                "line.{key} is {}, shorter than the {} an edge may take to the coupler: the next \
                 edge could overtake it",
                millis(shortest),
                millis(client.net_time)
            );
            add("net_time", what, "lengthen it, or lower modbus_client.net_time");
        }
    }
    if client.watchdog_register.is_none() {
        let what = "the coupler has no output watchdog: the gate would stay as it is when this box \
                    dies";
        add("watchdog_register", what.into(), "see docs/guide/fieldbus.md, Coupler");
        return;
    }
    let time = client.watchdog_unit * u32::from(client.watchdog_value);
    if time <= REFRESH || time > WATCHDOG {
        let what = format!(
            "the coupler's watchdog would be {} x {} = {}, but must be longer than {} (the \
             outputs are written that often) and at most {}",
            client.watchdog_value,
            millis(client.watchdog_unit),
            millis(time),
            millis(REFRESH),
            millis(WATCHDOG)
        );
        add("watchdog_value", what, "change modbus_client.watchdog_value");
    }
}
