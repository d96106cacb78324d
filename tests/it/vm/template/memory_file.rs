//! How the QEMU of a clone comes to the memory of its template, which it must not be able to change.

use super::{chroot_with, only_template, was_restored};
use crate::env::bivouac::{Bivouac, Finished, children};
use crate::env::guests::guest;
use crate::env::qemu10;
use crate::env::script::write_script;

const WAIT: &str = "echo started; read line";

/// Runs its arguments below a filter of system calls with a supervisor: a process may have only one.
const SUPERVISED: &str = r#"exec python3 -c "$(cat <<'END'
import ctypes, os, subprocess, sys
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
allow = ctypes.create_string_buffer(b"\x06\0\0\0\0\0\xff\x7f", 8)
program = Program(1, ctypes.addressof(allow))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.syscall(317, 1, 8, ctypes.byref(program)) >= 0, os.strerror(ctypes.get_errno())
sys.exit(subprocess.call(sys.argv[1:]))
END
)" "$@""#;

/// What is mapped as the guest's memory, of 256 MiB, in the QEMU of a clone, which runs [`WAIT`]. Returns its
/// end, too.
fn memory_of(clone: Bivouac, is_supervised: bool) -> (String, Finished) {
    let mut running = clone.start();
    running.wait_for("started");
    let qemu = match is_supervised {
        true => children(children(running.pid())[0])[0],
        false => running.qemu(),
    };
    let maps = std::fs::read_to_string(format!("/proc/{qemu}/maps")).unwrap();
    let is_memory = |line: &&str| {
        let range = line.split_whitespace().next().unwrap().split_once('-');
        let (start, end) = range.unwrap();
        let number = |hex| u64::from_str_radix(hex, 16).unwrap();
        number(end) - number(start) == 256 << 20
    };
    let found: Vec<_> = maps.lines().filter(is_memory).collect();
    assert_eq!(found.len(), 1, "{maps}");
    assert!(
        found[0].contains(" rw-p "),
        "its writes are private: {maps}"
    );
    running.type_in("\n");
    (found[0].to_owned(), running.wait())
}

fn is_given_the_original(options: &[String]) {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = guest("box.qcow2");
    let start = |script: &str| chroot_with(home.path(), options, image.to_str().unwrap(), script);
    assert!(was_restored(&start("true").output()));
    let (memory, finished) = memory_of(start(WAIT), false);
    assert!(was_restored(&finished), "{finished:?}");
    let original = only_template(home.path()).join("memory");
    assert!(memory.ends_with(original.to_str().unwrap()), "{memory}");
}

#[test]
fn the_memory_is_mapped_from_the_template_itself() {
    is_given_the_original(&[]);
    is_given_the_original(&qemu10::options());
}

#[test]
fn where_files_cannot_be_opened_for_qemu_it_has_a_sealed_copy() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let script = home.path().join("supervised");
    write_script(&script, SUPERVISED);
    let start = |words: &str| {
        let command = Bivouac::by(&script).arg(env!("CARGO_BIN_EXE_bivouac"));
        let command = command.args(["chroot", "-v", "--memory", "256M"]);
        let command = command.reporting().arg(guest("box.qcow2"));
        let command = command.args(["--", "sh", "-c", words]);
        command.env("XDG_CACHE_HOME", home.path())
    };
    assert!(was_restored(&start("true").output()));
    let (memory, finished) = memory_of(start(WAIT), true);
    assert!(was_restored(&finished), "{finished:?}");
    assert!(memory.contains("/memfd:"), "{memory}");
}
