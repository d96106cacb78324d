//! A store that was damaged on purpose: a cold start and a clear word, never a wrong answer.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bivouac::linux::file_id::FileStamp;
use bivouac::template::digest;
use bivouac::template::manifest::Manifest;

use super::{chroot, chroot_with, flip, only_template, templates, was_booted, was_restored};
use crate::env::bivouac::Finished;
use crate::env::guests::guest;
use crate::env::script::write_script;

fn look(home: &Path) -> Finished {
    let image = guest("debian12.qcow2");
    let finished = chroot(home, image.to_str().unwrap(), "cat /etc/hostname").output();
    assert_eq!(finished.stdout, "debian12\n", "{finished:?}");
    assert_eq!(finished.code(), Some(0));
    finished
}

/// As if the damage had always been there: what only the disk's own decay can do.
pub fn say_it_is_whole(template: &Path, change: impl FnOnce(&mut Manifest)) {
    let path = template.join("manifest");
    let mut manifest = Manifest::from_text(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(&path, manifest.to_text()).unwrap();
}

#[test]
fn damage_of_any_sort_is_a_cold_start_with_a_word_and_the_next_one_is_warm_again() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let home = home.path();
    look(home);
    assert!(was_restored(&look(home)));

    // A byte of the memory that differs, and nothing else tells.
    let template = only_template(home);
    let memory = template.join("memory");
    flip(&memory, 20 << 20);
    let identity = FileStamp::of(&File::open(&memory).unwrap()).unwrap();
    say_it_is_whole(&template, |manifest| manifest.memory = identity);
    // It is read once after each boot of this host.
    fs::remove_file(template.join("verified")).unwrap();
    let finished = look(home);
    assert!(was_booted(&finished), "{finished:?}");
    assert!(
        finished
            .stderr
            .contains("is damaged; the appliance is booted"),
        "{finished:?}"
    );
    assert_eq!(fs::read_dir(templates(home)).unwrap().count(), 0);

    // A memory that is too short is noticed at once, and made again.
    look(home);
    let memory = only_template(home).join("memory");
    File::options()
        .write(true)
        .open(&memory)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let finished = look(home);
    assert!(
        finished
            .stderr
            .contains("damaged: its memory; it is made again")
    );
    assert!(was_restored(&look(home)));

    // A state that QEMU refuses is not tried again.
    let template = only_template(home);
    let mut state = fs::read(template.join("state")).unwrap();
    let middle = state.len() / 2;
    state.truncate(middle);
    fs::write(template.join("state"), &state).unwrap();
    say_it_is_whole(&template, |manifest| {
        manifest.state_digest = digest::of(&state)
    });
    let finished = look(home);
    assert!(was_booted(&finished), "{finished:?}");
    let again = look(home);
    assert!(
        again
            .stderr
            .contains("could not be made or restored before"),
        "{again:?}"
    );
    assert_eq!(again.stderr.matches("QEMU has process id").count(), 1);

    // Somebody else might have put it there.
    fs::set_permissions(templates(home), Permissions::from_mode(0o755)).unwrap();
    let finished = look(home);
    assert!(was_booted(&finished), "{finished:?}");
    let word = "bivouac: warning: the templates in";
    assert!(finished.stderr.contains(word), "{finished:?}");
}

/// It has been read whole before, so only its stamp tells, after QEMU has loaded it.
#[test]
fn a_memory_that_is_written_to_while_it_is_restored_is_not_used() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let home = home.path();
    let (qemu, now) = (home.join("qemu"), home.join("now"));
    let memory = templates(home).join("*/memory");
    let (mark, memory) = (now.display(), memory.display());
    let restores = format!("case \"$*\" in *-incoming*) [ ! -e {mark} ] || touch {memory};; esac");
    write_script(
        &qemu,
        &format!("{restores}\nexec qemu-system-x86_64 \"$@\""),
    );
    // In its sandbox it could not.
    let options = ["--sandbox", "off", "--qemu", qemu.to_str().unwrap()].map(str::to_owned);
    let image = guest("box.qcow2");
    let look =
        || chroot_with(home, &options, image.to_str().unwrap(), "cat /etc/hostname").output();
    look();
    assert!(was_restored(&look()));
    assert!(only_template(home).join("verified").exists());
    fs::write(&now, "").unwrap();
    let finished = look();
    assert_eq!(finished.stdout, "box\n", "{finished:?}");
    assert!(was_booted(&finished), "{finished:?}");
    let words = "is damaged; the appliance is booted";
    assert!(finished.stderr.contains(words), "{finished:?}");
}
