//! What the line shows: levels of its wires, and itself as a whole.

use super::super::settings::Wiring;
use super::super::{LineOutput, LineSnapshot, LineState, OutputLevels};
use super::Line;

impl Line {
    /// Levels the wires must have now; before the first call of `advance`, those the request of
    /// the output lines must carry.
    pub fn outputs(&self) -> OutputLevels {
        let energise_to_reject = self.settings.wiring == Wiring::EnergiseToReject;
        let rejects = self.gate.rejects();
        let live = !self.stopped;
        let indicator = live && self.now < self.indicator_until;
        OutputLevels {
            ready: live && self.is_ready(),
            busy: live && self.is_busy(),
            pass: if energise_to_reject { indicator } else { !rejects },
            reject: if energise_to_reject { rejects } else { indicator },
            fault: live && self.state == LineState::Fault,
            strobe: live && self.flashes(),
            alive: live && self.alive,
        }
    }

    pub(super) fn show_outputs(&mut self, out: &mut Vec<LineOutput>) {
        let levels = self.outputs();
        if self.shown != Some(levels) {
            self.shown = Some(levels);
            out.push(LineOutput::Outputs(levels));
        }
    }

    /// The line as observers see it.
    pub fn snapshot(&self) -> LineSnapshot {
        LineSnapshot {
            state: self.state,
            namur: self.namur(),
            awaits: self.awaits(),
            outputs: self.outputs(),
            gate_rejects: self.gate.rejects(),
            alarms: self.alarms.active(),
            fault_code: self.alarms.first_stop().map_or(0, |alarm| u16::from(alarm.bit()) + 1),
            heartbeat: self.heartbeat,
            boot_id: self.settings.boot_id,
            active_product: self.product.active,
            product_busy: self.product.busy,
            command_result: self.command_result,
            last_command: self.last_command,
            plc_lost: self.plc.is_lost(),
            last_triggered: self.last_triggered,
            armed: u16::try_from(self.schedule.armed()).unwrap_or(u16::MAX),
            trigger_ready: self.is_trigger_ready(),
            busy: self.is_busy(),
            acquiring: self.schedule.awaits_frame(),
            clears: self.clears,
            missed: self.missed,
            energise_to_pass: self.settings.wiring == Wiring::EnergiseToPass,
            encoder_count: self.tracker.encoder.count(),
            encoder_counts_per_s: self.tracker.encoder.speed_at(self.now).round() as i32,
            counters: self.counters,
        }
    }

    /// Parts not decided yet.
    pub fn pending(&self) -> usize {
        self.schedule.pending()
    }

    #[cfg(test)]
    pub(in crate::line) fn capacities(&self) -> [usize; 4] {
        [
            self.schedule.capacity(),
            self.gate.capacity(),
            self.tracker.encoder.capacity(),
            self.confirm.capacity(),
        ]
    }

    fn is_busy(&self) -> bool {
        self.schedule.in_inspection() > 0
    }

    fn is_trigger_ready(&self) -> bool {
        let apart = self.last_trigger.is_none_or(|last| self.now >= last + self.settings.min_part);
        let room = self.schedule.in_inspection() < usize::from(self.settings.inspections_max);
        !self.stopped && self.is_ready() && self.way_ready && apart && room
    }

    fn flashes(&self) -> bool {
        let Some(strobe) = self.settings.strobe else { return false };
        self.schedule.iter().filter(|entry| entry.announced).any(|entry| {
            let flash = entry.result.triggered + strobe.offset;
            flash <= self.now && self.now < flash + strobe.width
        })
    }
}
