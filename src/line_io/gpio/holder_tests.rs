use super::*;
use crate::line_io::gpio::{GpioLine, GpioSettings, LineAddress, OutputLine, ReadyMode};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::PathBuf;

fn settings(socket: Option<PathBuf>) -> GpioOutputSettings {
    let line = GpioLine { address: LineAddress::Offset(3), active_low: false };
    GpioOutputSettings {
        wires: GpioSettings {
            chip: "/dev/gpiochip-none".into(),
            lines: vec![(OutputLine::Reject, line)],
        },
        energise_to_pass: false,
        ready_mode: ReadyMode::Level,
        hold_socket: socket,
    }
}

/// An ordinary file in place of a line request: what is passed on can be told by its content.
fn lines(folder: &Path, content: &str) -> LineFile {
    let mut file = File::create_new(folder.join(content)).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    let file = File::options().read(true).write(true).open(folder.join(content)).unwrap();
    LineFile::shared(file.into(), "/dev/gpiochip9 3 Reject high 7 Ready low".into(), 1, 2)
}

fn content(file: OwnedFd) -> String {
    let mut text = String::new();
    let mut file = File::from(file);
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn what_is_kept_is_read_as_it_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let said = lines(folder.path(), "a");
    let copy = said.share().unwrap();
    let heard = kept(&keep(&said), File::open(folder.path().join("a")).unwrap().into()).unwrap();
    assert_eq!((heard.wires(), heard.safe(), heard.count()), (said.wires(), 1, 2));
    assert_eq!(copy.wires(), said.wires());
    for broken in ["", "KEEP", "KEEP 1", "KEEP x 2 chip", "TAKE 1 2 chip"] {
        let file = File::open(folder.path().join("a")).unwrap().into();
        assert!(kept(broken, file).is_none(), "{broken}");
    }
}

#[test]
fn the_holder_offers_what_an_earlier_daemon_gave_and_lets_go_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("hold.sock");
    let mut holder = Holder::start(settings(None), &socket).unwrap();
    assert!(!holder.holds(), "there is no chip");

    // The holder serves one daemon in its thread; the daemon is this one.
    let mut serve = |daemon: &mut dyn FnMut(OwnedFd)| {
        std::thread::scope(|scope| {
            let served = scope.spawn(|| holder.serve_one());
            daemon(connect(&socket).unwrap());
            served.join().unwrap().unwrap();
        });
        holder.holds()
    };
    let held = serve(&mut |link| {
        assert!(matches!(receive(&link), Ok((wires, None)) if wires.is_empty()));
        let own = lines(folder.path(), "lines of the first daemon");
        send(&link, &keep(&own), Some(&own)).unwrap();
    });
    assert!(!held, "an ordinary file cannot be set to a level: nothing is held");

    let held = serve(&mut |link| {
        receive(&link).unwrap();
        send(&link, RELEASE, None).unwrap();
        assert_eq!(receive(&link).unwrap().0, RELEASED);
    });
    assert!(!held);
}

#[test]
fn a_file_goes_through_the_socket_with_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let listener = listen(&socket).unwrap();
    let link = connect(&socket).unwrap();
    let other = rustix::net::accept(&listener).unwrap();
    send(&link, "here", Some(&lines(folder.path(), "the lines"))).unwrap();
    send(&link, "", None).unwrap();
    let (text, file) = receive(&other).unwrap();
    assert_eq!((text.as_str(), content(file.unwrap()).as_str()), ("here", "the lines"));
    assert!(matches!(receive(&other), Ok((text, None)) if text.is_empty()));
    drop(link);
    assert_eq!(receive(&other).err(), Some(Errno::PIPE), "the end is seen");
}

#[test]
fn a_second_holder_is_refused_and_a_left_socket_is_not_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("hold.sock");
    let first = Holder::start(settings(None), &socket).unwrap();
    let refused = Holder::start(settings(None), &socket).err().unwrap().to_string();
    assert!(refused.contains("another holder"), "{refused}");
    drop(first);
    assert!(socket.exists(), "left behind");
    assert!(Holder::start(settings(None), &socket).is_ok());
    let nowhere = folder.path().join("missing/hold.sock");
    let refused = Holder::start(settings(None), &nowhere).err().unwrap().to_string();
    assert!(refused.contains("the folder must exist"), "{refused}");
}

#[test]
fn a_missing_chip_is_told_before_the_holder_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(Some(folder.path().join("hold.sock")));
    let refused = take_lines(&settings).err().unwrap().to_string();
    assert!(refused.contains("no such chip"), "{refused}");
}
