//! Executes a command in a forked child: sets up its session, terminal, root, user, directory and
//! variables first. An error names the step that failed.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
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
use crate::sys::errno_of;

/// The default PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The descriptors that become 0, 1 and 2.
#[derive(Debug)]
pub(crate) struct ChildStdio {
    pub(crate) stdin: File,
    pub(crate) stdout: File,
    pub(crate) stderr: File,
    /// All three are one terminal.
    pub(crate) is_terminal: bool,
}

/// Turns this process into the command. Returns only if that fails.
pub(crate) fn execute(command: &Command, stdio: &ChildStdio) -> RemoteError {
    match attempt(command, stdio) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn attempt(command: &Command, stdio: &ChildStdio) -> Result<Infallible, RemoteError> {
    start_session(stdio)
        .map_err(|errno| RemoteError::of(ErrorStage::Process, "a session", errno as i32))?;
    umask(Mode::from_bits_truncate(0o022));
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
        let failed = |errno| RemoteError::of(ErrorStage::Root, root_path.display(), errno as i32);
        // By descriptor, because the path may lead elsewhere by now.
        nix::unistd::fchdir(&root).map_err(failed)?;
        chroot(".").map_err(failed)?;
        chdir("/").map_err(failed)?;
    }
    if command.user.is_some() {
        become_user(&account).map_err(|errno| {
            let name = account.name.as_deref().unwrap_or("this user");
            RemoteError::of(ErrorStage::User, name, errno as i32)
        })?;
    }
    enter_workdir(command, &account)?;
    let variables = variables(command, &account);
    let words = command.argv.iter().map(|word| c_string(&word.0));
    let argv = words.collect::<Result<Vec<_>, _>>()?;
    let program = command.argv.first().map_or(&b""[..], |word| &word.0);
    run(program, &argv, &variables)
}

fn start_session(stdio: &ChildStdio) -> Result<(), Errno> {
    setsid()?;
    if stdio.is_terminal {
        crate::sys::control_terminal(&stdio.stdin).map_err(|error| errno_of(&error))?;
    }
    dup2_stdin(&stdio.stdin)?;
    dup2_stdout(&stdio.stdout)?;
    dup2_stderr(&stdio.stderr)?;
    crate::sys::default_signals();
    Ok(())
}

fn become_user(account: &Account) -> Result<(), Errno> {
    // The groups first: afterwards there is no permission to change them.
    setgroups(&account.groups)?;
    setgid(account.gid)?;
    setuid(account.uid)
}

fn enter_workdir(command: &Command, account: &Account) -> Result<(), RemoteError> {
    match &command.workdir {
        Some(path) => chdir(path.as_path()).map_err(|errno| {
            RemoteError::of(ErrorStage::Workdir, path.as_path().display(), errno as i32)
        }),
        // As with login(1), a missing home directory is not an error.
        None => chdir(&*account.home)
            .or_else(|_| chdir("/"))
            .map_err(|errno| RemoteError::of(ErrorStage::Workdir, "/", errno as i32)),
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
        let (name, value) = (name.0.clone(), value.0.clone());
        set(
            &mut variables,
            OsString::from_vec(name),
            OsString::from_vec(value),
        );
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
    let mut path = PATH.as_bytes().to_vec();
    for (name, value) in variables {
        let mut line = name.clone().into_vec();
        line.push(b'=');
        line.extend(value.clone().into_vec());
        environment.push(c_string(&line)?);
        if name == "PATH" {
            path = value.clone().into_vec();
        }
    }
    let shown = ByteString(program.to_owned());
    let shown = shown.as_path().display();
    if program.is_empty() {
        return Err(RemoteError::of(
            ErrorStage::Find,
            shown,
            Errno::ENOENT as i32,
        ));
    }
    let candidates: Vec<Vec<u8>> = match program.contains(&b'/') {
        true => vec![program.to_owned()],
        false => path
            .split(|&byte| byte == b':')
            .map(|directory| [directory, &b"/"[..directory.len().min(1)], program].concat())
            .collect(),
    };
    let mut denied = None;
    for candidate in candidates {
        let candidate = c_string(&candidate)?;
        let Err(errno) = execve(&candidate, argv, &environment);
        match errno {
            // The program may exist but its interpreter may not.
            Errno::ENOENT | Errno::ENOTDIR => {
                if access(candidate.as_c_str(), AccessFlags::F_OK).is_ok() {
                    return Err(RemoteError::of(ErrorStage::Invoke, shown, errno as i32));
                }
            }
            Errno::EACCES => denied = Some(errno),
            errno => return Err(RemoteError::of(ErrorStage::Invoke, shown, errno as i32)),
        }
    }
    Err(match denied {
        Some(errno) => RemoteError::of(ErrorStage::Invoke, shown, errno as i32),
        None => RemoteError::of(ErrorStage::Find, shown, Errno::ENOENT as i32),
    })
}
