//! Commands: streams, statuses, signals, users.

use std::time::{Duration, Instant};

use bivouac::protocol::{ErrorStage, User};
use bivouac::session::{Command, ExecEnd, SessionError, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Agent, Finished, finish, sh};

#[tokio::test]
async fn stdout_and_stderr_stay_apart_and_the_status_passes() {
    let (_agent, session) = Agent::with_session().await;
    let finished = finish(&session, sh("echo out; echo err >&2; exit 7")).await;
    let expected = Finished {
        end: ExecEnd::Exited(7),
        stdout: b"out\n".to_vec(),
        stderr: b"err\n".to_vec(),
    };
    assert_eq!(finished, expected);
}

#[tokio::test]
async fn every_status_and_signal_arrives() {
    let (_agent, session) = Agent::with_session().await;
    for status in [0, 1, 7, 126, 127, 255] {
        let finished = finish(&session, sh(&format!("exit {status}"))).await;
        assert_eq!(finished.end, ExecEnd::Exited(status));
    }
    for signal in [1, 2, 9, 15, 40] {
        let finished = finish(&session, sh(&format!("kill -{signal} $$"))).await;
        assert_eq!(finished.end, ExecEnd::Signalled(signal));
    }
}

#[tokio::test]
async fn bytes_pass_unchanged_both_ways() {
    let (_agent, session) = Agent::with_session().await;
    let bytes: Vec<u8> = (0..=255_u8).cycle().take(100_000).collect();
    let mut exec = session.exec(Command::new(["cat"])).await.unwrap();
    let mut stdin = exec.stdin.take().unwrap();
    let mut stdout = exec.stdout.take().unwrap();
    let write = async {
        stdin.write_all(&bytes).await.unwrap();
        stdin.shutdown().await.unwrap();
    };
    let mut read = Vec::new();
    let (_, length) = tokio::join!(write, stdout.read_to_end(&mut read));
    assert_eq!(length.unwrap(), bytes.len());
    assert!(read == bytes);
    assert_eq!(exec.wait().await.unwrap(), ExecEnd::Exited(0));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_not_found() {
    let (_agent, session) = Agent::with_session().await;
    for program in ["no-such-program", "/no/such/program", "./no-such", ""] {
        let mut exec = session.exec(Command::new([program])).await.unwrap();
        assert_eq!(exec.wait().await.unwrap(), ExecEnd::NotFound, "{program}");
        assert_eq!(exec.pid(), None);
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_says_why() {
    let (_agent, session) = Agent::with_session().await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).into_os_string();
    let write = |name: &str, text: &str, mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(path(name), text).unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("plain", "#!/bin/sh\n", 0o644);
    write("orphan", "#!/no/such/interpreter\n", 0o755);
    write("garbage", "\x01\x02\x03", 0o755);
    for (name, errno) in [
        ("plain", 13),
        ("orphan", 2),
        ("garbage", 8),
        ("", 13),
        ("plain/below", 20),
    ] {
        let mut exec = session.exec(Command::new([path(name)])).await.unwrap();
        let end = exec.wait().await.unwrap();
        match name {
            "plain/below" => assert_eq!(end, ExecEnd::NotFound),
            _ => assert_eq!(end, ExecEnd::NotInvocable(errno), "{name}"),
        }
    }
    // One that may not be executed is remembered while others are looked for.
    let mut command = Command::new(["plain"]);
    command.env = vec![("PATH".into(), directory.path().into())];
    let mut exec = session.exec(command).await.unwrap();
    assert_eq!(exec.wait().await.unwrap(), ExecEnd::NotInvocable(13));
}

#[tokio::test]
async fn a_bad_directory_user_or_root_is_refused_by_its_step() {
    let (_agent, session) = Agent::with_session().await;
    let refused = async |change: &dyn Fn(&mut Command)| {
        let mut command = sh("true");
        change(&mut command);
        match session.exec(command).await {
            Err(SessionError::Refused(error)) => (error.step, error.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let found = refused(&|c| c.workdir = Some("/no/such".into())).await;
    let text = "/no/such: No such file or directory";
    assert_eq!(found, (ErrorStage::Workdir, text.to_owned()));
    let found = refused(&|c| c.user = Some(User::Name("no\x1bbody".into()))).await;
    assert_eq!(
        found,
        (ErrorStage::User, "no user \"no\\u{1b}body\"".to_owned())
    );
    let found = refused(&|c| c.root = Some("/no/such".into())).await;
    assert_eq!(found, (ErrorStage::Root, text.to_owned()));
    // The session goes on.
    assert_eq!(finish(&session, sh("exit 3")).await.end, ExecEnd::Exited(3));
}

#[tokio::test]
async fn directory_and_variables_are_those_that_were_told() {
    let (_agent, session) = Agent::with_session().await;
    let mut command = sh("pwd; echo \"$A|$B|$PATH\"");
    command.workdir = Some("/usr".into());
    command.clear_env = true;
    command.env = vec![("A".into(), "1 2".into()), ("B".into(), "".into())];
    let finished = finish(&session, command).await;
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let text = String::from_utf8(finished.stdout).unwrap();
    assert_eq!(text, format!("/usr\n1 2||{path}\n"));
}

#[tokio::test]
async fn a_user_of_the_root_is_taken_on_with_all_groups() {
    assert!(nix::unistd::geteuid().is_root() || cannot_change_users());
    if cannot_change_users() {
        return;
    }
    let (_agent, session) = Agent::with_session().await;
    let mut command = sh("id -u; id -g; id -G; echo $USER $HOME; grep -c . /proc/self/status");
    command.user = Some(User::Id {
        uid: 12_345,
        gid: Some(54_321),
    });
    let finished = finish(&session, command).await;
    let text = String::from_utf8(finished.stdout).unwrap();
    assert!(text.starts_with("12345\n54321\n54321\n/\n"), "{text}");
    let mut command = sh("id -un");
    command.user = Some(User::Name("nobody".into()));
    assert_eq!(finish(&session, command).await.stdout, b"nobody\n");
}

/// As an ordinary user nobody else can be become: that is then told.
fn cannot_change_users() -> bool {
    !nix::unistd::geteuid().is_root()
}

#[tokio::test]
async fn signals_reach_the_whole_process_group() {
    let (_agent, session) = Agent::with_session().await;
    for signal in [15, 9] {
        let mut exec = session.exec(sh("sleep 1000 | sleep 1000")).await.unwrap();
        exec.stdin = None;
        // The shell has forked both by the time its children hold their pipe.
        tokio::time::sleep(Duration::from_millis(100)).await;
        exec.signal(signal).await.unwrap();
        assert_eq!(exec.wait().await.unwrap(), ExecEnd::Signalled(signal));
        let mut out = Vec::new();
        exec.stdout.unwrap().read_to_end(&mut out).await.unwrap();
    }
    let mut exec = session.exec(sh("exit 4")).await.unwrap();
    assert_eq!(exec.wait().await.unwrap(), ExecEnd::Exited(4));
    assert_eq!(exec.signal(15).await.unwrap_err().errno(), Some(3));
}

#[tokio::test]
async fn a_command_starts_with_default_signals_and_no_descriptor_of_the_agents() {
    let (_agent, session) = Agent::with_session().await;
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd";
    let text = String::from_utf8(finish(&session, sh(script)).await.stdout).unwrap();
    let zero = "0".repeat(16);
    // ls has one more, for the directory.
    let expected = format!("SigBlk:\t{zero}\nSigIgn:\t{zero}\n0\n1\n2\n3\n");
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_closed_standard_input_reaches_both_sides() {
    let (_agent, session) = Agent::with_session().await;
    // Ours: end-of-file there.
    let finished = finish(&session, sh("cat; echo eof")).await;
    assert_eq!(finished.stdout, b"eof\n");
    // Theirs: a broken pipe here, and what was under way is dropped.
    let mut exec = session.exec(sh("exec <&-; sleep 0.2")).await.unwrap();
    let mut stdin = exec.stdin.take().unwrap();
    let error = loop {
        match stdin.write(&[0; 1000]).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(exec.wait().await.unwrap(), ExecEnd::Exited(0));
    // Without streams: /dev/null.
    let command = sh("cat; echo lost; echo lost >&2; exit 5");
    let none = Stdio {
        stdin: false,
        stdout: false,
        stderr: false,
    };
    let mut exec = session.exec_with(command, none).await.unwrap();
    assert!(exec.stdin.is_none() && exec.stdout.is_none() && exec.stderr.is_none());
    assert_eq!(exec.wait().await.unwrap(), ExecEnd::Exited(5));
}

#[tokio::test]
async fn a_stream_ends_with_its_command_though_a_daemon_holds_it() {
    let (_agent, session) = Agent::with_session().await;
    let start = Instant::now();
    let finished = finish(&session, sh("sleep 1000 & echo $!; exit 2")).await;
    assert_eq!(finished.end, ExecEnd::Exited(2));
    assert!(start.elapsed() < Duration::from_secs(500));
    let pid = String::from_utf8(finished.stdout).unwrap();
    finish(&session, sh(&format!("kill {pid}"))).await;
}

#[tokio::test]
async fn a_reader_that_leaves_is_a_broken_pipe_for_the_command() {
    let (_agent, session) = Agent::with_session().await;
    let mut exec = session.exec(Command::new(["yes"])).await.unwrap();
    let mut stdout = exec.stdout.take().unwrap();
    let mut first = [0; 1000];
    stdout.read_exact(&mut first).await.unwrap();
    drop(stdout);
    assert_eq!(exec.wait().await.unwrap(), ExecEnd::Signalled(13));
    assert_eq!(finish(&session, sh("exit 9")).await.end, ExecEnd::Exited(9));
}

#[tokio::test]
async fn ten_commands_at_once_do_not_disturb_each_other() {
    let (_agent, session) = Agent::with_session().await;
    let mut runs = tokio::task::JoinSet::new();
    for nth in 0..10_u8 {
        let session = session.clone();
        runs.spawn(async move {
            let script = format!("yes {nth} | head -c 1000000; exit {nth}");
            (nth, finish(&session, sh(&script)).await)
        });
    }
    while let Some(run) = runs.join_next().await {
        let (nth, finished) = run.unwrap();
        assert_eq!(finished.end, ExecEnd::Exited(nth));
        assert_eq!(finished.stdout.len(), 1_000_000);
        let line = format!("{nth}\n").into_bytes();
        assert!(finished.stdout.chunks(2).all(|chunk| chunk == line));
    }
}

#[tokio::test]
async fn commands_end_with_the_session() {
    let (_agent, session) = Agent::with_session().await;
    let exec = session.exec(Command::new(["sleep", "1000"])).await.unwrap();
    let pid = nix::unistd::Pid::from_raw(exec.pid().unwrap());
    drop((exec, session));
    let start = Instant::now();
    while nix::sys::signal::kill(pid, None).is_ok() {
        assert!(start.elapsed() < super::DEADLINE, "it runs on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
