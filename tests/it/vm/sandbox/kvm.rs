//! With KVM in the sandbox: a boot sector runs, is saved and is restored, as root and as an ordinary
//! user. A program of real mode, because that is all that a KVM below another hypervisor may run well.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use bivouac::image::Format;
use bivouac::machine::channels::Channels;
use bivouac::machine::console::Sinks;
use bivouac::machine::plan::{Accelerator, ChildFd, MemoryMapping, Plan, SnapshotConfig};
use bivouac::machine::{HeldResources, Machine};
use bivouac::sandbox::{Mode, Settings};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::{NOBODY, Victim};
use crate::args;

const DEVICE: &str = "/dev/kvm";
const MEMORY_MIB: u64 = 16;

/// Counts in memory and prints a letter from `a` to `p` a step to COM1, for ever.
const BOOT_SECTOR: [u8; 28] = [
    0x31, 0xc0, 0x8e, 0xd8, // ds = 0
    0xff, 0x06, 0x00, 0x05, // inc word [0x500]
    0xa0, 0x00, 0x05, 0x24, 0x0f, 0x04, 0x61, // al = [0x500] & 15 + 'a'
    0xba, 0xf8, 0x03, 0xee, // out 0x3f8, al
    0xb9, 0x40, 0x00, 0xe4, 0x80, 0xe2, 0xfc, // wait: 64 accesses of port 0x80
    0xeb, 0xe8, // to inc
];

fn sectors() -> Vec<u8> {
    let mut sectors = vec![0; 1 << 20];
    sectors[..BOOT_SECTOR.len()].copy_from_slice(&BOOT_SECTOR);
    sectors[510..512].copy_from_slice(&[0x55, 0xaa]);
    sectors
}

/// What its machine is made of.
pub struct Guest {
    _directory: tempfile::TempDir,
    disk: File,
    overlay: File,
    pub memory: File,
}

impl Guest {
    pub fn new() -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("disk"), sectors()).unwrap();
        let mut create = Command::new("qemu-img");
        create.args(["create", "-q", "-f", "qcow2"]);
        let create = create.arg(path("overlay")).arg("1M").status();
        assert!(create.unwrap().success());
        let overlay = File::options().read(true).write(true).open(path("overlay"));
        let memory = memfd_create(c"memory", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        let memory = File::from(memory);
        memory.set_len(MEMORY_MIB << 20).unwrap();
        Self {
            disk: File::open(path("disk")).unwrap(),
            overlay: overlay.unwrap(),
            memory,
            _directory: directory,
        }
    }

    async fn start(&self, mapping: MemoryMapping) -> (Machine, mpsc::Receiver<Vec<u8>>) {
        self.start_to_load(mapping, false).await
    }

    /// Starts it with its CPUs stopped.
    pub async fn start_to_load(
        &self,
        mapping: MemoryMapping,
        devices_only: bool,
    ) -> (Machine, mpsc::Receiver<Vec<u8>>) {
        let number = |file: &File| file.as_raw_fd();
        let channels = Channels::new(false).unwrap();
        let layer = args::layer(number(&self.disk), Format::Raw, "disk");
        let plan = Plan {
            accelerator: Accelerator::Kvm,
            // A KVM below another hypervisor may refuse what `max` asks for.
            cpu: "qemu64".into(),
            cpus: 1,
            memory_mib: MEMORY_MIB,
            disks: vec![args::disk(number(&self.overlay), vec![layer])],
            qmp: channels.qmp_fd(),
            console: channels.console_fd(),
            snapshot: Some(SnapshotConfig {
                memory: ChildFd(number(&self.memory)),
                mapping,
                empty_disks: 0,
                generation_id: false,
                devices_only,
            }),
            sandbox: Settings {
                mode: Mode::Require,
                read: vec![],
            },
            ..args::plan()
        };
        let (output, said) = mpsc::channel(1 << 16);
        let files = [&self.disk, &self.overlay, &self.memory];
        let resources = HeldResources {
            channels,
            remotes: Vec::new(),
            files: files.map(File::as_fd).to_vec(),
            max_file_size: None,
            sinks: Sinks {
                output: Some(output),
                log: None,
            },
            input: mpsc::channel(1).1,
        };
        let mut machine = Machine::start(&plan, resources).await.unwrap();
        assert!(machine.uses_kvm().await.unwrap());
        assert!(machine.sandbox().landlock > 0 && machine.sandbox().seccomp);
        (machine, said)
    }
}

