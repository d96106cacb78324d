//! Recognises, by the text of its console, a boot that does not go on: firmware that finds nothing to
//! boot, a boot loader's menu or prompt, a question for a passphrase, a maintenance shell. Pure.

use std::time::Duration;

/// Why a boot does not go on, and the suggested fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootStop {
    /// Completes "the guest did not boot: ".
    pub how: &'static str,
    pub hint: &'static str,
    /// How long the console may still show this, without anything new, before it counts.
    pub patience: Duration,
}

/// Where a text has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It is all of the unfinished line.
    Prompt,
    /// As [`Place::Prompt`]; whatever the console shows later does not count.
    LastPrompt,
    /// At the start of a line that only messages of the kernel may follow.
    Question,
    /// In a line. Whatever the console shows later does not count.
    Message,
    /// In a line of the screen, until that is cleared.
    Screen,
}
use Place::{LastPrompt, Message, Prompt, Question, Screen};

/// The firmware has nothing left to try.
const AT_ONCE: Duration = Duration::from_secs(1);
/// A guest may still come up by itself: its agent may start at the same moment, and knows better.
/// Boot loaders that count the seconds show each of them.
const UNATTENDED: Duration = Duration::from_secs(10);
/// Prompts of boot loaders that may boot by themselves after a time that they do not show.
const SILENT_TIMER: Duration = Duration::from_secs(45);

const fn stop(how: &'static str, hint: &'static str, patience: Duration) -> BootStop {
    BootStop {
        how,
        hint,
        patience,
    }
}

const CONSOLE: &str = "see the console output; if a disk is missing, add it with --disk";
const WITHOUT_LOADER: &str = "--kernel FILE boots without a boot loader";

const BIOS: BootStop = stop(
    "the BIOS found nothing to boot",
    "--firmware uefi, if the image boots by UEFI; --kernel FILE boots without a boot loader",
    AT_ONCE,
);
const BOOT_SECTOR: BootStop = stop(
    "its boot sector found no system",
    "--firmware uefi, if the image boots by UEFI; --kernel FILE boots without a boot loader",
    UNATTENDED,
);
const UEFI: BootStop = stop(
    "the UEFI firmware found nothing to boot",
    "--firmware bios, if the image boots by the BIOS; --kernel FILE boots without a boot loader",
    UNATTENDED,
);
const UEFI_SHELL: BootStop = stop(
    "the UEFI firmware found nothing to boot, and waits in its shell",
    UEFI.hint,
    UNATTENDED,
);
const GRUB: BootStop = stop("GRUB waits at its prompt", WITHOUT_LOADER, UNATTENDED);
const GRUB_LOGIN: BootStop = stop("GRUB waits for a user name", WITHOUT_LOADER, UNATTENDED);
const GRUB_MENU: BootStop = stop(
    "GRUB waits in its menu",
    "set a timeout in its grub.cfg, or boot with --kernel FILE, without a boot loader",
    UNATTENDED,
);
const SYSTEMD_BOOT: BootStop = stop(
    "systemd-boot waits in its menu",
    "set a timeout in its loader.conf, or boot with --kernel FILE, without a boot loader",
    UNATTENDED,
);
const LOADER: BootStop = stop(
    "its boot loader waits at a prompt",
    WITHOUT_LOADER,
    SILENT_TIMER,
);
const PASSPHRASE: BootStop = stop(
    "it waits for the passphrase of an encrypted disk",
    "leave out the command: the console is then the terminal, and the passphrase can be typed",
    UNATTENDED,
);
const SETTINGS: BootStop = stop(
    "its first boot asks for settings",
    "leave out the command to answer at the console, or give the image its settings",
    UNATTENDED,
);
const INITRAMFS: BootStop = stop("its initramfs stopped, with a shell", CONSOLE, UNATTENDED);
const NO_ROOT: BootStop = stop(
    "its kernel asks for the root filesystem",
    CONSOLE,
    UNATTENDED,
);
const INIT: BootStop = stop(
    "its init waits at the console for maintenance",
    CONSOLE,
    UNATTENDED,
);
const NO_PORT: BootStop = stop(
    "its kernel has no driver for the agent's port",
    "a kernel with virtio_console, built in or as a module in the image or in this host's /lib/modules",
    AT_ONCE,
);
/// As the first sector of a disk shows: SeaBIOS runs it, and shows nothing more.
pub const EMPTY_CODE: BootStop = stop(
    "its first sector holds no code for the BIOS",
    WITHOUT_LOADER,
    AT_ONCE,
);
pub const EMPTY_CODE_BESIDE_ESP: BootStop = stop(
    EMPTY_CODE.how,
    "--firmware uefi: it has a boot loader for UEFI",
    AT_ONCE,
);
/// The end of a guest whose boot failed, as its agent reports it.
pub const EMERGENCY: BootStop = stop("its init is in emergency mode", CONSOLE, Duration::ZERO);

