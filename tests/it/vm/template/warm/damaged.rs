//! A store that was damaged on purpose: a word, and the right answer all the same.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use bivouac::linux::file_id::FileStamp;
use bivouac::template::digest;
use serde_json::Value;

use super::WarmFixture;
use crate::vm::template::damage::say_it_is_whole;
use crate::vm::template::{flip, templates};

/// One run, which answers whatever the store is like: what its report says of the template.
#[track_caller]
fn answers(fixture: &WarmFixture, said: &str) -> Value {
    let (finished, template) = fixture.reported(&[], "cat /etc/hostname; exit 7");
    assert_eq!(finished.code(), Some(7), "{finished:?}");
    assert_eq!(finished.stdout, "box\n", "{finished:?}");
    match said {
        "" => assert_eq!(finished.stderr, ""),
        _ => assert!(finished.stderr.contains(said), "{finished:?}"),
    }
    template
}

/// In a fixture whose template is whole.
pub fn checks(fixture: &WarmFixture) {
    assert_eq!(answers(fixture, ""), "restored");
    // Too short, and it shows.
    let overlay = fixture.template().join("overlay-0");
    fs::set_permissions(&overlay, Permissions::from_mode(0o600)).unwrap();
    let file = File::options().write(true).open(&overlay).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let said = "is damaged: an overlay; it is made again";
    assert_eq!(answers(fixture, said), "built");
    assert_eq!(answers(fixture, ""), "restored");

    // A byte of the memory, and its time tells.
    flip(&fixture.template().join("memory"), 20 << 20);
    let said = "is damaged: its memory; it is made again";
    assert_eq!(answers(fixture, said), "built");

    // A state that QEMU refuses is not tried again.
    let template = fixture.template();
    let mut state = fs::read(template.join("state")).unwrap();
    state.truncate(state.len() / 2);
    fs::write(template.join("state"), &state).unwrap();
    say_it_is_whole(&template, |manifest| {
        manifest.state_digest = digest::of(&state)
    });
    assert_eq!(answers(fixture, "; the machine is booted"), Value::Null);
    let finished = fixture.warm(&["--timeout", "2"], "true").output();
    let said = "could not be made or restored before: ";
    assert!(finished.stderr.contains(said), "{finished:?}");
    fs::remove_dir_all(template).unwrap();
    assert_eq!(answers(fixture, ""), "built");

    // One byte of the overlay, as only a disk's own decay can change it: every time is as it was.
    let template = fixture.template();
    let overlay = template.join("overlay-0");
    fs::set_permissions(&overlay, Permissions::from_mode(0o600)).unwrap();
    let size = fs::metadata(&overlay).unwrap().size();
    flip(&overlay, size / 2);
    let identity = FileStamp::of(&File::open(&overlay).unwrap()).unwrap();
    say_it_is_whole(&template, |manifest| {
        manifest.overlays[0].identity = identity;
    });
    // It is not read at each restore; after this host was booted it is.
    fs::remove_file(template.join("verified")).unwrap();
    assert_eq!(
        answers(fixture, "is damaged; the machine is booted"),
        Value::Null
    );
    assert!(fixture.published("image").is_empty());

    // Somebody else might have put something there.
    let store = templates(&fixture.path("cache"));
    fs::set_permissions(&store, Permissions::from_mode(0o755)).unwrap();
    // The word comes before the boot.
    let finished = fixture.warm(&["--timeout", "2"], "true").output();
    assert_eq!(finished.code(), Some(124), "{finished:?}");
    let said =
        "other users can access it, and it contains the memory of guests; the machine is booted";
    assert!(finished.stderr.contains(said), "{finished:?}");
    fs::set_permissions(&store, Permissions::from_mode(0o700)).unwrap();
    assert!(fixture.published("image").is_empty());
    fixture.is_clean(&[]);
}
