//! Invariants 14 to 18, 23 and 24 of line-io 1.9 on station and codec: several clients, any
//! requests, any publication, silence and time; refusals held against an oracle of their own.

use super::frame::{HEADER_BYTES, Header, answer};
use super::results::tests::example;
use super::results::{PublishedResult, ResultsMode};
use super::server::ModbusSettings;
use super::station::{Caller, Station};
use crate::line::{LineEvent, LineSnapshot};
use crate::part::{Duration, LineTime};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

const MODES: [ResultsMode; 3] = [ResultsMode::Latest, ResultsMode::Handshake, ResultsMode::Index];

/// Part `sequence`: every number of its block tells of it.
fn numbered(sequence: u32) -> PublishedResult {
    let mut published = example(sequence);
    published.result.score = (sequence % 900) as f32 / 1000.0;
    published.result.encoder_count = i64::from(sequence) * 3;
    published.result.tag = sequence.wrapping_mul(5);
    published.utc_micros = u64::from(sequence) * 7;
    published
}

fn any_settings() -> impl Strategy<Value = ModbusSettings> {
    (prop::sample::select(&MODES[..]), any::<[bool; 3]>(), 0..8u8).prop_map(
        |(results, [low, inhibit, trigger], rare)| ModbusSettings {
            results,
            low_word_first: low,
            allow_inhibit: inhibit,
            soft_trigger: trigger,
            read_only: rare == 0,
            writer: (rare == 1).then(|| address(2)),
            ..ModbusSettings::default()
        },
    )
}

/// Requests that often make sense, and any bytes.
fn pdu() -> impl Strategy<Value = Vec<u8>> {
    let near = prop_oneof![0u16..20, 195u16..235, 760u16..770, any::<u16>()];
    let word = prop_oneof![4 => 0u16..0x200, 2 => 0u16..130, 1 => any::<u16>()];
    let function = prop_oneof![1u8..=6, Just(8u8)];
    let single = (function, near.clone(), prop_oneof![word.clone(), Just(0xFF00)]).prop_map(
        |(function, a, b)| {
            let ([a0, a1], [b0, b1]) = (a.to_be_bytes(), b.to_be_bytes());
            vec![function, a0, a1, b0, b1]
        },
    );
    let words = prop::collection::vec(word, 0..10);
    let multiple = (near.clone(), near, words, 0u8..3, any::<bool>()).prop_map(
        |(a, read, words, kind, fits)| {
            let data: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let bytes = data.len() as u8;
            let count = if kind == 0 { u16::from(bytes) * 8 } else { words.len() as u16 };
            let mut pdu = match kind {
                0 => vec![15],
                1 => vec![16],
                _ => [vec![23], read.to_be_bytes().to_vec(), vec![0, 32]].concat(),
            };
            pdu.extend(a.to_be_bytes());
            pdu.extend(count.to_be_bytes());
            pdu.push(if fits { bytes } else { bytes ^ 1 });
            pdu.extend(data);
            pdu
        },
    );
    let index = (0u16..200, any::<bool>()).prop_map(|(n, both)| {
        let [high, low] = n.to_be_bytes();
        let write = vec![0, 204, 0, 2, 4, 0, 0, high, low];
        if both { [vec![23, 0, 32, 0, 32], write].concat() } else { [vec![16], write].concat() }
    });
    let any_bytes = prop::collection::vec(any::<u8>(), 1..253);
    prop_oneof![4 => single, 3 => multiple, 3 => index, 1 => any_bytes]
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u64, Vec<u8>),
    Publish(u32),
    /// Results the line had no room for.
    Lose(u32),
    /// The line lives on for so long.
    Live(u64),
    /// The line says nothing for so long.
    Silence(u64),
    Close(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1u64..4, pdu()).prop_map(|(client, pdu)| Step::Ask(client, pdu)),
        3 => (1u32..6).prop_map(Step::Publish),
        1 => (60u32..80).prop_map(Step::Publish),
        1 => (1u32..3).prop_map(Step::Lose),
        3 => (1u64..12_000).prop_map(Step::Live),
        1 => (1u64..700).prop_map(Step::Silence),
        1 => (1u64..4).prop_map(Step::Close),
    ]
}

fn address(client: u64) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, client as u8))
}

/// The station with what the contract says about it, kept apart from it.
struct World {
    settings: ModbusSettings,
    station: Station,
    now: LineTime,
    line_alive: LineTime,
    heartbeat: u16,
    /// Who wrote last, and when.
    writer: Option<(u64, LineTime)>,
    sequence: u32,
}