/// The first that is found counts. The texts are those of the programs' own sources; menus of GRUB and
/// systemd-boot are known by what their translations leave alone.
#[rustfmt::skip]
const KNOWN: &[(Place, &str, &BootStop)] = &[
    // SeaBIOS (src/boot.c), and boot sectors: syslinux, mkfs.fat, Windows, ISOLINUX.
    (Message, "No bootable device.", &BIOS),
    (Message, "Missing operating system", &BOOT_SECTOR),
    (Message, "perating system not found", &BOOT_SECTOR),
    (Message, "Error loading operating system", &BOOT_SECTOR),
    (Message, "Operating system load error", &BOOT_SECTOR),
    (Message, "This is not a bootable disk.", &BOOT_SECTOR),
    (Message, "Non-System disk", &BOOT_SECTOR),
    (Message, "BOOTMGR is missing", &BOOT_SECTOR),
    (Message, "NTLDR is missing", &BOOT_SECTOR),
    (Message, "isolinux.bin missing or corrupt", &BOOT_SECTOR),
    // EDK II (MdeModulePkg: BdsDxe, UiApp, BootManagerMenuApp; ShellPkg).
    (Screen, "BdsDxe: No bootable option or device was found.", &UEFI),
    (Screen, "Boot Maintenance Manager", &UEFI),
    (Screen, "Please select boot device:", &UEFI),
    (Prompt, "Shell>", &UEFI_SHELL),
    // GRUB (grub-core/kern/rescue_reader.c, normal/main.c, normal/auth.c, normal/menu_text.c).
    (Prompt, "grub>", &GRUB),
    (Prompt, "grub rescue>", &GRUB),
    (Prompt, "Enter username:", &GRUB_LOGIN),
    (Screen, "GNU GRUB  version", &GRUB_MENU),
    // An entry of its menu, wherever the firmware can do that.
    (Screen, "Reboot Into Firmware Interface", &SYSTEMD_BOOT),
    // syslinux and boot2 of FreeBSD, then the loaders of OpenBSD, FreeBSD and U-Boot.
    (Prompt, "boot:", &LOADER),
    (Prompt, "boot>", &LOADER),
    (Screen, "Type '?' for a list of commands, 'help' for more detailed help.", &LOADER),
    (Prompt, "=>", &LOADER),
    // cryptsetup's own, initramfs-tools', systemd's; GELI's in FreeBSD's loader.
    (Question, "Please unlock disk", &PASSPHRASE),
    (Question, "Enter passphrase for", &PASSPHRASE),
    (Question, "Please enter passphrase for", &PASSPHRASE),
    (Question, "\u{1f510} Please enter passphrase for", &PASSPHRASE),
    (Question, "Please enter LUKS2 token PIN", &PASSPHRASE),
    (Question, "\u{1f510} Please enter LUKS2 token PIN", &PASSPHRASE),
    (Question, "GELI Passphrase for", &PASSPHRASE),
    (Question, "-- Press any key to proceed --", &SETTINGS),
    // initramfs-tools, dracut, mkinitcpio, Alpine's mkinitfs, NixOS, genkernel.
    (LastPrompt, "(initramfs)", &INITRAMFS),
    (LastPrompt, "dracut:/#", &INITRAMFS),
    (LastPrompt, "[rootfs ~]#", &INITRAMFS),
    (LastPrompt, "[rootfs /]#", &INITRAMFS),
    (LastPrompt, "[rootfs ]#", &INITRAMFS),
    (Message, "initramfs emergency recovery shell launched", &INITRAMFS),
    (Message, "An error occurred in stage 1 of the boot process", &INITRAMFS),
    (Message, "Could not find the root block device in", &INITRAMFS),
    (Question, "mountroot>", &NO_ROOT),
    (Prompt, "root device:", &NO_ROOT),
    (Question, "root device (default", &NO_ROOT),
    // sulogin(8) of util-linux and sysvinit, init(8) of the BSDs.
    (LastPrompt, "Give root password for login:", &INIT),
    (LastPrompt, "(or press Control-D to continue):", &INIT),
    (LastPrompt, "(or type Control-D to continue):", &INIT),
    // The agent's own.
    (Message, "bivouac-agent: no virtio-serial port", &NO_PORT),
    (Message, "Cannot open access to console, the root account is locked", &INIT),
    (Question, "Enter full pathname of shell or RETURN for", &INIT),
    (Question, "Enter pathname of shell or RETURN for", &INIT),
];

