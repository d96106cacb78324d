//! Executes a command in a forked child: sets up its session, terminal, root, user, directory and
//! variables first. An error names the step that failed.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    AccessFlags, access, chdir, chroot, dup2_stderr, dup2_stdin, dup2_stdout, execve, getuid,
    setgid, setgroups, setsid, setuid,
};

use super::root::RootDir;
use super::users::Account;
use crate::protocol::{ByteString, Command, ErrorStage, RemoteError, User};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) struct ChildStdio {
    pub(crate) stdin: File,
    pub(crate) stdout: File,
    pub(crate) stderr: File,
    /// All three are one terminal.
    pub(crate) is_terminal: bool,
}

/// Turns this process into the command. Returns only if that fails.
pub(crate) fn execute(command: &Command, stdio: &ChildStdio) -> RemoteError {
    let Err(error) = attempt(command, stdio);
    error
}

fn attempt(command: &Command, stdio: &ChildStdio) -> Result<Infallible, RemoteError> {
    start_session(stdio)
        .map_err(|error| RemoteError::of(ErrorStage::Process, "a session", error))?;
    umask(Mode::from_bits_truncate(0o022));
    repeat_addresses();
    let root_path = command
        .root
        .as_ref()
        .map_or(Path::new("/"), |r| r.as_path());
    let root = RootDir::of_request(root_path)?;
    let own = User::Id {
        uid: getuid().as_raw(),
        gid: None,
    };
    let account = Account::look_up(&root, command.user.as_ref().unwrap_or(&own))?;
    if command.root.is_some() {
        let failed = |errno| RemoteError::of(ErrorStage::Root, root_path.display(), errno);
        // By descriptor, because the path may lead elsewhere by now.
        nix::unistd::fchdir(&root).map_err(failed)?;
        chroot(".").map_err(failed)?;
        chdir("/").map_err(failed)?;
    }
    if command.user.is_some() {
        become_user(&account).map_err(|errno| {
            let name = account.name.as_deref().unwrap_or("this user");
            RemoteError::of(ErrorStage::User, name, errno)
        })?;
    }
    enter_workdir(command, &account)?;
    let variables = variables(command, &account);
    let words = command.argv.iter().map(|word| c_string(&word.0));
    let argv = words.collect::<Result<Vec<_>, _>>()?;
    let program = command.argv.first().map_or(&b""[..], |word| &word.0);
    run(program, &argv, &variables)
}

fn start_session(stdio: &ChildStdio) -> io::Result<()> {
    setsid()?;
    if stdio.is_terminal {
        crate::sys::control_terminal(&stdio.stdin)?;
    }
    dup2_stdin(&stdio.stdin)?;
    dup2_stdout(&stdio.stdout)?;
    dup2_stderr(&stdio.stderr)?;
    crate::sys::default_signals();
    Ok(())
}

/// QEMU before 8.0 translates code for the address at which it runs. If each process had its own, it would
/// do so again for each: that takes longer than to start one.
fn repeat_addresses() {
    if crate::sys::is_emulated() {
        // Without it everything works, more slowly.
        let _ = crate::sys::fix_addresses();
    }
}

fn become_user(account: &Account) -> Result<(), Errno> {
    // The groups first: afterwards there is no permission to change them.
    setgroups(&account.groups)?;
    setgid(account.gid)?;
    setuid(account.uid)
}

fn enter_workdir(command: &Command, account: &Account) -> Result<(), RemoteError> {
    match &command.workdir {
        Some(path) => chdir(path.as_path())
            .map_err(|errno| RemoteError::of(ErrorStage::Workdir, path.as_path().display(), errno)),
        // As with login(1), a missing home directory is not an error.
        None => chdir(&*account.home)
            .or_else(|_| chdir("/"))
            .map_err(|errno| RemoteError::of(ErrorStage::Workdir, "/", errno)),
    }
}

/// The command's environment: the agent's unless cleared, the user's, and that of the request.
fn variables(command: &Command, account: &Account) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = match command.clear_env {
        true => Vec::new(),
        false => std::env::vars_os().collect(),
    };
    let name = account.name.clone().unwrap_or_default();
    let of_user: [(&str, OsString); 4] = [
        ("HOME", account.home.clone()),
        ("SHELL", account.shell.clone()),
        ("USER", name.clone().into()),
        ("LOGNAME", name.into()),
    ];
    for (name, value) in of_user {
        let has = variables.iter().any(|(known, _)| known == name);
        if !has || command.user.is_some() {
            set(&mut variables, name.into(), value);
        }
    }
    if !variables.iter().any(|(name, _)| name == "PATH") {
        set(&mut variables, "PATH".into(), PATH.into());
    }
    for (name, value) in &command.env {
        let (name, value) = (name.as_os_str(), value.as_os_str());
        set(&mut variables, name.into(), value.into());
    }
    variables
}

fn set(variables: &mut Vec<(OsString, OsString)>, name: OsString, value: OsString) {
    variables.retain(|(known, _)| *known != name);
    variables.push((name, value));
}

fn c_string(bytes: &[u8]) -> Result<CString, RemoteError> {
    CString::new(bytes).map_err(|_| {
        let name = ByteString(bytes.to_owned());
        RemoteError::new(ErrorStage::Request, format!("{name} contains a NUL"))
    })
}

/// Searches for the program as execvp(3) does, and executes it.
fn run(
    program: &[u8],
    argv: &[CString],
    variables: &[(OsString, OsString)],
) -> Result<Infallible, RemoteError> {
    let mut environment = Vec::new();
    let mut path = PATH.as_bytes();
    for (name, value) in variables {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        environment.push(c_string(&[name, b"=", value].concat())?);
        if name == b"PATH" {
            path = value;
        }
    }
    let shown = Path::new(OsStr::from_bytes(program)).display();
    let candidates: Vec<Vec<u8>> = match program {
        b"" => Vec::new(),
        _ if program.contains(&b'/') => vec![program.to_owned()],
        _ => path
            .split(|&byte| byte == b':')
            .map(|directory| [directory, &b"/"[..directory.len().min(1)], program].concat())
            .collect(),
    };
    let mut denied = None;
    for candidate in candidates {
        let candidate = c_string(&candidate)?;
        // Cheaper than to have execve(2) find out, which does not say either whether it is the program or
        // its interpreter that is missing.
        let found = access(candidate.as_c_str(), AccessFlags::F_OK);
        if matches!(found, Err(Errno::ENOENT | Errno::ENOTDIR)) {
            continue;
        }
        let Err(errno) = execve(&candidate, argv, &environment);
        match errno {
            Errno::EACCES => denied = Some(errno),
            errno => return Err(RemoteError::of(ErrorStage::Invoke, shown, errno)),
        }
    }
    Err(match denied {
        Some(errno) => RemoteError::of(ErrorStage::Invoke, shown, errno),
        None => RemoteError::of(ErrorStage::Find, shown, Errno::ENOENT),
    })
}
