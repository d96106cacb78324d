//! A time limit for `KVM_RUN`: a timer whose signal is blocked in the thread and delivered only inside
//! `KVM_RUN`, which then returns EINTR. This needs no other thread and no handler, and restores the
//! thread's mask and pending signals.

use std::io;
use std::time::Duration;

use kvm_ioctls::VcpuFd;
use nix::errno::Errno;
use nix::sys::signal::{SigEvent, SigSet, SigevNotify, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use crate::sys;

/// Sent by the timer, to this thread only. Not SIGALRM, which an `alarm` set before exec may send.
const TICK: Signal = Signal::SIGVTALRM;

/// A one-shot timer that interrupts this thread's `KVM_RUN` and nothing else.
pub struct Alarm {
    timer: Option<Timer>,
    mask_before: SigSet,
}

impl Alarm {
    /// Lets the alarm, and no other signal, interrupt `KVM_RUN` of this vCPU.
    pub fn may_interrupt(vcpu: &VcpuFd) -> io::Result<()> {
        sys::let_only_interrupt(vcpu, TICK)
    }

    /// Not set yet. May be used only by the calling thread.
    pub fn new() -> Result<Self, Errno> {
        let mut mask = SigSet::empty();
        mask.add(TICK);
        let mut mask_before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&mask), Some(&mut mask_before))?;
        let mut alarm = Self {
            timer: None,
            mask_before,
        };
        let event = SigEvent::new(SigevNotify::SigevThreadId {
            signal: TICK,
            thread_id: nix::unistd::gettid().as_raw(),
            si_value: 0,
        });
        alarm.timer = Some(Timer::new(ClockId::CLOCK_MONOTONIC, event)?);
        Ok(alarm)
    }

    /// Interrupts once, after this time.
    pub fn set(&mut self, after: Duration) -> Result<(), Errno> {
        let when = Expiration::OneShot(TimeSpec::from_duration(after));
        self.timer
            .as_mut()
            .map_or(Ok(()), |t| t.set(when, TimerSetTimeFlags::empty()))
    }

    /// Consumes the signal, so that the next `KVM_RUN` is not interrupted at once.
    pub fn clear(&self) {
        sys::take_pending(TICK);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.timer = None;
        if !self.mask_before.contains(TICK) {
            self.clear();
        }
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.mask_before), None);
    }
}
