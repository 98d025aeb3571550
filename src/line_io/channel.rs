//! The channel to and from a real-time thread: bounded, in order, and nobody in it waits for a
//! thread that the scheduler has put aside.
//!
//! In other channels an ordinary thread wakes the receiver while it holds the channel's lock, or
//! claims a place and fills it later; where it then loses its core, a receiver of real-time
//! priority waits until the ordinary scheduler has its turn for it, for tens of milliseconds on a
//! loaded machine. Here a place that is claimed and not yet filled is passed over, and waking is one
//! call of the kernel without a lock.

pub use crossbeam_channel::{
    RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};

use crate::part::{Duration, LineTime};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

/// A sender that must wait for room looks again after this long.
const FULL: Duration = Duration::from_millis(1);

/// A channel for `capacity` messages. One thread receives: the first that waits is the one woken.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let place = || Place { state: AtomicU8::new(FREE), message: Mutex::new(None) };
    let shared = Arc::new(Shared {
        places: (0..capacity.max(1)).map(|_| place()).collect(),
        head: AtomicUsize::new(0),
        tail: AtomicUsize::new(0),
        senders: AtomicUsize::new(1),
        closed: AtomicBool::new(false),
        receiver: OnceLock::new(),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared, alone: PhantomData })
}

/// Nothing in it; belongs to the sender that claims it.
const FREE: u8 = 0;
/// Filled; belongs to the receiver.
const FILLED: u8 = 1;
/// Emptied, while an earlier one is still to be filled.
const TAKEN: u8 = 2;

/// The lock is never waited for: `state` says whose it is.
struct Place<T> {
    state: AtomicU8,
    message: Mutex<Option<T>>,
}

struct Shared<T> {
    places: Box<[Place<T>]>,
    /// Places ever given free again; written by the receiver alone.
    head: AtomicUsize,
    /// Places ever claimed.
    tail: AtomicUsize,
    senders: AtomicUsize,
    /// The receiver is gone.
    closed: AtomicBool,
    receiver: OnceLock<Thread>,
}

impl<T> Shared<T> {
    fn place(&self, number: usize) -> &Place<T> {
        &self.places[number % self.places.len()]
    }

    fn len(&self) -> usize {
        let head = self.head.load(Ordering::Acquire);
        self.tail.load(Ordering::Acquire).saturating_sub(head)
    }

    /// The number of a free place, or `None` while all are claimed.
    fn claim(&self) -> Option<usize> {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            // A tail gone stale while the head moved on is found out by the exchange.
            let used = tail.saturating_sub(self.head.load(Ordering::Acquire));
            if used >= self.places.len() {
                let now = self.tail.load(Ordering::Relaxed);
                if now == tail {
                    return None;
                }
                tail = now;
                continue;
            }
            let next = tail + 1;
            match self.tail.compare_exchange_weak(tail, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(tail),
                Err(now) => tail = now,
            }
        }
    }

    fn wake(&self) {
        // Pairs with the receiver's: either it finds the message, or we find it to be woken.
        fence(Ordering::SeqCst);
        if let Some(receiver) = self.receiver.get() {
            receiver.unpark();
        }
    }
}

/// The end that many threads may hold.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.wake();
        }
    }
}

impl<T> Sender<T> {
    /// Sends without waiting.
    ///
    /// # Errors
    /// The channel is full, or its receiver gone; the message comes back.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(TrySendError::Disconnected(message));
        }
        let Some(number) = self.shared.claim() else { return Err(TrySendError::Full(message)) };
        let place = self.shared.place(number);
        *place.message.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
        place.state.store(FILLED, Ordering::Release);
        self.shared.wake();
        Ok(())
    }

    /// Sends; waits while the channel is full.
    ///
    /// # Errors
    /// The receiver is gone; the message comes back.
    pub fn send(&self, mut message: T) -> Result<(), SendError<T>> {
        loop {
            match self.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(back)) => return Err(SendError(back)),
                Err(TrySendError::Full(back)) => message = back,
            }
            std::thread::sleep(FULL);
        }
    }

    /// As [`Sender::send`], for so long at most.
    ///
    /// # Errors
    /// Still full, or the receiver is gone; the message comes back.
    pub fn send_timeout(&self, mut message: T, wait: Duration) -> Result<(), SendTimeoutError<T>> {
        let until = LineTime::now() + wait;
        loop {
            match self.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(back)) => {
                    return Err(SendTimeoutError::Disconnected(back));
                }
                Err(TrySendError::Full(back)) if LineTime::now() >= until => {
                    return Err(SendTimeoutError::Timeout(back));
                }
                Err(TrySendError::Full(back)) => message = back,
            }
            std::thread::sleep(FULL);
        }
    }

    /// Messages under way.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Messages it has room for.
    pub fn capacity(&self) -> usize {
        self.shared.places.len()
    }
}

/// The end of the one thread that receives.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// Two threads may not share it.
    alone: PhantomData<Cell<()>>,
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        // What is left goes now: it may hold the other end of something.
        self.try_iter().for_each(drop);
    }
}

