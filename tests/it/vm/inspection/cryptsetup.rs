//! Encrypted volumes that this host's cryptsetup opens in the appliance: what bivouac does not open itself.

use std::fs;

use super::encrypted::{bivouac, hostname, nothing_is_left};
use crate::env::cases::Cases;
use crate::env::filesystems::empty;
use crate::env::mount_ns::MountNs;
use crate::env::residue::sha256;
use crate::env::toolbox::Toolbox;

/// Hides the program wherever it is searched.
const HIDE: &str = r#"
for file in $(which -a cryptsetup) /usr/local/sbin/cryptsetup /usr/sbin/cryptsetup /sbin/cryptsetup; do
    if [ -f "$file" ]; then mount --bind /dev/null "$file"; fi
done"#;

/// What bivouac leaves to cryptsetup: its key is about to be changed.
const REENCRYPTED: &str = r#"
printf correct-horse >/tmp/key
luks() { cryptsetup -q --key-file /tmp/key "$@"; }
luks luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$1"
luks open "$1" changing
tree changing /dev/mapper/changing
luks close changing
luks reencrypt --init-only --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$1"
"#;

#[test]
fn what_is_left_to_cryptsetup_of_this_host_is_opened_where_that_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let image = empty(dir, "changing", 48);
    Toolbox::new(dir, &["changing"]).make(&[&image], REENCRYPTED);
    let before = sha256(&image);
    let mut cases = Cases::default();
    cases.case("by its key", || {
        let done = hostname(&image, &["key:wrong", "key:correct-horse"]);
        let found = (done.code(), &*done.stdout);
        assert_eq!(found, (Some(0), "changing"), "{done:?}");
    });
    cases.case("by no other", || {
        let done = bivouac(&["inspect"], &["key:wrong"], image.to_str().unwrap());
        assert_eq!(done.code(), Some(1), "{done:?}");
        assert!(
            done.stderr.contains("it has another passphrase"),
            "{done:?}"
        );
    });
    cases.case("without a program it is named", || {
        let ns = MountNs::new();
        fs::copy(&image, ns.path("kept/image")).unwrap();
        ns.shell(HIDE);
        let place = ns.inside("kept/image");
        let inspect = ["inspect", "--key", "key:correct-horse", &place];
        let done = ns.bivouac().args(inspect).output();
        assert_eq!(done.code(), Some(1), "{done:?}");
        let said = "and cryptsetup is not installed on this host";
        assert!(done.stderr.contains(said), "{done:?}");
    });
    cases.case("nothing is left after SIGKILL", || {
        nothing_is_left(&image, "changing")
    });
    assert_eq!(sha256(&image), before);
}
