//! The rows of the map (line-io 1.4): address, name, type, meaning and where the value comes from.

use super::super::results::{PublishedResult, score_times_10000};
use super::super::station::Station;
use super::Kind::{Bits, I32, U16, U32, U64};
use super::{Bit, Kind, Row, modes, status};
use crate::part::Region;

const fn row<T>(
    address: usize,
    name: &'static str,
    kind: Kind,
    value: fn(&T) -> u64,
    meaning: &'static str,
) -> Row<T> {
    Row { address, name, kind, meaning, writable: false, value }
}

const fn writable<T>(
    address: usize,
    name: &'static str,
    kind: Kind,
    value: fn(&T) -> u64,
    meaning: &'static str,
) -> Row<T> {
    Row { address, name, kind, meaning, writable: true, value }
}

/// Two's complement of what may be negative; registers take its low bits.
fn signed(value: impl Into<i64>) -> u64 {
    value.into().cast_unsigned()
}

/// Every register besides the result blocks and the ring.
#[rustfmt::skip]
pub(super) static REGISTERS: &[Row<Station>] = &[
    row(0, "magic", U16, |_| 0x4F4E, "0x4F4E; at a = 1 the master is off by one"),
    row(1, "map_version", U16, |_| 0x0100, "0x0100; a minor version only fills reserved registers; refuse an unknown major"),
    row(2, "order_test", U32, |_| 0x0102_0304, "0x01020304"),
    row(4, "status", Bits, |s| status(s).into(), "the discrete inputs, bit k = input k"),
    row(5, "state", U16, |s| s.snapshot.state as u64, "0 Starting, 1 Ready, 2 Running, 3 Degraded, 4 Inhibited, 5 Fault, 6 Stopping"),
    row(6, "hb_box", U16, |s| s.snapshot.heartbeat.into(), "+1 per 100 ms by the gate thread; unchanged for 500 ms = dead"),
    row(7, "hb_echo", U16, |s| s.control.plc_heartbeat().into(), "last plc_heartbeat"),
    row(8, "boot_id", U16, |s| s.snapshot.boot_id.into(), "differs per start; after a change sequence numbers restart"),
    row(9, "fault_code", U16, |s| s.snapshot.fault_code.into(), "1 + bit of the first stop alarm, 0 none"),
    row(10, "alarms", U32, |s| s.snapshot.alarms.bits().into(), "one bit per alarm"),
    row(12, "product_active", U16, |s| s.snapshot.active_product.into(), "0 none"),
    row(13, "ne107", U16, |s| s.snapshot.namur as u64, "0 good, 1 failure, 2 function check, 3 out of specification, 4 maintenance"),
    row(14, "ctrl_echo", Bits, |s| s.control.echo().into(), "bits of ctrl (200) carried out"),
    row(15, "cmd_result", U16, |s| s.control.command_result(&s.snapshot).into(), "0 ok, 1 wrong state, 2 unknown product, 3 busy, 4 not allowed, 5 load failed"),
    row(16, "fifo_count", U16, |s| s.board.waiting().into(), "results not acknowledged"),
    row(17, "fifo_lost", U16, |s| s.board.lost().into(), "results dropped, wraps"),
    row(18, "newest_seq", U32, |s| s.board.newest_sequence().into(), "newest result published, 0 none"),
    row(20, "trig_seq", U32, |s| s.snapshot.last_triggered.map_or(0, |part| part.get().into()), "last accepted trigger, 0 none"),
    row(22, "armed", U16, |s| s.snapshot.armed.into(), "open schedule entries"),
    row(23, "modes", Bits, |s| modes(s).into(), "b0 energise to pass, b1-2 results: 0 latest 1 handshake 2 index, b3 low word first"),
    row(24, "enc_pos", I32, |s| signed(s.snapshot.encoder_count), "low 32 bits of the net count; subtract modulo 2^32"),
    row(26, "enc_speed", I32, |s| signed(s.snapshot.encoder_counts_per_s), "counts per second"),
    row(96, "parts", U32, |s| s.snapshot.counters.parts.into(), "accepted triggers; = pass + fail + no_decision + pending"),
    row(98, "pass", U32, |s| s.snapshot.counters.pass.into(), "passed"),
    row(100, "fail", U32, |s| s.snapshot.counters.fail.into(), "failed"),
    row(102, "no_decision", U32, |s| s.snapshot.counters.no_decision.into(), "without a decision in time: rejected"),
    row(104, "rejects_fired", U32, |s| s.snapshot.counters.rejects_fired.into(), "reject windows fired, merged ones count once; not purge or Fault"),
    row(106, "rejects_confirmed", U32, |s| s.snapshot.counters.rejects_confirmed.into(), "of these, seen in the chute"),
    row(108, "rejects_missing", U32, |s| s.snapshot.counters.rejects_missing.into(), "of these, not seen in the chute"),
    row(110, "collateral", U32, |s| s.snapshot.counters.collateral.into(), "passed parts rejected with a neighbour or by a purge"),
    row(112, "bounce", U32, |s| s.snapshot.counters.bounce.into(), "trigger edges within the lockout, no part"),
    row(114, "overrun", U32, |s| s.snapshot.counters.overrun.into(), "overruns and overtriggers (reasons 204, 210)"),
    row(116, "late", U32, |s| s.snapshot.counters.late.into(), "verdicts after the deadline"),
    row(118, "life_parts", U64, |s| s.snapshot.counters.life_parts, "parts ever; not resettable, survives a restart"),
    row(122, "life_rejects", U64, |s| s.snapshot.counters.life_rejects, "parts ever not passed; not resettable, survives a restart"),
    writable(200, "ctrl", Bits, |s| s.control.ctrl().into(), "the coils, bit k = coil k; bits 9-15 must be 0"),
    writable(201, "plc_heartbeat", U16, |s| s.control.plc_heartbeat().into(), "change every 500 ms or faster; lost before the first change and after 1000 ms (default) without"),
    writable(202, "product_req", U16, |s| s.control.product_request().into(), "used at PRODUCT_CHANGE"),
    writable(204, "read_index", U32, |s| s.control.read_index().into(), "results index: last sequence number consumed; frees all up to it"),
    writable(206, "tag", U32, |s| s.control.tag().into(), "copied into the next parts"),
];

