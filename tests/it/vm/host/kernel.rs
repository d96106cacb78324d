//! What `doctor` says of kernels that only root may read.

use super::Namespace;

/// What `doctor` says to a stranger about these kernels in /boot, the last of which is 0600.
fn finding_with_the_last_unreadable(releases: &[&str]) -> String {
    let mut script = String::from("mkdir boot modules; mount --bind boot /boot\n");
    for release in releases {
        script.push_str(&format!(
            "touch boot/vmlinuz-{release}; mkdir modules/{release}\n"
        ));
    }
    let last = releases.last().expect("a release");
    script.push_str(&format!("chmod 600 boot/vmlinuz-{last}\n"));
    script.push_str("mount --bind modules /lib/modules\n");
    script.push_str("$STRANGER \"$BIVOUAC\" doctor --json --qemu nowhere || true");
    Namespace::new().finding("kernel", &script)
}

#[test]
fn a_kernel_that_only_root_may_read_comes_with_the_command_that_opens_it() {
    insta::assert_snapshot!(finding_with_the_last_unreadable(&["6.8.0-31-generic"]), @r"
    warn: the kernel /boot/vmlinuz-6.8.0-31-generic cannot be read: Permission denied (os error 13)
    `bivouac kernel fetch`, or `sudo chmod 644 /boot/vmlinuz-6.8.0-31-generic`, or on Debian and Ubuntu for good: `sudo dpkg-statoverride --update --add root root 0644 /boot/vmlinuz-6.8.0-31-generic`
    ");
}

#[test]
fn an_older_kernel_that_can_be_read_is_taken_and_the_newer_is_told() {
    let releases = ["6.8.0-9-generic", "6.8.0-31-generic"];
    insta::assert_snapshot!(finding_with_the_last_unreadable(&releases), @r"
    warn: the appliance's kernel is /boot/vmlinuz-6.8.0-9-generic; the newer /boot/vmlinuz-6.8.0-31-generic cannot be read
    `sudo chmod 644 /boot/vmlinuz-6.8.0-31-generic`, or on Debian and Ubuntu for good: `sudo dpkg-statoverride --update --add root root 0644 /boot/vmlinuz-6.8.0-31-generic`
    ");
}