impl World {
    fn new(settings: ModbusSettings) -> Self {
        let now = LineTime::from_millis(1_000);
        let station = Station::new(&settings, now);
        let (line_alive, writer) = (now, None);
        Self { settings, station, now, line_alive, heartbeat: 0, writer, sequence: 0 }
    }

    fn caller(&self, client: u64) -> Caller {
        Caller { client, address: address(client), time: self.now }
    }

    fn observe(&mut self) {
        let snapshot = LineSnapshot { heartbeat: self.heartbeat, ..LineSnapshot::default() };
        self.station.observe(snapshot, self.now);
    }

    fn publish(&mut self) {
        self.sequence += 1;
        self.station.publish(numbered(self.sequence), self.now);
    }

    fn events(&mut self) -> Vec<LineEvent> {
        self.station.outbox().drain(..).collect()
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Ask(client, pdu) => self.ask(*client, pdu),
            Step::Publish(count) => (0..*count).for_each(|_| self.publish()),
            Step::Lose(count) => self.sequence += count,
            Step::Live(ms) => {
                self.now = self.now + Duration::from_millis(*ms);
                (self.heartbeat, self.line_alive) = (self.heartbeat.wrapping_add(1), self.now);
                self.observe();
            }
            Step::Silence(ms) => {
                self.now = self.now + Duration::from_millis(*ms);
                self.observe();
            }
            Step::Close(client) => {
                self.station.closed(*client);
                self.writer = self.writer.filter(|writer| writer.0 != *client);
            }
        }
    }

    fn ask(&mut self, client: u64, pdu: &[u8]) {
        self.events();
        let (before, expected) = (self.station.image(), self.refusal(client, pdu));
        let caller = self.caller(client);
        let reply = answer(pdu, &mut self.station, caller).unwrap();
        let after = self.station.image();
        assert!((2..=253).contains(&reply.len()), "{reply:?}");
        if let Some(code) = expected {
            assert_eq!(reply, [pdu[0] | 0x80, code], "{pdu:?}");
            assert_eq!(before, after, "16: a refused request changes nothing");
            assert_eq!(self.events(), []);
            return;
        }
        assert_eq!(reply[0], pdu[0], "{reply:?} to {pdu:?}");
        assert_eq!(after[32..34], after[62..64], "15: one request, one result");
        assert_eq!(after[64..66], after[94..96]);
        if !is_write(pdu) {
            assert_eq!(before, after);
            assert_eq!(self.events(), []);
            return;
        }
        let free = self.writer.is_none_or(|(_, last)| self.now.since(last).as_secs() >= 10);
        let own = self.writer.is_some_and(|writer| writer.0 == client);
        let by_address = self.settings.writer == Some(address(client));
        assert!(by_address || free || own, "23: a second writer");
        self.writer = Some((client, self.now));
        self.events();
        answer(pdu, &mut self.station, caller).unwrap();
        assert_eq!(after, self.station.image(), "18: a repetition adds nothing");
        assert_eq!(self.events(), []);
    }

    /// The exception of line-io 1.4 for a request, in the order of its table; `None` = served.
    fn refusal(&self, client: u64, pdu: &[u8]) -> Option<u8> {
        let image = self.station.image();
        let Parts { read, coils, words } = match parts(pdu) {
            Ok(parts) => parts,
            Err(code) => return Some(code),
        };
        let coil = |at: usize| coils.as_ref().and_then(|(a, bits)| bits.get(at.checked_sub(*a)?));
        let value = |at: usize| words.as_ref().and_then(|(a, w)| w.get(at.checked_sub(*a)?));
        let set =
            |bit: usize| coil(bit) == Some(&true) || value(200).is_some_and(|w| w >> bit & 1 == 1);
        if (9..16).any(set) || (set(2) && !self.settings.allow_inhibit) {
            return Some(3);
        }
        if let (Some(&a), Some(&b)) = (value(204), value(205)) {
            let index = if self.settings.low_word_first { b << 16 | a } else { a << 16 | b };
            if index as u32 > newest(&image, self.settings.low_word_first) {
                return Some(3);
            }
        }
        let halves = [204, 206].iter().any(|&at| value(at).is_some() != value(at + 1).is_some());
        let outside = words.as_ref().is_some_and(|(a, w)| *a < 200 || a + w.len() > 232);
        let beyond = coils.as_ref().is_some_and(|(a, bits)| a + bits.len() > 16);
        if halves || outside || beyond || read.is_some_and(|(a, n, size)| a + n > size) {
            return Some(2);
        }
        let held = match (self.settings.writer, self.writer) {
            _ if self.settings.read_only => true,
            (Some(only), _) => only != address(client),
            (None, Some((holder, last))) => {
                holder != client && self.now.since(last) < Duration::from_secs(10)
            }
            (None, None) => false,
        };
        if is_write(pdu) && held {
            return Some(6);
        }
        (self.now.since(self.line_alive) > Duration::from_millis(500)).then_some(4)
    }
}

