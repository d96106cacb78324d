//! With KVM: a program of real mode is checkpointed while it runs, and each branch counts on from the
//! saved count.

use std::fs::File;
use std::time::Duration;

use bivouac::machine::Machine;
use bivouac::machine::plan::MemoryMapping;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::vm::sandbox::kvm::{Guest, is_sequence, is_there, letters};

/// A machine that counts, and all that it has said.
struct Counter {
    guest: Guest,
    machine: Machine,
    console: mpsc::Receiver<Vec<u8>>,
    said: Vec<u8>,
}

/// What its memory and devices were, and its last letter.
struct Saved(File, Vec<u8>, u8);

impl Counter {
    async fn new(saved: Option<&Saved>) -> Self {
        let mut guest = Guest::new();
        let mapping = match saved {
            None => MemoryMapping::Boot,
            Some(Saved(memory, ..)) => {
                guest.memory = memory.try_clone().unwrap();
                MemoryMapping::CopyOnWrite
            }
        };
        let (mut machine, console) = guest.start_to_load(mapping, saved.is_some()).await;
        if let Some(Saved(_, state, _)) = saved {
            machine.restore(state).await.unwrap();
        }
        assert!(machine.uses_kvm().await.unwrap());
        machine.cont().await.unwrap();
        Self {
            guest,
            machine,
            console,
            said: saved.map(|Saved(_, _, last)| *last).into_iter().collect(),
        }
    }

    /// Waits until it has counted on from what it said last, without a gap.
    async fn counts_on(&mut self) {
        let more = letters(&mut self.console, 100).await;
        self.said.extend(more);
        let text = String::from_utf8_lossy(&self.said);
        assert!(is_sequence(&self.said), "{text}");
    }

    async fn checkpoint(&mut self) -> Saved {
        let copy = memfd_create(c"copy", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        let copy = File::from(copy);
        let base = File::open(format!("/proc/self/fd/{}", fd(&self.guest.memory))).unwrap();
        std::io::copy(&mut &base, &mut &copy).unwrap();
        let written = self.machine.written_pages().unwrap();
        self.machine.pause().await.unwrap();
        let state = self.machine.save_devices().await.unwrap();
        let bytes = written.copy(&copy).unwrap();
        assert!((1..16 << 20).contains(&bytes), "{bytes}");
        // What it said before it was stopped.
        tokio::time::sleep(Duration::from_millis(50)).await;
        while let Ok(more) = self.console.try_recv() {
            self.said.extend(more);
        }
        self.machine.cont().await.unwrap();
        let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        Saved(copy, state, *self.said.last().unwrap())
    }
}

fn fd(file: &File) -> i32 {
    use std::os::fd::AsRawFd;
    file.as_raw_fd()
}

async fn checkpoint_and_branch() {
    let mut root = Counter::new(None).await;
    root.counts_on().await;
    let saved = root.checkpoint().await;
    let mut one = Counter::new(Some(&saved)).await;
    let mut two = Counter::new(Some(&saved)).await;
    one.counts_on().await;
    two.counts_on().await;
    let again = one.checkpoint().await;
    let mut three = Counter::new(Some(&again)).await;
    for counter in [&mut root, &mut one, &mut two, &mut three] {
        counter.counts_on().await;
    }
    for mut counter in [root, one, two, three] {
        counter.machine.stop(Duration::ZERO).await.unwrap();
    }
}

#[test]
fn a_boot_sector_counts_on_in_every_branch_with_kvm() {
    if !is_there() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, checkpoint_and_branch());
}
