//! The filter of system calls (seccomp(2)), which QEMU adds its own to. It denies what Landlock does
//! not govern: attributes of files, sockets, other processes, and interfaces of the kernel that
//! QEMU has no use for.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::rules::{NetworkRule, Rules};
use crate::sys::{Instruction, OWN_PID};

/// Denied with EPERM whatever the arguments.
#[rustfmt::skip]
const DENIED: &[libc::c_long] = &[
    // other processes
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp,
    libc::SYS_pidfd_open, libc::SYS_pidfd_getfd, libc::SYS_pidfd_send_signal, libc::SYS_process_madvise,
    libc::SYS_tkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo, libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // attributes and names of files
    libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchmodat2, libc::SYS_fchown, libc::SYS_fchownat,
    libc::SYS_utimensat, libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr,
    libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr, libc::SYS_mknodat,
    libc::SYS_linkat, libc::SYS_symlinkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_unlinkat,
    libc::SYS_mkdirat, libc::SYS_truncate, libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at,
    // mounts and namespaces
    libc::SYS_setns, libc::SYS_unshare, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_mount,
    libc::SYS_umount2, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick,
    libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_mount_setattr, libc::SYS_quotactl,
    libc::SYS_swapon, libc::SYS_swapoff,
    // interfaces of the kernel
    libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_bpf,
    libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark, libc::SYS_inotify_init1, libc::SYS_inotify_add_watch,
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load,
    libc::SYS_kexec_file_load, libc::SYS_reboot, libc::SYS_acct, libc::SYS_syslog,
    libc::SYS_personality, libc::SYS_memfd_secret, libc::SYS_vhangup,
    // the clock and the name of the host
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_adjtimex, libc::SYS_clock_adjtime,
    libc::SYS_sethostname, libc::SYS_setdomainname,
    // System V and POSIX queues
    libc::SYS_msgget, libc::SYS_semget, libc::SYS_shmget, libc::SYS_shmat, libc::SYS_mq_open,
    // other users
    libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setregid, libc::SYS_setresuid,
    libc::SYS_setresgid, libc::SYS_setgroups, libc::SYS_setfsuid, libc::SYS_setfsgid, libc::SYS_capset,
];

/// Older forms, which only this architecture has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const DENIED_HERE: &[libc::c_long] = &[
    libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes,
    libc::SYS_futimesat, libc::SYS_mknod, libc::SYS_link, libc::SYS_symlink, libc::SYS_rename,
    libc::SYS_unlink, libc::SYS_rmdir, libc::SYS_mkdir, libc::SYS_inotify_init, libc::SYS_iopl,
    libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS_ustat, libc::SYS_sysfs,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[libc::c_long] = &[];

/// Denied with EACCES without a network.
const SOCKETS: [libc::c_long; 9] = [
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmmsg,
];

/// Instructions and system calls have the x32 interface from this number on, which no rule covers.
const X32: u32 = 0x4000_0000;

/// The programs to install, in this order.
pub(super) fn filters(rules: &Rules) -> Result<Vec<Vec<Instruction>>, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let deny = |rules: BTreeMap<_, _>, errno: i32| -> Result<Vec<Instruction>, BackendError> {
        let action = SeccompAction::Errno(errno as u32);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?;
        let program: seccompiler::BpfProgram = filter.try_into()?;
        let program = program.into_iter().map(|one| Instruction {
            code: one.code,
            jt: one.jt,
            jf: one.jf,
            k: one.k,
        });
        Ok(program.collect())
    };
    // The C library then uses clone(2), whose flags a filter can read.
    let fallback = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    Ok(vec![
        without_x32(),
        deny(fallback, libc::ENOSYS)?,
        deny(sockets(&rules.network)?, libc::EACCES)?,
        deny(denied(rules.fork)?, libc::EPERM)?,
    ])
}

fn denied(fork: bool) -> Result<BTreeMap<libc::c_long, Vec<SeccompRule>>, BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let all = DENIED.iter().chain(DENIED_HERE);
    let mut denied: BTreeMap<_, _> = all.map(|number| (*number, vec![])).collect();
    let is = |op, value| SeccompRule::new(vec![condition(0, op, value)?]);
    // With another parent-death signal it would outlive this process.
    let options = [libc::PR_SET_PDEATHSIG, libc::PR_SET_MM];
    let options: Result<_, _> = options.iter().map(|one| is(Eq, *one as u64)).collect();
    denied.insert(libc::SYS_prctl, options?);
    for number in [libc::SYS_kill, libc::SYS_tgkill] {
        denied.insert(number, vec![is(Ne, OWN_PID.into())?]);
    }
    if !fork {
        // A thread shares everything with this process; anything else would outlive it.
        let thread = libc::CLONE_THREAD as u64;
        denied.insert(libc::SYS_clone, vec![is(MaskedEq(thread), 0)?]);
        #[cfg(target_arch = "x86_64")]
        denied.extend([(libc::SYS_fork, vec![]), (libc::SYS_vfork, vec![])]);
    }
    Ok(denied)
}

