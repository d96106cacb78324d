//! Machines that are restored from templates: the appliance's, and those of images.

mod clones;
mod damage;
mod kept;
mod killed;
mod many;
mod memory_file;
mod store;
mod warm;

use std::path::{Path, PathBuf};

use crate::env::bivouac::{Bivouac, Finished};
pub use crate::template::flip;

/// `bivouac` with a store of its own below `home`, in an appliance of 256 MiB.
fn chroot(home: &Path, image: &str, script: &str) -> Bivouac {
    chroot_with(home, &[], image, script)
}

fn chroot_with(home: &Path, options: &[String], image: &str, script: &str) -> Bivouac {
    Bivouac::new()
        .args(["chroot", "-v", "--memory", "256M"])
        .args(options)
        .reporting()
        .arg(image)
        .args(["--", "sh", "-c", script])
        .env("XDG_CACHE_HOME", home)
}

fn templates(home: &Path) -> PathBuf {
    home.join("bivouac/templates")
}

/// The only template below `home`.
fn only_template(home: &Path) -> PathBuf {
    let found: Vec<_> = std::fs::read_dir(templates(home))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// Whether the appliance was restored: from the template that the report names, or from the memory
/// of the one that this command has just built.
fn was_restored(finished: &Finished) -> bool {
    let inspected = finished.inspected();
    let phase = |name: &str| inspected["phases"][name].is_number();
    inspected["template"].is_string() || (phase("built") && phase("restored"))
}

/// Whether this command built a template first, in one machine more than its own.
fn was_built(finished: &Finished) -> bool {
    finished.inspected()["phases"]["built"].is_number()
}

/// Whether the appliance was booted for this command.
fn was_booted(finished: &Finished) -> bool {
    !was_restored(finished)
}
