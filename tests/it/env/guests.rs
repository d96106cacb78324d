//! The test guests, made by `scripts/guests` outside the project's tree.

use std::path::PathBuf;

/// The path of the guest file `name`. Panics where it is missing, with what makes it.
pub fn guest(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(
        path.exists(),
        "{} is missing: run scripts/guests",
        path.display()
    );
    path
}

/// As scripts/guests has it: $BIVOUAC_TEST_GUESTS, else the user's cache.
fn directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("BIVOUAC_TEST_GUESTS") {
        return directory.into();
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) if !cache.is_empty() => PathBuf::from(cache),
        _ => PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache"),
    };
    cache.join("bivouac-guests")
}

/// `--kernel`, `--initrd` and `--append` for the tiny guest, told to do `action`.
pub fn tiny(action: &str) -> Vec<String> {
    let path = |name| guest(name).display().to_string();
    vec![
        "--kernel".into(),
        path("tiny-kernel"),
        "--initrd".into(),
        path("tiny-initrd"),
        "--append".into(),
        // An emulated timer is late on a busy host, and the kernel would give up.
        format!("console=ttyS0 quiet no_timer_check bivouac.do={action}"),
        "--memory".into(),
        "256M".into(),
        "--cpus".into(),
        "1".into(),
    ]
}
