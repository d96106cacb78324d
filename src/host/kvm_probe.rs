//! Distinguishes a KVM that runs guests from one that merely opens: a bare VM in this process counts a
//! register down 20,000 times in real mode and halts.
//!
//! Native KVM does that in microseconds. A paravirtual or broken nested one emulates each instruction
//! and takes tens to hundreds of milliseconds. An [`Alarm`] stops it at 5 ms, or at 2 ms if the speed
//! leaves no doubt. Another thread closes the VM, which can take the kernel 20 ms.

use std::path::Path;
use std::time::{Duration, Instant};

use kvm_bindings::kvm_regs;
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use super::alarm::Alarm;
use crate::sys::{self, errno_of};

/// The iterations of the host's check.
pub const ITERATIONS: u16 = 20_000;
/// CPU time that the loop may take. Far more than a VM that works needs.
pub const LIMIT: Duration = Duration::from_millis(5);
/// The limit is divided into parts. If the host takes the processor away, one part looks too slow, but
/// the loop then ends at once in the next. If the second part is too slow as well, by [`TOO_SLOW`],
/// the third is skipped.
const PARTS: [Duration; 3] = [
    Duration::from_millis(1),
    Duration::from_millis(1),
    Duration::from_millis(3),
];
/// The time of all iterations at the speed of one part, for that part to decide.
const TOO_SLOW: Duration = Duration::from_millis(10);
/// Limit in wall time, on a host so busy that this thread hardly runs.
const WALL_LIMIT: Duration = Duration::from_millis(50);
/// Remaining CPU time that is not worth another `KVM_RUN`.
const LEAST: Duration = Duration::from_micros(100);
/// The guest address of the page with the loop.
const CODE: u64 = 0x1000;
/// Below 4 GiB and away from the page: what old Intel processors need for real mode.
const TSS: usize = 0xfffb_d000;
/// `again: dec cx; jnz again; hlt` in 16-bit code; the rest of the page is `hlt` as well.
static LOOP: sys::GuestPage = {
    let mut page = [0xf4; 4096];
    (page[0], page[1], page[2]) = (0x49, 0x75, 0xfd);
    sys::GuestPage(page)
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Whether the loop ends within [`LIMIT`].
    pub keeps_up: bool,
    pub elapsed: Duration,
    pub iterations: u16,
}

impl Timing {
    /// How many times slower than the same loop on the bare processor, which is measured now (about 50
    /// microseconds). At least 1.
    pub fn factor(&self) -> u32 {
        let bare = (0..3).map(|_| bare_time()).min().unwrap_or_default();
        let bare = bare.as_secs_f64().max(1e-9) / f64::from(ITERATIONS);
        let here = self.elapsed.as_secs_f64() / f64::from(self.iterations.max(1));
        (here / bare).round().clamp(1.0, f64::from(u32::MAX)) as u32
    }
}

#[derive(Debug)]
pub enum Failed {
    NotKvm,
    /// The system call or the ioctl request that failed.
    Step(&'static str, Errno),
}

/// The step that opens the device for reading and writing.
pub const OPEN: &str = "open";
pub const CREATE_VM: &str = "KVM_CREATE_VM";

pub fn run(path: &Path, iterations: u16) -> Result<Timing, Failed> {
    Bench::build(path, iterations.max(1))?.measure()
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
            .map_err(|_| Failed::Step(OPEN, Errno::EINVAL))?;
        let step = |name| move |e: kvm_ioctls::Error| Failed::Step(name, errno(e));
        let kvm = Kvm::new_with_path(&name).map_err(step(OPEN))?;
        if kvm.get_api_version() != kvm_bindings::KVM_API_VERSION as i32 {
            return Err(Failed::NotKvm);
        }
        let vm = kvm.create_vm().map_err(step(CREATE_VM))?;
        // Needed by Intel processors without "unrestricted guest".
        let _ = vm.set_tss_address(TSS);
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

    /// Runs until the guest halts, or until [`LIMIT`].
    fn measure(mut self) -> Result<Timing, Failed> {
        let all = self.iterations;
        let mut alarm = Alarm::new().map_err(|e| Failed::Step("timer_create", e))?;
        let start = cpu_time();
        let give_up = Instant::now() + WALL_LIMIT;
        let (mut spent, mut done) = (Duration::ZERO, 0);
        for (number, part) in PARTS.into_iter().enumerate() {
            let halted = self.run_until(start + spent + part, give_up, &mut alarm)?;
            let before = (spent, done);
            spent = cpu_time().saturating_sub(start);
            if halted {
                // Without a working alarm, a KVM that is too slow would halt in the first part.
                return Ok(Timing {
                    keeps_up: number > 0 || spent <= LIMIT,
                    elapsed: spent,
                    iterations: all,
                });
            }
            done = self.iterations_done()?;
            let (more_spent, more_done) = (
                spent.saturating_sub(before.0),
                done.saturating_sub(before.1),
            );
            if number > 0 && extrapolate(more_spent, more_done, all) > TOO_SLOW {
                break;
            }
        }
        Ok(Timing {
            keeps_up: extrapolate(spent, done, all) <= LIMIT,
            elapsed: spent,
            iterations: done,
        })
    }

    /// Runs until the guest halts (then true), until this thread's CPU time is `until`, or until
    /// `give_up`.
    fn run_until(
        &mut self,
        until: Duration,
        give_up: Instant,
        alarm: &mut Alarm,
    ) -> Result<bool, Failed> {
        while Instant::now() < give_up {
            let left = until.saturating_sub(cpu_time());
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
        let registers = registers.map_err(|e| Failed::Step("KVM_GET_REGS", errno(e)))?;
        Ok(self.iterations.saturating_sub(registers.rcx as u16))
    }

    fn vcpu(&mut self) -> Result<&mut VcpuFd, Failed> {
        let parts = self.parts.as_mut();
        let (vcpu, ..) = parts.ok_or(Failed::Step("KVM_RUN", Errno::EBADF))?;
        Ok(vcpu)
    }
}

/// The time of `all` iterations if `done` of them took `spent`.
fn extrapolate(spent: Duration, done: u16, all: u16) -> Duration {
    spent * u32::from(all) / u32::from(done.max(1))
}

impl Drop for Bench {
    /// Closing waits for the kernel's grace periods: mostly under a millisecond, 20 ms for the first VM
    /// since boot. If no thread can be started, it is done here.
    fn drop(&mut self) {
        let parts = self.parts.take();
        let closing = std::thread::Builder::new().name("kvm-close".into());
        let _ = closing.spawn(move || drop(parts));
    }
}

/// The CPU time of this thread, including its guest's.
fn cpu_time() -> Duration {
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
