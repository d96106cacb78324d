//! Between fork and exec: a command's session, terminal, root, user, directory and variables.
//! Whatever fails is told by the step it failed at. Nothing here returns into the agent.

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

use super::account::Account;
use super::resolve::Root;
use crate::guest::wire::{ByteString, ErrorStage, Exec, RemoteError, User};

/// Where programs are looked for when nobody says so.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The descriptors that become 0, 1 and 2.
#[derive(Debug)]
pub struct Ends {
    /// Standard input, or the terminal.
    pub stdin: File,
    /// Standard output.
    pub stdout: File,
    /// Standard error.
    pub stderr: File,
    /// They are a terminal.
    pub terminal: bool,
}

/// Turns this process into the command. Returns only where that failed.
pub fn execute(exec: &Exec, ends: &Ends) -> RemoteError {
    match attempt(exec, ends) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn attempt(exec: &Exec, ends: &Ends) -> Result<Infallible, RemoteError> {
    session(ends)
        .map_err(|errno| RemoteError::of(ErrorStage::Process, "a session", errno as i32))?;
    umask(Mode::from_bits_truncate(0o022));
    let root_path = exec.root.as_ref().map_or(Path::new("/"), |r| r.as_path());
    let root = Root::open(root_path)?;
    let own = User::Id {
        uid: getuid().as_raw(),
        gid: None,
    };
    let account = Account::look_up(&root, exec.user.as_ref().unwrap_or(&own))?;
    if exec.root.is_some() {
        let failed = |errno| RemoteError::of(ErrorStage::Root, root_path.display(), errno as i32);
        // Not by its path again: what was looked at is what is entered.
        nix::unistd::fchdir(&root).map_err(failed)?;
        chroot(".").map_err(failed)?;
        chdir("/").map_err(failed)?;
    }
    if exec.user.is_some() {
        become_user(&account).map_err(|errno| {
            let name = account.name.as_deref().unwrap_or("this user");
            RemoteError::of(ErrorStage::User, name, errno as i32)
        })?;
    }
    enter_workdir(exec, &account)?;
    let variables = variables(exec, &account);
    let words = exec.argv.iter().map(|word| c_string(&word.0));
    let argv = words.collect::<Result<Vec<_>, _>>()?;
    let program = exec.argv.first().map_or(&b""[..], |word| &word.0);
    run(program, &argv, &variables)
}

fn session(ends: &Ends) -> Result<(), Errno> {
    setsid()?;
    if ends.terminal {
        crate::sys::control_terminal(&ends.stdin)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    }
    dup2_stdin(&ends.stdin)?;
    dup2_stdout(&ends.stdout)?;
    dup2_stderr(&ends.stderr)?;
    crate::sys::default_signals();
    Ok(())
}

fn become_user(account: &Account) -> Result<(), Errno> {
    // The group first: without the user's rights it could not be changed.
    setgroups(&account.groups)?;
    setgid(account.gid)?;
    setuid(account.uid)
}

fn enter_workdir(exec: &Exec, account: &Account) -> Result<(), RemoteError> {
    match &exec.workdir {
        Some(told) => chdir(told.as_path()).map_err(|errno| {
            RemoteError::of(ErrorStage::Workdir, told.as_path().display(), errno as i32)
        }),
        // A home that cannot be entered is no reason to refuse, as login(1) has it.
        None => chdir(&account.home)
            .or_else(|_| chdir("/"))
            .map_err(|errno| RemoteError::of(ErrorStage::Workdir, "/", errno as i32)),
    }
}

/// The command's environment: the agent's unless cleared, the user's, and what was told.
fn variables(exec: &Exec, account: &Account) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = match exec.clear_env {
        true => Vec::new(),
        false => std::env::vars_os().collect(),
    };
    let name = account.name.clone().unwrap_or_default();
    let of_user: [(&str, OsString); 4] = [
        ("HOME", account.home.clone().into_os_string()),
        ("SHELL", account.shell.clone().into_os_string()),
        ("USER", name.clone().into()),
        ("LOGNAME", name.into()),
    ];
    for (name, value) in of_user {
        let has = variables.iter().any(|(known, _)| known == name);
        if !has || exec.user.is_some() {
            set(&mut variables, name.into(), value);
        }
    }
    if !variables.iter().any(|(name, _)| name == "PATH") {
        set(&mut variables, "PATH".into(), PATH.into());
    }
    for (name, value) in &exec.env {
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
        RemoteError::new(ErrorStage::Request, format!("{name} holds a NUL"))
    })
}

/// Looks the program up as execvp(3) does, and executes it.
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
            // The file may be there and its interpreter not.
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
