use super::*;
use proptest::prelude::*;
use std::path::Path;
use std::time::Duration;

fn layers(text: &str) -> (tempfile::TempDir, Layers) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.toml");
    std::fs::write(&file, text).unwrap();
    (folder, Layers { files: vec![file], ..Layers::default() })
}

fn problems(text: &str) -> Vec<Problem> {
    load_without_bundle(&layers(text).1).map_err(|errors| errors.problems).err().unwrap_or_default()
}

fn committed(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

#[test]
fn the_committed_reference_is_the_table() {
    let text = std::fs::read_to_string(committed("onenipd.toml")).unwrap_or_default();
    if std::env::var_os("ONENIPD_WRITE_REFERENCE").is_some() {
        std::fs::write(committed("onenipd.toml"), reference_toml()).unwrap();
        return;
    }
    assert!(
        text == reference_toml(),
        "config/onenipd.toml is old: ONENIPD_WRITE_REFERENCE=1 cargo test --release the_committed"
    );
}

#[test]
fn the_reference_says_the_defaults() {
    let (_folder, mut layers) = layers(&reference_toml());
    let errors = load(&layers).unwrap_err();
    assert_eq!(errors.problems.len(), 1, "{errors}");
    assert!(errors.to_string().contains("engine.bundle is required"), "{errors}");
    assert_eq!(load_without_bundle(&layers), Ok(Configuration::default()));
    layers.overrides = vec!["engine.bundle=engines/demo".into()];
    let mut expected = Configuration::default();
    expected.engine.bundle = "engines/demo".into();
    assert_eq!(load(&layers), Ok(expected));
}

#[test]
fn the_demo_is_right() {
    let layers = Layers { files: vec![committed("demo.toml")], ..Layers::default() };
    let demo = load(&layers).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(demo.camera.source, CameraSource::Simulated);
    assert_eq!(demo.line.delay, Duration::from_millis(600));
    assert_eq!(demo.modbus.listen.port(), 1502);
    assert_eq!(demo.simulation.rate, PerSecond(5.0));
    assert_eq!(demo.records_directory(), Path::new("demo-data/records"));
    assert_eq!(demo.life_counters_file(), Path::new("demo-data/life-counters.toml"));
}

#[test]
fn later_layers_win() {
    let (_folder, mut layers) = layers("[line]\ndelay = \"500 ms\"\nguard = \"6 ms\"\n");
    let more = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(more.path(), "line.delay = \"600 ms\"\nline.pulse = \"60 ms\"").unwrap();
    layers.files.push(more.path().to_path_buf());
    layers.environment = vec![
        ("ONENIPD_LINE__DELAY".into(), "700 ms".into()),
        ("ONENIPD_ENGINE__QUEUE".into(), "4".into()),
        ("HOME".into(), "/root".into()),
    ];
    layers.overrides = vec![
        "line.delay=800 ms".into(),
        "gpio.chip=/dev/gpiochip0".into(),
        "gpio.reject=5".into(),
        "gpio.active_low=[\"reject\"]".into(),
        "modbus.enabled=false".into(),
        "line.free_run=true".into(),
        "camera.uri=rtsp://camera/stream?a=b".into(),
    ];
    let read = load_without_bundle(&layers).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(read.line.delay, Duration::from_millis(800));
    assert_eq!(read.line.pulse, Duration::from_millis(60));
    assert_eq!(read.line.guard, Duration::from_millis(6));
    assert_eq!(read.engine.queue, 4);
    assert_eq!(read.gpio.reject.as_deref(), Some("5"));
    assert_eq!(read.gpio.active_low, [GpioLine::Reject]);
    assert_eq!(read.camera.uri.as_deref(), Some("rtsp://camera/stream?a=b"));
    assert!(!read.modbus.enabled);
}

#[test]
fn every_problem_is_said_at_once() {
    let text = "[lien]\ndelay = \"5 s\"\n\n[line]\ndealy = \"400 ms\"\ndelay = \"400\"\npulse = 50\n\
                guard = \"5 weeks\"\nwiring = \"energize\"\nallow_inhibit = \"no\"\n\n[engine]\n\
                queue = 0\nthreads = 2.5\nlisten = \"x\"\n[modbus]\nlisten = \"localhost\"\nallow = [\"a\"]\n";
    let found = problems(text);
    let expected = [
        (1, "no section \"lien\"", "[line]"),
        (5, "no key line.dealy", "line.delay?"),
        (6, "line.delay is \"400\" without a unit", "\"400 ms\""),
        (7, "line.pulse is 50 without a unit", "\"400 ms\""),
        (8, "unknown unit", "us, ms, s"),
        (9, "line.wiring is \"energize\"", "energise_to_reject"),
        (10, "line.allow_inhibit is \"no\"", "true or false"),
        (13, "engine.queue is 0, out of range", "1 to 64"),
        (14, "engine.threads is the number 2.5", "whole number"),
        (15, "no key engine.listen", "modbus.listen?"),
        (17, "modbus.listen is \"localhost\"", "127.0.0.1:502"),
        (18, "modbus.allow is \"a\"", "192.168.0.10"),
    ];
    for (line, what, remedy) in expected {
        let there = |p: &&Problem| p.place.contains(&format!("test.toml:{line}:"));
        let problem = found.iter().find(there).unwrap_or_else(|| panic!("line {line}: {found:#?}"));
        assert!(problem.what.contains(what), "{problem}");
        assert!(problem.remedy.contains(remedy), "{problem}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    let wrong = found.iter().find(|p| p.what.contains("line.delay")).unwrap();
    assert_eq!(wrong.excerpt.as_deref(), Some("  6 | delay = \"400\"\n    |         ^"));
    let shown = load(&layers(text).1).unwrap_err().to_string();
    assert!(shown.starts_with("the configuration has 13 problems:\n"), "{shown}");
    assert!(shown.contains("engine.bundle is required"), "{shown}");
}

#[test]
fn broken_text_and_files_are_named() {
    let found = problems("[line]\ndelay = \n[engine\nqueue = 1\nqueue = 2\n");
    assert!(found.iter().any(|p| p.place.contains("test.toml:2:")), "{found:#?}");
    assert!(problems("[line]\n[line]\n").len() == 1);
    assert!(problems("line = 5\n")[0].remedy.contains("under [line]"));
    let layers = Layers { files: vec!["/nowhere/x.toml".into()], ..Layers::default() };
    assert!(load(&layers).unwrap_err().to_string().contains("/nowhere/x.toml: "));
}

#[test]
fn variables_and_arguments_are_named() {
    let layers = Layers {
        environment: vec![
            ("ONENIPD_LINE_DELAY".into(), "1 s".into()),
            ("ONENIPD_LINE__DALAY".into(), "1 s".into()),
            ("ONENIPD_ENGINE__QUEUE".into(), "many".into()),
        ],
        overrides: vec!["line.delay".into(), "delay=4 ms".into(), "engine.queue=99".into()],
        ..Layers::default()
    };
    let said = load_without_bundle(&layers).unwrap_err().to_string();
    for expected in [
        "environment ONENIPD_LINE_DELAY: ONENIPD_LINE_DELAY is no key; write ONENIPD_SECTION__KEY",
        "environment ONENIPD_LINE__DALAY: there is no key line.dalay; did you mean line.delay?",
        "environment ONENIPD_ENGINE__QUEUE: engine.queue is \"many\"; write a whole number",
        "--set line.delay: is no setting; write --set section.key=value",
        "--set delay=4 ms: is no setting",
        "--set engine.queue=99: engine.queue is 99, out of range; write 1 to 64",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}

#[test]
fn keys_must_agree() {
    let cases = [
        ("line.delay = \"20 ms\"", "no part could ever pass"),
        ("line.m_of_n_parts = 9", "more than the 9 parts"),
        ("camera.source = \"uri\"", "camera.uri is empty"),
        ("camera.device = \"\"", "camera.device is empty"),
        ("camera.source = \"gstreamer\"", "camera.pipeline is empty"),
        ("camera.source = \"folder\"", "camera.folder is empty"),
        ("gpio.trigger = \"4\"", "no chip is given"),
        ("gpio.chip = \"/dev/gpiochip0\"", "gpio.reject is not wired"),
        ("gpio.chip = \"c\"\ngpio.reject = \"4\"\ngpio.fault = \"4\"", "already"),
        ("gpio.active_low = [\"busy\"]", "which is not wired"),
        ("gpio.ready_mode = \"toggle\"", "gpio.ready is not wired"),
        ("gpio.chip = \"c\"\ngpio.reject = \"4\"\ngpio.encoder_b = \"5\"", "no direction"),
        ("line.free_run = true\ngpio.trigger = \"4\"", "free_run makes every frame"),
        ("line.distance = \"350 mm\"", "line.distance is for distance mode"),
        ("line.part_spacing = \"60 mm\"", "no speed is known"),
        ("line.mode = \"distance\"", "gpio.encoder_a is not wired"),
        ("line.mode = \"delay\"\ngpio.encoder_a = \"4\"", "but an encoder is wired"),
        ("gpio.encoder_a = \"4\"", "gpio.encoder_b is not wired"),
        ("gpio.encoder_a = \"4\"", "line.length is empty"),
        ("line.mode = \"distance\"\nline.length = \"40 mm\"", "line.counts_per_mm is empty"),
        (
            "line.mode = \"distance\"\nline.speed_max = \"1 m/s\"",
            "line.speed_max is in millimetres",
        ),
        (
            "line.mode = \"distance\"\nline.speed_max = \"1 m/s\"\nline.counts_per_mm = \"5 counts/mm\"",
            "which is 5000 edges of the encoder per second, but GPIO follows 4000",
        ),
        ("line.run_signal = \"line\"", "gpio.run is not wired"),
        ("line.run_signal = \"plc\"\nmodbus.read_only = true", "nobody can write BELT_RUN"),
        ("line.run_signal = \"none\"\ngpio.run = \"4\"", "gpio.run is wired"),
        ("line.fault_gate = \"per_part\"\nline.wiring = \"energise_to_pass\"", "rejects at rest"),
        ("modbus.enabled = false", "nothing announces a part"),
        ("modbus.read_only = true\nline.soft_trigger = \"on\"", "nobody can write"),
        ("modbus_client.target = \"plc\"", "modbus_client.address is empty"),
        ("modbus_client.target = \"coupler\"", "no output watchdog"),
        (
            "[modbus_client]\ntarget = \"coupler\"\nnet_time = \"30 ms\"",
            "line.min_gap is 20 ms, shorter than the 30 ms",
        ),
        (
            "[modbus_client]\ntarget = \"coupler\"\nwatchdog_register = 0x1000\nwatchdog_value = 3",
            "3 x 100 ms = 300 ms",
        ),
        ("[modbus_client]\ntarget = \"coupler\"\ngate_coil = 4\nalive_coil = 4", "on one coil"),
        ("modbus.writer = \"10.0.0.1\"\nmodbus.allow = [\"10.0.0.2\"]", "does not admit"),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        assert!(found.iter().any(|p| p.what.contains(expected)), "{text}: {found:#?}");
    }
    let coupler = "[modbus_client]\ntarget = \"coupler\"\naddress = \"10.0.0.9:502\"\n\
                   watchdog_register = 0x1000\nwatchdog_prepare = [\"0x1008=0x55AA\"]\n";
    assert_eq!(problems(coupler), []);
    let with_trigger = format!("{coupler}[gpio]\nchip = \"c\"\ntrigger = \"4\"\n");
    assert_eq!(problems(&with_trigger), [], "the gate is not on a GPIO line");
    let wrong = problems("modbus_client.watchdog_start = [\"0x100A\"]");
    assert!(wrong[0].remedy.contains("0x1008=0x55AA"), "{wrong:#?}");
    let pass = "line.wiring = \"energise_to_pass\"\ngpio.chip = \"c\"\ngpio.pass = \"4\"";
    assert_eq!(problems(pass), []);
    let distance = "gpio.chip = \"c\"\ngpio.reject = \"4\"\ngpio.encoder_a = \"5\"\n\
                    gpio.encoder_b = \"6\"\ngpio.run = \"7\"\nline.distance = \"350 mm\"\n\
                    line.length = \"400 counts\"\nline.speed_max = \"0.3 m/s\"\n\
                    line.counts_per_mm = \"12 counts/mm\"\nline.part_spacing = \"60 mm\"";
    assert_eq!(problems(distance), []);
    let named = &problems("line.delay = \"20 ms\"")[0];
    assert!(named.place.ends_with("test.toml:1:14"), "{named}");
}

#[test]
fn parts_closer_than_the_window_of_their_frames_are_refused_with_the_sum() {
    let close = "line.part_spacing = \"59 ms\"\nline.pulse = \"10 ms\"\n";
    let sum = "camera.match_before \"10 ms\" + camera.match_after \"50 ms\" = \"60 ms\", but parts \
               come every \"59 ms\"";
    let found = problems(close);
    assert!(found.len() == 1 && found[0].what.contains(sum), "{found:#?}");
    assert!(found[0].place.ends_with("test.toml:1:21"), "{found:#?}");
    assert_eq!(problems(&format!("{close}line.free_run = true")), []);
    assert_eq!(problems(&format!("{close}camera.match_after = \"49 ms\"")), []);
    // 60 mm at 0.3 m/s are 200 ms.
    let distance = "gpio.chip = \"c\"\ngpio.reject = \"4\"\ngpio.encoder_a = \"5\"\n\
                    gpio.encoder_b = \"6\"\nline.distance = \"350 mm\"\nline.length = \"40 mm\"\n\
                    line.speed_max = \"0.3 m/s\"\nline.counts_per_mm = \"12 counts/mm\"\n\
                    line.part_spacing = \"60 mm\"\n";
    assert_eq!(problems(&format!("{distance}camera.match_after = \"190 ms\"")), []);
    let found = problems(&format!("{distance}camera.match_after = \"191 ms\""));
    assert!(found.len() == 1 && found[0].what.contains("every \"200 ms\""), "{found:#?}");
}

proptest! {
    #[test]
    fn any_text_never_panics(text in "\\PC{0,200}") {
        let _ = problems(&text);
    }

    #[test]
    fn spoilt_references_never_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]=\"'{}.,#\n0-9a-z ä]{0,4}"), 1..6),
    ) {
        let mut text = reference_toml();
        for (index, insert) in &cuts {
            let at = (0..=index.index(text.len())).rev().find(|at| text.is_char_boundary(*at));
            text.insert_str(at.unwrap_or(0), insert);
        }
        let _ = problems(&text);
    }

    #[test]
    fn any_value_never_panics(section in "[a-z]{1,8}", value in "\\PC{0,40}", which in 0_usize..80) {
        let reference = reference_toml();
        let keys: Vec<&str> = reference.lines().filter(|line| line.contains(" = ")).collect();
        let key = keys[which % keys.len()].split(' ').next().unwrap();
        let set = |section: &str| Layers {
            overrides: vec![format!("{section}.{key}={value}")],
            environment: vec![(format!("ONENIPD_{section}__{key}"), value.clone())],
            ..Layers::default()
        };
        for section in [section.as_str(), "line", "gpio", "modbus", "camera", "engine"] {
            let _ = load(&set(section));
        }
    }
}