fn region(published: &PublishedResult) -> Region {
    published.result.largest.unwrap_or_default()
}

/// A result block: the head result at 32, the latest at 64.
#[rustfmt::skip]
pub(super) static RESULT: &[Row<PublishedResult>] = &[
    row(0, "seq", U32, |p| p.sequence().into(), "number of the part"),
    row(2, "decision", U16, |p| p.result.decision.code().into(), "0 no result, 1 pass, 2 fail, 3 no-decision"),
    row(3, "reason", U16, |p| p.result.reason.code().into(), "why; an unknown code is a no-decision"),
    row(4, "flags", Bits, |p| p.flags().into(), "b0 late, b1 inhibited, b2 forced, b3 reject left armed, b4 soft trigger"),
    row(5, "product", U16, |p| p.result.product.into(), "product it was judged as"),
    row(6, "score", I32, |p| signed(score_times_10000(p.result.score)), "x10000, saturated; 0x7FFFFFFF invalid"),
    row(8, "threshold", I32, |p| signed(score_times_10000(p.result.threshold)), "x10000, saturated; 0x7FFFFFFF invalid"),
    row(10, "score_rel", U16, |p| p.relative_score().into(), "1000 score/threshold, saturated; 65535 without a score"),
    row(11, "regions", U16, |p| p.result.regions.into(), "number of regions"),
    row(12, "x", U16, |p| region(p).x.into(), "largest region: left edge, camera pixels, origin top left"),
    row(13, "y", U16, |p| region(p).y.into(), "largest region: top edge"),
    row(14, "w", U16, |p| region(p).width.into(), "largest region: width"),
    row(15, "h", U16, |p| region(p).height.into(), "largest region: height"),
    row(16, "area", U32, |p| region(p).area_pixels.into(), "largest region: its pixels"),
    row(18, "verdict_us", U32, |p| p.verdict_micros().into(), "trigger to commit"),
    row(20, "slack_us", I32, |p| signed(p.slack_micros()), "deadline - commit, saturated"),
    row(22, "enc0", I32, |p| signed(p.result.encoder_count), "encoder count at the trigger, low 32 bits"),
    row(24, "utc_us", U64, |p| p.utc_micros, "UTC of the trigger, 0 unsynchronised"),
    row(28, "tag", U32, |p| p.result.tag.into(), "tag at the trigger"),
    row(30, "seq_end", U32, |p| p.sequence().into(), "= seq if untorn"),
];