impl<T> Receiver<T> {
    /// The next message that is there.
    ///
    /// # Errors
    /// There is none, or there never will be.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        // Asked first: what the last sender sent was there before it went.
        let ended = self.shared.senders.load(Ordering::Acquire) == 0;
        let none = if ended { TryRecvError::Disconnected } else { TryRecvError::Empty };
        self.take().ok_or(none)
    }

    /// The next message; waits for it so long at most.
    ///
    /// # Errors
    /// The time is over, or every sender gone and nothing left.
    pub fn recv_timeout(&self, wait: Duration) -> Result<T, RecvTimeoutError> {
        let until = LineTime::now() + wait;
        loop {
            match self.try_recv() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            let left = until.since(LineTime::now());
            if left.is_zero() {
                return Err(RecvTimeoutError::Timeout);
            }
            self.wait(left);
        }
    }

    /// Returns when a message may be there, somebody wakes, or the time is over.
    pub fn wait(&self, time: Duration) {
        self.shared.receiver.get_or_init(std::thread::current);
        fence(Ordering::SeqCst);
        let ended = self.shared.senders.load(Ordering::Acquire) == 0;
        if !ended && self.first().is_none() {
            std::thread::park_timeout(time);
        }
    }

    /// Wakes this receiver for something else it looks at.
    pub fn waker(&self) -> Waker<T> {
        Waker { shared: Arc::clone(&self.shared) }
    }

    /// Every message that is there.
    pub fn try_iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.try_recv().ok())
    }

    /// Messages under way.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Place of the oldest message that is whole. Those claimed before it and not yet filled are
    /// passed over: what their senders send is sent when it is there.
    fn first(&self) -> Option<&Place<T>> {
        let mut claimed = self.claimed().map(|number| self.shared.place(number));
        claimed.find(|place| place.state.load(Ordering::Acquire) == FILLED)
    }

    fn claimed(&self) -> Range<usize> {
        let head = self.shared.head.load(Ordering::Relaxed);
        head..self.shared.tail.load(Ordering::Acquire)
    }

    fn take(&self) -> Option<T> {
        let place = self.first()?;
        let message = place.message.lock().unwrap_or_else(PoisonError::into_inner).take();
        place.state.store(TAKEN, Ordering::Relaxed);
        let taken =
            |number: &usize| self.shared.place(*number).state.load(Ordering::Relaxed) == TAKEN;
        for number in self.claimed().take_while(taken) {
            self.shared.place(number).state.store(FREE, Ordering::Relaxed);
            self.shared.head.store(number + 1, Ordering::Release);
        }
        message
    }
}

/// Wakes a receiver without a message.
pub struct Waker<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Waker<T> {
    /// Its [`Receiver::wait`] returns, now or the next time.
    pub fn wake(&self) {
        self.shared.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_put_aside_holds_nobody_up() {
        let (sender, receiver) = bounded(4);
        sender.send(1).unwrap();
        // What a sender does first; then it loses its core.
        let number = sender.shared.claim().unwrap();
        sender.send(3).unwrap();
        sender.send(4).unwrap();
        assert_eq!(sender.try_send(5), Err(TrySendError::Full(5)));
        let wait = Duration::from_millis(1);
        assert_eq!((receiver.try_recv(), receiver.recv_timeout(wait)), (Ok(1), Ok(3)));
        sender.send(6).unwrap();
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(4), Ok(6)));
        assert_eq!(receiver.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
        let place = sender.shared.place(number);
        *place.message.lock().unwrap() = Some(2);
        place.state.store(FILLED, Ordering::Release);
        assert_eq!((receiver.try_recv(), receiver.len()), (Ok(2), 0));
        (0..9).for_each(|n| {
            sender.try_send(n).unwrap();
            assert_eq!(receiver.try_recv(), Ok(n));
        });
    }

    #[test]
    fn nothing_is_lost_and_each_sender_keeps_its_order() {
        const EACH: u32 = 20_000;
        let (sender, receiver) = bounded(16);
        let senders: Vec<_> = (0..4usize)
            .map(|who| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for number in 0..EACH {
                        let mut message = (who, number);
                        while let Err(TrySendError::Full(back)) = sender.try_send(message) {
                            message = back;
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let mut next = [0; 4];
        loop {
            match receiver.recv_timeout(Duration::from_secs(60)) {
                Ok((who, number)) => {
                    assert_eq!(number, next[who]);
                    next[who] += 1;
                }
                Err(end) => {
                    assert_eq!(end, RecvTimeoutError::Disconnected);
                    break;
                }
            }
        }
        assert_eq!(next, [EACH; 4]);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    }

    #[test]
    fn a_waiting_receiver_is_woken_by_a_message_and_by_the_end() {
        let (sender, receiver) = bounded(1);
        let waiting = std::thread::spawn(move || {
            let wait = Duration::from_secs(600);
            (receiver.recv_timeout(wait), receiver.recv_timeout(wait))
        });
        sender.send(7).unwrap();
        drop(sender);
        assert_eq!(waiting.join().unwrap(), (Ok(7), Err(RecvTimeoutError::Disconnected)));
    }

    #[test]
    fn without_a_receiver_every_message_comes_back() {
        let (sender, receiver) = bounded(2);
        let (held, free) = (Arc::new(()), Arc::new(()));
        sender.send(Arc::clone(&held)).unwrap();
        drop(receiver);
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(sender.send(Arc::clone(&free)).is_err());
        assert!(sender.send_timeout(Arc::clone(&free), Duration::from_secs(600)).is_err());
        assert!(matches!(sender.try_send(free), Err(TrySendError::Disconnected(_))));
    }

    #[test]
    fn a_full_channel_is_waited_for() {
        let (sender, receiver) = bounded(1);
        sender.send(1).unwrap();
        let full = sender.send_timeout(2, Duration::from_millis(2));
        assert_eq!(full, Err(SendTimeoutError::Timeout(2)));
        let waiting = std::thread::spawn(move || sender.send(3));
        let got = [0; 2].map(|_| receiver.recv_timeout(Duration::from_secs(600)).unwrap());
        assert_eq!(got, [1, 3]);
        waiting.join().unwrap().unwrap();
    }
}
