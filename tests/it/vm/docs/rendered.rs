//! The manual pages render without a warning.

use std::process::Command;

use crate::docs::commands;
use crate::docs::man::page;

#[test]
fn the_pages_render_without_a_warning() {
    for command in commands() {
        let (path, _) = page(&command);
        let output = Command::new("groff")
            .args(["-mandoc", "-Tutf8", "-ww", "-z"])
            .arg(&path)
            .output()
            .expect("groff");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}
