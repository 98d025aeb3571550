//! What keys must be to one another.

use super::Configuration;
use super::setting::Setting;
use super::words::{CameraSource, SoftTrigger, Wiring};

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
    wires(configuration, &mut found);
    modbus(configuration, &mut found);
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
    let used = line.actuation_time + line.jitter + line.guard;
    if line.delay <= used {
        let what = format!(
            "line.delay is {}, but actuation_time, jitter and guard together take {}: no part \
             could ever pass",
            line.delay.show(),
            used.show()
        );
        found.push(broken("line", "delay", what, "move the ejector away from the camera"));
    }
    if line.m_of_n_rejects > line.m_of_n_parts {
        let what = format!(
            "line.m_of_n_rejects is {}, more than the {} parts it looks back on",
            line.m_of_n_rejects, line.m_of_n_parts
        );
        found.push(broken("line", "m_of_n_rejects", what, "raise line.m_of_n_parts or lower it"));
    }
    let modbus = &configuration.modbus;
    let can_write = modbus.enabled && !modbus.read_only;
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
            if missing {
                let wiring = configuration.line.wiring.word();
                let what = format!("line.wiring is {wiring:?}, but gpio.{gate} is not wired");
                found.push(broken("gpio", "chip", what, format!("set gpio.{gate}")));
            }
        }
        (None, None) => {}
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