/// The letters, once there are as many.
pub async fn letters(said: &mut mpsc::Receiver<Vec<u8>>, count: usize) -> Vec<u8> {
    let mut text = Vec::new();
    // After the firmware's words.
    let start = |text: &[u8]| {
        let last = text.iter().rposition(|byte| !byte.is_ascii_lowercase());
        last.map_or(0, |last| last + 1)
    };
    while text.len() < start(&text) + count {
        text.extend(said.recv().await.expect("it speaks on"));
    }
    text.split_off(start(&text))
}

pub fn is_sequence(letters: &[u8]) -> bool {
    let next = |letter| (letter - b'a' + 1) % 16 + b'a';
    letters.windows(2).all(|two| next(two[0]) == two[1])
}

async fn run_save_and_restore() {
    let guest = Guest::new();
    let (mut machine, mut said) = guest.start(MemoryMapping::Shared).await;
    machine.cont().await.unwrap();
    let mut before = letters(&mut said, 100).await;
    let state = machine.save().await.unwrap();
    machine.stop(Duration::from_secs(10)).await.unwrap();
    while let Some(more) = said.recv().await {
        before.extend(more);
    }
    assert!(is_sequence(&before), "{}", String::from_utf8_lossy(&before));
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    fcntl(&guest.memory, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    for _ in 0..2 {
        let (mut machine, mut said) = guest.start(MemoryMapping::CopyOnWrite).await;
        machine.restore(&state).await.unwrap();
        machine.cont().await.unwrap();
        let after = letters(&mut said, 100).await;
        machine.stop(Duration::ZERO).await.unwrap();
        let both = [&before[before.len() - 1..], &after].concat();
        assert!(is_sequence(&both), "{}", String::from_utf8_lossy(&both));
    }
    let _ = std::io::stdout().write_all(b"restored twice\n");
}

/// By the command line, past the check of KVM, which may find it too slow.
fn run_by_root() {
    let victim = Victim::new(true);
    fs::write(victim.path("bin/image"), sectors()).unwrap();
    let words = "run --format raw --cpu qemu64 --memory 16M --cpus 1 --report report.json \
        --qemu-arg -accel --qemu-arg kvm bin/image";
    let words: Vec<_> = words.split_whitespace().collect();
    let mut command = victim.bivouac("require", &words);
    let mut bivouac = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut console = bivouac.stdout.take().unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"abcdefghijklmnop") {
        let mut byte = [0];
        console.read_exact(&mut byte).unwrap();
        said.extend(byte);
    }
    kill(Pid::from_raw(bivouac.id() as i32), Signal::SIGTERM).unwrap();
    drop(console);
    bivouac.wait().unwrap();
    let report = fs::read(victim.path("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["accelerator"]["used"], "kvm", "{report:#}");
}

/// Runs itself once more as an ordinary user who may open the device.
fn as_an_ordinary_user() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let program = dir.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let group = fs::metadata(DEVICE).unwrap().gid().to_string();
    let user = NOBODY.to_string();
    let name = "vm::sandbox::kvm::a_boot_sector_is_saved_and_restored_with_kvm_in_the_sandbox";
    let output = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--groups", &group])
        .arg(&program)
        .args(["--exact", name, "--nocapture"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("restored twice"), "{output:?}");
}

/// Whether KVM can be opened; says so if not.
pub fn is_there() -> bool {
    let opened = File::options().read(true).write(true).open(DEVICE);
    let error = opened.err();
    if let Some(error) = &error {
        println!("NOT tested, this host has no KVM for us: {error}");
    }
    error.is_none()
}

#[test]
fn a_boot_sector_is_saved_and_restored_with_kvm_in_the_sandbox() {
    if !is_there() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, run_save_and_restore());
    if nix::unistd::geteuid().is_root() {
        as_an_ordinary_user();
        run_by_root();
    }
}
