//! The trial that tells a KVM that runs guests from one that merely opens: a bare VM in our own
//! process counts a register down 20,000 times in real mode and halts.
//!
//! Native KVM does that in microseconds; a paravirtual or a broken nested one emulates each
//! instruction and takes tens to hundreds of milliseconds. Waiting stops at 5 ms, and at 2 ms
//! where the pace leaves no doubt; an [`Alarm`] ends it. Never keeps a descriptor open: closing
//! a VM can wait for the kernel for 20 ms, so a thread of its own does that.

use std::path::Path;
use std::time::{Duration, Instant};

use kvm_bindings::kvm_regs;
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use super::alarm::Alarm;
use crate::sys::{self, errno_of};

/// How often the loop runs in the host's check.
pub const ITERATIONS: u16 = 20_000;
/// What a VM that works never comes near: the processor time that the loop may take.
pub const LIMIT: Duration = Duration::from_millis(5);
/// The limit is spent in parts. A host that takes the processor away for a while looks like a
/// crawl in one part, but the loop then ends at once in the next; where the second part crawls
/// as well, by [`HOPELESS`], the third is not waited for.
const PARTS: [Duration; 3] = [
    Duration::from_millis(1),
    Duration::from_millis(1),
    Duration::from_millis(3),
];
/// What the whole loop would take at the pace of one part, for that part to settle it.
const HOPELESS: Duration = Duration::from_millis(10);
/// On a host so busy that we hardly run, the wait for our share of processor time ends here.
const PATIENCE: Duration = Duration::from_millis(50);
/// A rest of processor time that is not worth another entry.
const LEAST: Duration = Duration::from_micros(100);
/// Where the page with the loop lies in the guest.
const CODE: u64 = 0x1000;
/// Below 4 GiB and away from the page: where old Intel processors keep what real mode needs.
const TSS: usize = 0xfffb_d000;
/// `again: dec cx; jnz again; hlt`, in 16-bit code; the rest of the page is `hlt` as well.
static LOOP: sys::Page = {
    let mut page = [0xf4; 4096];
    page[0] = 0x49;
    page[1] = 0x75;
    page[2] = 0xfd;
    sys::Page(page)
};

/// How the trial went, where a VM ran at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Whether the loop would end within [`LIMIT`].
    pub keeps_up: bool,
    /// The processor time of the loop, or of the part of it that was waited for.
    pub elapsed: Duration,
    /// How many of the iterations were done.
    pub iterations: u16,
}

impl Pace {
    /// How many times slower than the same loop on the bare processor, measured now (some 50
    /// microseconds); at least 1.
    pub fn factor(&self) -> u32 {
        let bare = (0..3).map(|_| bare_time()).min().unwrap_or_default();
        let bare = bare.as_secs_f64().max(1e-9) / f64::from(ITERATIONS);
        let here = self.elapsed.as_secs_f64() / f64::from(self.iterations.max(1));
        (here / bare).round().clamp(1.0, f64::from(u32::MAX)) as u32
    }
}

/// Where the trial ended early.
#[derive(Debug)]
pub enum Failed {
    /// The device could not be opened for reading and writing.
    Open(Errno),
    /// It opened, and is something else than KVM.
    NotKvm,
    /// `KVM_CREATE_VM` failed.
    CreateVm(Errno),
    /// A later step failed; it is named.
    Step(&'static str, Errno),
}

/// Runs the loop, of at least one iteration, in a bare VM of the KVM device at `path`.
///
/// # Errors
/// The step that failed, with the kernel's reason.
pub fn run(path: &Path, iterations: u16) -> Result<Pace, Failed> {
    Bench::build(path, iterations.max(1))?.race()
}

/// A VM with one vCPU and one page, ready to run.
struct Bench {
    /// `None` only while it is being dropped.
    parts: Option<(VcpuFd, VmFd, Kvm)>,
    iterations: u16,
}

impl Bench {
    fn build(path: &Path, iterations: u16) -> Result<Self, Failed> {
        let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| Failed::Open(Errno::EINVAL))?;
        let kvm = Kvm::new_with_path(&name).map_err(|e| Failed::Open(errno(e)))?;
        if kvm.get_api_version() != kvm_bindings::KVM_API_VERSION as i32 {
            return Err(Failed::NotKvm);
        }
        let vm = kvm.create_vm().map_err(|e| Failed::CreateVm(errno(e)))?;
        // Needed by Intel processors without "unrestricted guest", refused by none.
        let _ = vm.set_tss_address(TSS);
        let step = |name| move |e: kvm_ioctls::Error| Failed::Step(name, errno(e));
        sys::lend_page(&vm, CODE, &LOOP)
            .map_err(|e| Failed::Step("KVM_SET_USER_MEMORY_REGION", errno_of(&e)))?;
        let vcpu = vm.create_vcpu(0).map_err(step("KVM_CREATE_VCPU"))?;
        let mut segments = vcpu.get_sregs().map_err(step("KVM_GET_SREGS"))?;
        segments.cs.base = 0;
        segments.cs.selector = 0;
        vcpu.set_sregs(&segments).map_err(step("KVM_SET_SREGS"))?;
        let registers = kvm_regs {
            rip: CODE,
            rcx: iterations.into(),
            rflags: 2,
            ..Default::default()
        };
        vcpu.set_regs(&registers).map_err(step("KVM_SET_REGS"))?;
        Alarm::may_interrupt(&vcpu)
            .map_err(|e| Failed::Step("KVM_SET_SIGNAL_MASK", errno_of(&e)))?;
        Ok(Self {
            parts: Some((vcpu, vm, kvm)),
            iterations,
        })
    }