/// What a request reads (first, count, size of the table) and writes (first, values).
#[derive(Default)]
struct Parts {
    read: Option<(usize, usize, usize)>,
    coils: Option<(usize, Vec<bool>)>,
    words: Option<(usize, Vec<usize>)>,
}

/// The form of a request, or exception 01 or 03.
fn parts(pdu: &[u8]) -> Result<Parts, u8> {
    let word = |at: usize| Some(usize::from(*pdu.get(at)?) << 8 | usize::from(*pdu.get(at + 1)?));
    if ![1, 2, 3, 4, 5, 6, 15, 16, 23].contains(&pdu[0]) {
        return Err(1);
    }
    let (Some(first), Some(second)) = (word(1), word(3)) else { return Err(3) };
    let counted = |at: usize, most: usize, bytes: fn(usize) -> usize| {
        let count = word(at + 2).unwrap_or(0);
        let data = pdu.get(at + 5..).unwrap_or(&[]);
        let right = pdu.get(at + 4).is_some_and(|b| usize::from(*b) == bytes(count));
        let fits = (1..=most).contains(&count) && right && data.len() == bytes(count);
        fits.then(|| data.to_vec()).ok_or(3)
    };
    let exact = |fits: bool| if pdu.len() == 5 && fits { Ok(()) } else { Err(3) };
    let mut parts = Parts::default();
    match pdu[0] {
        1 | 2 => {
            exact((1..=2000).contains(&second))?;
            parts.read = Some((first, second, 16));
        }
        3 | 4 => {
            exact((1..=125).contains(&second))?;
            parts.read = Some((first, second, 768));
        }
        5 => {
            exact([0, 0xFF00].contains(&second))?;
            parts.coils = Some((first, vec![second > 0]));
        }
        6 => {
            exact(true)?;
            parts.words = Some((first, vec![second]));
        }
        15 => {
            let data = counted(1, 1968, |bits| bits.div_ceil(8))?;
            let bit = |at: usize| data[at / 8] >> (at % 8) & 1 == 1;
            parts.coils = Some((first, (0..second).map(bit).collect()));
        }
        16 => parts.words = Some((first, join(&counted(1, 123, |words| 2 * words)?))),
        _ => {
            let data = counted(5, 121, |words| 2 * words)?;
            if !(1..=125).contains(&second) {
                return Err(3);
            }
            parts.read = Some((first, second, 768));
            parts.words = Some((word(5).ok_or(3_u8)?, join(&data)));
        }
    }
    Ok(parts)
}

fn join(data: &[u8]) -> Vec<usize> {
    data.chunks(2).map(|pair| usize::from(pair[0]) << 8 | usize::from(pair[1])).collect()
}

fn is_write(pdu: &[u8]) -> bool {
    matches!(pdu[0], 5 | 6 | 15 | 16 | 23)
}

