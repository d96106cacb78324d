//! The binary: the agent inside a guest, the keeper of a mount, else the command line. Everything else
//! is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    if bivouac::agent::is_wanted() {
        bivouac::agent::main()
    } else if bivouac::mount::keeper::is_wanted() {
        bivouac::mount::keeper::main()
    } else {
        bivouac::cli::main()
    }
}
