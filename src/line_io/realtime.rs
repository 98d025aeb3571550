//! Scheduling of the threads that keep time with the line (line-io 1.3): by choice, and never a
//! reason not to start.

use rustix::mm::MlockAllFlags;
use rustix::thread::CpuSet;
use std::fmt;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Nice value of the Modbus thread beside real-time threads: it goes first as soon as it has work,
/// and a flood of requests still leaves others their share, which a real-time priority would not.
const NICE: i32 = -5;

/// What the threads `line`, `gpio-in` and `coupler` ask of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RealtimeSettings {
    /// Priority under SCHED_FIFO, 1 to 99; 0 leaves the ordinary scheduler. From 50 on these threads
    /// keep the kernel's interrupt threads from running, which read the edges.
    pub priority: u8,
    /// Pages once used stay in memory.
    pub lock_memory: bool,
    /// The only CPUs these threads run on; empty: all.
    pub cpus: Vec<usize>,
}

/// One wish that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    wish: String,
    reason: String,
    remedy: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.wish, self.reason, self.remedy)
    }
}

/// Applies the settings to the calling thread (`lock_memory`: to the process). What the kernel
/// refuses is a warning with its remedy: a slower line still rejects.
pub fn apply(settings: &RealtimeSettings) {
    let name = std::thread::current().name().unwrap_or("unnamed").to_owned();
    for refusal in refusals(settings) {
        log::warn!("thread {name} runs without {refusal}");
    }
}

fn refusals(settings: &RealtimeSettings) -> Vec<Refusal> {
    let wishes = [
        (!settings.cpus.is_empty()).then(|| pin(&settings.cpus)),
        (settings.priority > 0).then(|| schedule_first(settings.priority)),
        settings.lock_memory.then(lock_memory),
    ];
    wishes.into_iter().flatten().filter_map(Result::err).collect()
}

/// For the calling thread where real-time priorities are wished for: not one itself, but ahead of
/// ordinary threads. What the kernel refuses is a warning with its remedy.
pub fn apply_ahead(settings: &RealtimeSettings) {
    if settings.priority == 0 {
        return;
    }
    // The kernel gives a nice value to a thread, not to its process.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        let name = std::thread::current().name().unwrap_or("unnamed").to_owned();
        log::warn!(
            "thread {name} runs without nice {NICE}: {error}; give the service LimitNICE={NICE}"
        );
    }
}

fn schedule_first(priority: u8) -> Result<(), Refusal> {
    let refusal = |reason: String| Refusal {
        wish: format!("realtime.priority {priority}"),
        reason,
        remedy: "give the service LimitRTPRIO of at least that (or CAP_SYS_NICE)",
    };
    let value = ThreadPriority::try_from(priority).map_err(|reason| refusal(reason.into()))?;
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let set = set_thread_priority_and_policy(thread_native_id(), value, fifo);
    set.map_err(|error| refusal(error.to_string()))
}

fn pin(cpus: &[usize]) -> Result<(), Refusal> {
    let refusal = |reason: String| Refusal {
        wish: format!("realtime.cpus {cpus:?}"),
        reason,
        remedy: "name CPUs of this machine (`nproc`) that the service may use (CPUAffinity=)",
    };
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(refusal(format!("there is no CPU {cpu}")));
        }
        set.set(cpu);
    }
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| refusal(error.to_string()))
}

/// Pages are locked as they are used: locking whole stacks and arenas at once would cost a small
/// box gigabytes that nothing touches.
fn lock_memory() -> Result<(), Refusal> {
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    rustix::mm::mlockall(flags).map_err(|error| Refusal {
        wish: "realtime.lock_memory".into(),
        reason: error.to_string(),
        remedy: "give the service LimitMEMLOCK=infinity (or CAP_IPC_LOCK)",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_wished_is_nothing_refused() {
        assert_eq!(refusals(&RealtimeSettings::default()), []);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused_with_the_remedy() {
        for cpu in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU] {
            let settings = RealtimeSettings { cpus: vec![cpu], ..RealtimeSettings::default() };
            // The thread of this test is its own: what it is pinned to ends with it.
            let refused = std::thread::spawn(move || refusals(&settings)).join().unwrap();
            let text = refused[0].to_string();
            assert!(text.contains(&format!("realtime.cpus [{cpu}]")), "{text}");
            assert!(text.contains("CPUAffinity"), "{text}");
        }
    }

    #[test]
    fn only_the_thread_that_asks_goes_ahead_and_only_beside_real_time_threads() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let asks = |priority| {
            let settings = RealtimeSettings { priority, ..RealtimeSettings::default() };
            std::thread::spawn(move || (apply_ahead(&settings), nice()).1).join().unwrap()
        };
        assert_eq!(asks(0), before);
        // Refused where the limit does not allow it; then nothing has changed.
        assert!([NICE, before].contains(&asks(40)));
        assert_eq!(nice(), before);
    }

    #[test]
    fn a_thread_is_pinned_where_it_asks_to_be() {
        let pinned = std::thread::spawn(|| {
            let allowed = rustix::thread::sched_getaffinity(None).unwrap();
            let cpu = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).unwrap();
            let settings = RealtimeSettings { cpus: vec![cpu], ..RealtimeSettings::default() };
            assert_eq!(refusals(&settings), []);
            let now = rustix::thread::sched_getaffinity(None).unwrap();
            (now.count(), now.is_set(cpu))
        });
        assert_eq!(pinned.join().unwrap(), (1, true));
    }
}