fn sockets(
    network: &NetworkRule,
) -> Result<BTreeMap<libc::c_long, Vec<SeccompRule>>, BackendError> {
    let domains: &[i32] = match network {
        NetworkRule::None => return Ok(SOCKETS.iter().map(|number| (*number, vec![])).collect()),
        NetworkRule::Serve(_) | NetworkRule::Connect(_) | NetworkRule::Internet => {
            &[libc::AF_INET, libc::AF_INET6]
        }
        NetworkRule::Local => &[libc::AF_INET, libc::AF_INET6, libc::AF_UNIX],
    };
    let conditions: Result<_, _> = (domains.iter())
        .map(|domain| condition(0, SeccompCmpOp::Ne, *domain as u64))
        .collect();
    let mut denied = BTreeMap::from([(libc::SYS_socket, vec![SeccompRule::new(conditions?)?])]);
    if let NetworkRule::Connect(_) = network {
        only_tcp_and_udp(&mut denied)?;
        no_fast_open(&mut denied)?;
    }
    if let NetworkRule::Serve(ports) = network {
        only_servers(&mut denied)?;
        if ports.is_empty() {
            denied.extend([(libc::SYS_socket, vec![]), (libc::SYS_bind, vec![])]);
        }
    }
    Ok(denied)
}

/// The bits of socket(2)'s type that are no flags.
const TYPE: u64 = 0xf;

/// Landlock governs TCP only: denies other streams, and all that is neither a stream nor UDP.
fn only_tcp_and_udp(
    denied: &mut BTreeMap<libc::c_long, Vec<SeccompRule>>,
) -> Result<(), BackendError> {
    use SeccompCmpOp::{MaskedEq, Ne};
    let known = [libc::SOCK_STREAM, libc::SOCK_DGRAM].map(|one| one as u64);
    let socket = denied.entry(libc::SYS_socket).or_default();
    for other in (0..=TYPE).filter(|one| !known.contains(one)) {
        let is_other = condition(1, MaskedEq(TYPE), other)?;
        socket.push(SeccompRule::new(vec![is_other])?);
    }
    for (kind, protocol) in known
        .into_iter()
        .zip([libc::IPPROTO_TCP, libc::IPPROTO_UDP])
    {
        socket.push(SeccompRule::new(vec![
            condition(1, MaskedEq(TYPE), kind)?,
            condition(2, Ne, 0)?,
            condition(2, Ne, protocol as u64)?,
        ])?);
    }
    Ok(())
}

/// tcp(7): this flag connects.
fn no_fast_open(denied: &mut BTreeMap<libc::c_long, Vec<SeccompRule>>) -> Result<(), BackendError> {
    let flag = libc::MSG_FASTOPEN as u64;
    for (number, argument) in [
        (libc::SYS_sendto, 3),
        (libc::SYS_sendmsg, 2),
        (libc::SYS_sendmmsg, 3),
    ] {
        let connects = condition(argument, SeccompCmpOp::MaskedEq(flag), flag)?;
        denied.insert(number, vec![SeccompRule::new(vec![connects])?]);
    }
    Ok(())
}

/// Landlock governs TCP only, and not in old kernels: denies other protocols, and every connection that
/// is not accepted.
fn only_servers(denied: &mut BTreeMap<libc::c_long, Vec<SeccompRule>>) -> Result<(), BackendError> {
    use SeccompCmpOp::{MaskedEq, Ne};
    let stream = libc::SOCK_STREAM as u64;
    let types = (0..=TYPE).filter(|one| *one != stream);
    let socket = denied.entry(libc::SYS_socket).or_default();
    for other in types {
        let is_other = condition(1, MaskedEq(TYPE), other)?;
        socket.push(SeccompRule::new(vec![is_other])?);
    }
    // SCTP and MPTCP are streams, too.
    let protocols = [0, libc::IPPROTO_TCP as u64].map(|one| condition(2, Ne, one));
    socket.push(SeccompRule::new(
        protocols.into_iter().collect::<Result<_, _>>()?,
    )?);
    denied.extend([(libc::SYS_connect, vec![]), (libc::SYS_socketpair, vec![])]);
    no_fast_open(denied)
}

fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

/// Kills the process for a system call of the x32 interface.
fn without_x32() -> Vec<Instruction> {
    let instruction = |code, jf, k| Instruction {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    // The number of the call is the first field of `struct seccomp_data`.
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_KILL_PROCESS,
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
