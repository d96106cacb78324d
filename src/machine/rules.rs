//! What QEMU may do beyond the descriptors that it inherits, from its plan. Pure. Layers, overlays,
//! QMP, console and the agent's port are open already and need no rule.

use std::ffi::OsString;
use std::path::PathBuf;

use super::plan::{Display, Firmware, MemoryMapping, Network, Plan};
use crate::linux::proc_fd;
use crate::linux::program::Program;
use crate::sandbox::{NetworkRule, Rules};

/// Read by programs with a window.
const GRAPHICS: [&str; 6] = [
    "/usr/share",
    "/etc/fonts",
    "/etc/gtk-3.0",
    "/etc/passwd",
    "/var/cache/fontconfig",
    "/dev/shm",
];

/// The rules for the machine of `plan`.
pub fn of_plan(plan: &Plan, program: &Program) -> Rules {
    let mut rules = Rules::of_program(program, &plan.sandbox.read);
    let is_given_kvm =
        |two: &[OsString]| two[0] == "-accel" && two[1].as_encoded_bytes().starts_with(b"kvm");
    if plan.accelerator.may_be_kvm() || plan.extra.windows(2).any(is_given_kvm) {
        rules.devices.push("/dev/kvm".into());
    }
    if let Firmware::File(path) = &plan.firmware {
        rules.read.push(path.clone());
    }
    if let Some(kernel) = &plan.kernel {
        rules.read.push(kernel.kernel.clone());
        rules.read.extend(kernel.initrd.clone());
    }
    if let Some(snapshot) = plan.snapshot {
        let memory = proc_fd::of_number(snapshot.memory.0).into();
        match snapshot.mapping {
            MemoryMapping::Shared
            | MemoryMapping::SharedRestored
            | MemoryMapping::CopyOnWrite
            | MemoryMapping::Boot => {
                rules.write.push(memory);
            }
            MemoryMapping::CopyOnWriteReadOnly => rules.read.push(memory),
            // Opened by this process.
            MemoryMapping::CopyOnWriteAnswered => {}
        }
    }
    rules.network = network(plan);
    if let Network::User {
        restricted: false, ..
    } = plan.network
    {
        rules.read.push("/etc/resolv.conf".into());
    }
    if plan.display == Display::Gtk {
        rules.read.extend(GRAPHICS.iter().map(PathBuf::from));
        rules.write.push("/run/user".into());
        rules.weaker = Some("a window needs the display server and its files");
    }
    rules
}

fn network(plan: &Plan) -> NetworkRule {
    let mut ports = Vec::new();
    match &plan.display {
        Display::None => {}
        Display::Gtk => return NetworkRule::Local,
        Display::Vnc(address) => ports.extend(vnc_port(address)),
        // It is inherited.
        Display::VncSocket(_) => {}
    }
    match &plan.network {
        // It is inherited.
        Network::None | Network::Internet { .. } => {}
        Network::User {
            restricted: false, ..
        } => return NetworkRule::Internet,
        Network::User { publish, .. } => ports.extend(publish.iter().map(|one| one.host)),
    }
    match (&plan.display, &plan.network) {
        (Display::None, Network::None | Network::Internet { .. }) => NetworkRule::None,
        _ => NetworkRule::Serve(ports),
    }
}

/// The TCP port of a VNC server: 5900 and the number of the display.
fn vnc_port(address: &str) -> Option<u16> {
    let (_, display) = address.rsplit_once(':')?;
    5900_u16.checked_add(display.parse().ok()?)
}