/// The boot of one machine, by what its console shows.
#[derive(Debug, Default)]
pub(super) struct BootProgress {
    /// Whatever the console shows later.
    stopped: Option<&'static BootStop>,
    /// By the last complete line.
    question: Option<&'static BootStop>,
    screen: Option<&'static BootStop>,
}

impl BootProgress {
    pub fn cleared(&mut self) {
        (self.question, self.screen) = (None, None);
    }

    pub fn line(&mut self, line: &str) {
        let is_kernels = is_kernels(line);
        if !is_kernels && !line.is_empty() {
            self.question = None;
        }
        match find(line, true) {
            Some((Message, stop)) => self.stopped = self.stopped.or(Some(stop)),
            Some((Question, stop)) if !is_kernels => self.question = Some(stop),
            Some((Screen, stop)) if !is_kernels => self.screen = Some(stop),
            _ => {}
        }
    }

    /// Whether it does not count what the console shows from now on.
    pub fn has_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Why the boot does not go on, if the console shows nothing more than `unfinished`.
    pub fn stop(&mut self, unfinished: &str) -> Option<&'static BootStop> {
        let shown = match unfinished.trim() {
            line if line.is_empty() || is_kernels(line) => self.question,
            line => match find(line, false) {
                Some((Message | LastPrompt, stop)) => {
                    self.stopped = self.stopped.or(Some(stop));
                    None
                }
                found => found.map(|(_, stop)| stop),
            },
        };
        self.stopped.or(shown).or(self.screen)
    }
}

fn find(line: &str, finished: bool) -> Option<(Place, &'static BootStop)> {
    let line = line.trim();
    let found = KNOWN.iter().find(|(place, text, _)| match place {
        Prompt | LastPrompt => !finished && line == *text,
        Question => line.starts_with(text),
        Message | Screen => line.contains(text),
    });
    found.map(|(place, _, stop)| (*place, *stop))
}

/// A message of the kernel's, with its time stamp: `[    4.182734] `.
fn is_kernels(line: &str) -> bool {
    let stamp = line.trim_start().strip_prefix('[');
    let stamp = stamp.and_then(|rest| rest.split_once(']'));
    stamp.is_some_and(|(stamp, _)| {
        let stamp = stamp.trim_start();
        stamp.contains('.') && stamp.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why a boot whose console showed `lines`, the last of them unfinished, does not go on.
    fn stop_of(lines: &[&str]) -> Option<&'static str> {
        let mut boot = BootProgress::default();
        let (last, lines) = lines.split_last().unwrap();
        lines.iter().for_each(|line| boot.line(line));
        boot.stop(last).map(|stop| stop.how)
    }

    #[test]
    fn each_text_of_the_table_is_found_where_it_has_to_be() {
        for (place, text, stop) in KNOWN {
            let how = Some(stop.how);
            let seen = match place {
                Prompt | LastPrompt | Question => stop_of(&["words", text]),
                Message | Screen => stop_of(&["words", &format!("fr{text} x"), ""]),
            };
            assert_eq!(seen, how, "{text}");
        }
    }

    #[test]
    fn a_prompt_is_all_of_the_unfinished_line() {
        for line in [
            "echo 'grub> '",
            "grub> ls",
            "(initramfs) is the prompt of a shell",
            "[   12.0] dracut:/# ",
            "Press ESC in 5 seconds to skip startup.nsh",
        ] {
            assert_eq!(stop_of(&[line]), None, "{line}");
        }
        assert_eq!(stop_of(&["grub>", ""]), None);
    }

    #[test]
    fn a_boot_that_goes_on_has_not_stopped() {
        for lines in [
            ["boot:", "Loading vmlinuz... ok", ""],
            [
                "Please unlock disk vda3_crypt:",
                "vda3_crypt: set up successfully",
                "",
            ],
            [
                "Enter passphrase for /dev/vda2:",
                "",
                "Starting version 252",
            ],
            [
                "[    1.0] systemd: Please enter passphrase for disk",
                "",
                "",
            ],
        ] {
            assert_eq!(stop_of(&lines), None, "{lines:?}");
        }
        let mut boot = BootProgress::default();
        boot.line("        GNU GRUB  version 2.06");
        assert!(boot.stop("  The highlighted entry").is_some());
        boot.cleared();
        assert_eq!(boot.stop("  Booting `Debian'"), None);
    }

    #[test]
    fn messages_of_the_kernel_are_no_answer() {
        let noise = "[   31.004512] random: crng init done";
        for question in ["Please unlock disk vda3_crypt: ", "(initramfs) "] {
            let mut boot = BootProgress::default();
            assert!(boot.stop(question).is_some());
            boot.line(&format!("{question}{noise}"));
            boot.line(noise);
            assert!(boot.stop("").is_some(), "{question}");
        }
    }
}