    /// Runs until the halt or the limit.
    fn race(mut self) -> Result<Pace, Failed> {
        let all = self.iterations;
        let mut alarm = Alarm::new().map_err(|e| Failed::Step("timer_create", e))?;
        let start = processor_time();
        let give_up = Instant::now() + PATIENCE;
        let (mut spent, mut done) = (Duration::ZERO, 0);
        for (number, part) in PARTS.into_iter().enumerate() {
            let halted = self.run_until(start + spent + part, give_up, &mut alarm)?;
            let before = (spent, done);
            spent = processor_time().saturating_sub(start);
            if halted {
                // Were the alarm not to interrupt, a crawl would come to its end in one go.
                let keeps_up = number > 0 || spent <= LIMIT;
                return Ok(Pace {
                    keeps_up,
                    elapsed: spent,
                    iterations: all,
                });
            }
            done = self.iterations_done()?;
            let pace = whole_loop(
                spent.saturating_sub(before.0),
                done.saturating_sub(before.1),
                all,
            );
            if number > 0 && pace > HOPELESS {
                break;
            }
        }
        let keeps_up = whole_loop(spent, done, all) <= LIMIT;
        Ok(Pace {
            keeps_up,
            elapsed: spent,
            iterations: done,
        })
    }

    /// Runs until the guest halts, which is true, or until this thread's processor time is
    /// `until`, or until `give_up`.
    fn run_until(
        &mut self,
        until: Duration,
        give_up: Instant,
        alarm: &mut Alarm,
    ) -> Result<bool, Failed> {
        while Instant::now() < give_up {
            let left = until.saturating_sub(processor_time());
            if left < LEAST {
                break;
            }
            alarm
                .set(left)
                .map_err(|e| Failed::Step("timer_settime", e))?;
            match self.vcpu()?.run() {
                Ok(VcpuExit::Hlt) => return Ok(true),
                Ok(_) => return Err(Failed::Step("KVM_RUN", Errno::EPROTO)),
                Err(e) if matches!(errno(e), Errno::EINTR | Errno::EAGAIN) => alarm.clear(),
                Err(e) => return Err(Failed::Step("KVM_RUN", errno(e))),
            }
        }
        Ok(false)
    }

    fn iterations_done(&mut self) -> Result<u16, Failed> {
        let registers = self.vcpu()?.get_regs();
        let left = registers
            .map_err(|e| Failed::Step("KVM_GET_REGS", errno(e)))?
            .rcx as u16;
        Ok(self.iterations.saturating_sub(left))
    }

    fn vcpu(&mut self) -> Result<&mut VcpuFd, Failed> {
        let parts = self
            .parts
            .as_mut()
            .ok_or(Failed::Step("KVM_RUN", Errno::EBADF))?;
        Ok(&mut parts.0)
    }
}

/// What `all` iterations would take where `done` of them took `spent`.
fn whole_loop(spent: Duration, done: u16, all: u16) -> Duration {
    spent * u32::from(all) / u32::from(done.max(1))
}

impl Drop for Bench {
    /// Closing waits for grace periods of the kernel's: under a millisecond mostly, 20 ms when
    /// it is the first VM since boot. Where no thread can be had, it is done here.
    fn drop(&mut self) {
        let parts = self.parts.take();
        let closing = std::thread::Builder::new().name("kvm-close".into());
        let _ = closing.spawn(move || drop(parts));
    }
}

/// The processor time of this thread, that of its guest included.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}

fn bare_time() -> Duration {
    let start = Instant::now();
    sys::count_down(ITERATIONS);
    start.elapsed()
}

fn errno(error: kvm_ioctls::Error) -> Errno {
    Errno::from_raw(error.errno())
}