/// An entry of the ring at 256 + 8 (seq mod 64).
#[rustfmt::skip]
pub(super) static RING_ENTRY: &[Row<PublishedResult>] = &[
    row(0, "seq", U32, |p| p.sequence().into(), "number of the part"),
    row(2, "decision", U16, |p| p.result.decision.code().into(), "as in a result block"),
    row(3, "reason", U16, |p| p.result.reason.code().into(), "as in a result block"),
    row(4, "score_rel", U16, |p| p.relative_score().into(), "as in a result block"),
    row(5, "product", U16, |p| p.result.product.into(), "as in a result block"),
    row(6, "enc0_low", U16, |p| signed(p.result.encoder_count), "low word of enc0"),
    row(7, "seq_low", U16, |p| p.sequence().into(), "low word of seq; equal if untorn"),
];

/// Coils 0 to 8: bits of ctrl (200).
pub(super) static COILS: &[Bit] = &[
    Bit { name: "TRIGGER", meaning: "edge: a part is here (where soft_trigger is set)" },
    Bit { name: "RESULTS_ACK", meaning: "level: results handshake" },
    Bit { name: "INHIBIT", meaning: "level: the gate does not act (where allow_inhibit is set)" },
    Bit { name: "BELT_RUN", meaning: "level: the belt runs (where no run line is wired)" },
    Bit { name: "PRODUCT_CHANGE", meaning: "edge: change to product_req (202)" },
    Bit { name: "CLEAR_FAULT", meaning: "edge: leave Fault; clears RESULTS_OVERRUN and MISSED" },
    Bit { name: "RESET_COUNTERS", meaning: "edge: parts = pending, the rest 0" },
    Bit { name: "FORCE_REJECT", meaning: "edge: the next part is decided fail 102" },
    Bit { name: "PURGE_DONE", meaning: "edge: the transit is empty, the purge ends" },
];

/// Discrete inputs 0 to 15: bits of status (4).
pub(super) static STATUS: &[Bit] = &[
    Bit { name: "READY", meaning: "the box inspects and may be trusted" },
    Bit { name: "BUSY", meaning: "a part is being inspected" },
    Bit { name: "TRIGGER_READY", meaning: "a trigger now would be inspected" },
    Bit { name: "TRIGGER_ACK", meaning: "coil TRIGGER was taken, trig_seq is its part" },
    Bit { name: "ACQUIRING", meaning: "a part in inspection waits for its frame" },
    Bit { name: "COMPLETED", meaning: "toggles per result" },
    Bit { name: "RESULTS_VALID", meaning: "the head result is a result" },
    Bit {
        name: "RESULTS_OVERRUN",
        meaning: "a result was dropped unread; latched until CLEAR_FAULT or reset; never in mode latest",
    },
    Bit { name: "PASS", meaning: "the head result is a pass; only with RESULTS_VALID" },
    Bit { name: "REJECT_ACTIVE", meaning: "the gate rejects" },
    Bit {
        name: "MISSED",
        meaning: "a part was missed (201, 204, 205, 210); latched until CLEAR_FAULT or reset",
    },
    Bit { name: "ALARM", meaning: "an alarm is active" },
    Bit { name: "FAULT", meaning: "state Fault" },
    Bit { name: "INHIBITED", meaning: "state Inhibited" },
    Bit { name: "PRODUCT_BUSY", meaning: "a product change is under way" },
    Bit { name: "PLC_LOST", meaning: "the PLC's heartbeat is lost" },
];
