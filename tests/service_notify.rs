//! The service's side of systemd's protocol, against a socket of the test's own.
//!
//! The socket's name is an environment variable of the whole process, so each case runs in a
//! process of its own: this test binary again, with `child` as the one test to run.

// A test may fail by a panic; clippy knows that only of functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use onenipd::daemon::service::{
    Watchdog, install_log, notify_ready, notify_status, notify_stopping,
};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Output};
use std::time::Duration;

/// Set in the child only: what it has to do.
const CASE: &str = "ONENIPD_TEST_CASE";

#[test]
fn child() {
    match std::env::var(CASE).as_deref() {
        Ok("notify") => {
            notify_ready("inspecting 2 products");
            notify_status("degraded: camera");
            notify_stopping("draining");
        }
        Ok("watchdog") => {
            let watchdog = Watchdog::from_environment().expect("a watchdog");
            assert_eq!(watchdog.interval(), Duration::from_millis(250));
            watchdog.feed();
            watchdog.feed();
        }
        Ok("flood") => {
            // Nobody reads: far more than any socket holds, and the line thread must not wait.
            let watchdog = Watchdog::from_environment().expect("a watchdog");
            (0..100_000).for_each(|_| watchdog.feed());
        }
        Ok("none") => {
            assert!(Watchdog::from_environment().is_none());
            notify_ready("nobody listens");
        }
        Ok("log") => {
            install_log(log::LevelFilter::Info).unwrap();
            assert!(install_log(log::LevelFilter::Info).is_err());
            log::info!("first line");
            log::debug!("not shown");
            log::error!("second line");
        }
        // Not a child: the cases are started by the other tests.
        _ => {}
    }
}

fn child_process(case: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(CASE, case);
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("1 passed"), "{out}");
    output
}

fn messages(socket: &UnixDatagram) -> Vec<String> {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    let mut messages = Vec::new();
    while let Ok(length) = socket.recv(&mut buffer) {
        messages.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    messages
}

#[test]
fn readiness_status_and_stopping_reach_the_manager() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    run(child_process("notify").env("NOTIFY_SOCKET", &path));
    assert_eq!(
        messages(&socket),
        [
            "READY=1\nSTATUS=inspecting 2 products\n",
            "STATUS=degraded: camera\n",
            "STOPPING=1\nSTATUS=draining\n"
        ]
    );
}

#[test]
fn the_watchdog_is_fed_through_a_path_and_an_abstract_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let by_path = UnixDatagram::bind(&path).unwrap();
    let name = format!("onenipd-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let by_name = UnixDatagram::bind_addr(&address).unwrap();
    for (socket, address) in [(by_path, path.display().to_string()), (by_name, format!("@{name}"))]
    {
        run(child_process("watchdog")
            .env("NOTIFY_SOCKET", address)
            .env("WATCHDOG_USEC", "1000000"));
        assert_eq!(messages(&socket), ["WATCHDOG=1\n", "WATCHDOG=1\n"]);
    }
}

#[test]
fn a_manager_that_does_not_read_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    run(child_process("flood").env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000"));
    let fed = messages(&socket).len();
    assert!(fed > 0 && fed < 100_000, "{fed}");
}

#[test]
fn there_is_no_watchdog_unless_this_process_is_asked_for_one() {
    run(&mut child_process("none"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    run(child_process("none").env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000"));
    let _socket = UnixDatagram::bind(&path).unwrap();
    run(child_process("none")
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000000")
        .env("WATCHDOG_PID", "1"));
    run(child_process("none").env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "soon"));
}

#[test]
fn without_a_journal_the_log_is_lines_on_stderr() {
    let output = run(&mut child_process("log"));
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains(" line")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].ends_with("Z info    first line"), "{text}");
    assert!(lines[1].ends_with("Z error   second line"), "{text}");
    assert!(!text.contains("not shown") && !text.contains('\x1b'), "{text}");
}