fn newest(image: &[u16], low_first: bool) -> u32 {
    let (a, b) = (u32::from(image[18]), u32::from(image[19]));
    if low_first { b << 16 | a } else { a << 16 | b }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    // Invariants 15, 16, 18, 23 and 24, and every exception in its order.
    #[test]
    fn any_clients_are_answered_or_refused_as_the_contract_says(
        settings in any_settings(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(settings);
        for step in &steps {
            world.run(step);
        }
    }

    // Invariant 17, in any state.
    #[test]
    fn function_codes_3_and_4_read_the_same(
        settings in any_settings(),
        steps in prop::collection::vec(step(), 0..20),
        first in 0u16..768,
        count in 1u16..=125,
    ) {
        let mut world = World::new(settings);
        for step in &steps {
            world.run(step);
        }
        world.run(&Step::Live(1));
        let ([a, b], [c, d]) = (first.to_be_bytes(), count.to_be_bytes());
        let caller = world.caller(9);
        let holding = answer(&[3, a, b, c, d], &mut world.station, caller).unwrap();
        let input = answer(&[4, a, b, c, d], &mut world.station, caller).unwrap();
        prop_assert_eq!(&holding[1..], &input[1..]);
        prop_assert_eq!(holding[0] == 3, first + count <= 768);
    }

    // Invariant 15, second half: a block read in two requests is a whole one, or is noticed.
    #[test]
    fn split_reads_are_whole_or_noticed(
        mode in prop::sample::select(&MODES[..]),
        latest: bool,
        reads in prop::collection::vec((0u32..3, 0u32..3, 0u32..3, 1usize..32, 0u32..3), 1..40),
    ) {
        let mut world = World::new(ModbusSettings { results: mode, ..ModbusSettings::default() });
        world.publish();
        let start = if latest { 64 } else { 32 };
        for (before, between, after, cut, acknowledge) in reads {
            (0..before).for_each(|_| world.publish());
            let mut block = world.station.image()[start..start + cut].to_vec();
            (0..between).for_each(|_| world.publish());
            if acknowledge > 0 {
                consume(&mut world, acknowledge);
            }
            block.extend_from_slice(&world.station.image()[start + cut..start + 32]);
            (0..after).for_each(|_| world.publish());
            let again = world.station.image()[start..start + 2].to_vec();
            if block[..2] == block[30..] && block[..2] == again {
                let sequence = u32::from(block[0]) << 16 | u32::from(block[1]);
                prop_assert_eq!(block, expected_block(sequence));
            }
        }
    }

    // Invariant 14 on the wire: numbers read strictly rise, their gaps are fifo_lost.
    #[test]
    fn gaps_between_results_read_are_fifo_lost(
        handshake: bool,
        steps in prop::collection::vec((0u32..90, 0u32..3, 0u32..80), 1..40),
    ) {
        let results = if handshake { ResultsMode::Handshake } else { ResultsMode::Index };
        let mut world = World::new(ModbusSettings { results, ..ModbusSettings::default() });
        world.publish();
        let mut read = Vec::new();
        for (publish, lose, most) in steps {
            (0..publish).for_each(|_| world.publish());
            world.sequence += lose;
            world.publish();
            read.extend(consume(&mut world, most));
        }
        read.extend(consume(&mut world, 100));
        prop_assert!(read.is_sorted_by(|a, b| a < b));
        prop_assert_eq!(read.last(), Some(&world.sequence));
        let missing = world.sequence as usize - read.len();
        prop_assert_eq!(missing, usize::from(world.station.image()[17]));
    }

    // Invariant 24 at the border of TCP: any seven bytes are a header or close.
    #[test]
    fn any_header_is_accepted_or_closes(bytes: [u8; HEADER_BYTES]) {
        if let Some(header) = Header::parse(bytes) {
            prop_assert!((1..=253).contains(&header.pdu_bytes));
            prop_assert_eq!(&bytes[2..4], &[0, 0]);
        }
    }
}

/// A PLC that reads and acknowledges up to `most` results; what it read.
fn consume(world: &mut World, most: u32) -> Vec<u32> {
    let (mut read, caller) = (Vec::new(), world.caller(1));
    for _ in 0..most {
        let image = world.station.image();
        let sequence = u32::from(image[32]) << 16 | u32::from(image[33]);
        if sequence == 0 || world.settings.results == ResultsMode::Latest {
            break;
        }
        read.push(sequence);
        if world.settings.results == ResultsMode::Index {
            let [a, b, c, d] = sequence.to_be_bytes();
            let write = [16, 0, 204, 0, 2, 4, a, b, c, d];
            assert_eq!(answer(&write, &mut world.station, caller).unwrap()[0], 16);
        } else {
            for level in [0xFF, 0] {
                let write = [5, 0, 1, level, 0];
                assert_eq!(answer(&write, &mut world.station, caller).unwrap(), write);
            }
        }
        world.events();
    }
    read
}

/// The block of part `sequence`, from a station that has never known another.
fn expected_block(sequence: u32) -> Vec<u16> {
    let settings = ModbusSettings::default();
    let mut station = Station::new(&settings, LineTime::ZERO);
    if sequence > 0 {
        station.publish(numbered(sequence), LineTime::ZERO);
    }
    station.image()[32..64].to_vec()
}
