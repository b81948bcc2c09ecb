//! The command line: what every command understands.

use std::cell::OnceCell;
use std::env;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Parser, ValueEnum};

use hailo_vfio::device::Target;
use hailo_vfio::model::{FaultError, FaultPlan, Profile, ProfileError};
use hailo_vfio::pci::Root;
use hailo_vfio::spec::board::Mode;
use hailo_vfio::transport::reason::Unconfined;

use crate::commands::Command;
use crate::config::Config;
use crate::exit::{Failure, Result};

const AFTER_HELP: &str = "\
Exit codes:
  0    done
  1    failed
  2    wrong usage
  3    no such device
  4    not permitted
  5    the device timed out or is gone
  10   doctor has warnings
  11   doctor has errors
  130  interrupted

Examples:
  hailoctl scan                         what is in this machine
  hailoctl -d sim identify              ask the software chip who it is
  hailoctl help fw-load                 more about one command";

/// Boot, examine and simulate Hailo-10H PCIe accelerators, without a kernel module.
#[derive(Debug, Parser)]
#[command(name = "hailoctl", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Which device: a PCI address, a number of `scan`, sim or sim:PROFILE, vfio-user:SOCKET; without
    /// it $HAILOCTL_DEVICE, then the only card
    #[arg(short, long, global = true)]
    device: Option<String>,

    /// Print results for people or for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Human, hide_possible_values = true, value_name = "human|json")]
    format: Format,

    /// Short for --format json
    #[arg(long, global = true)]
    json: bool,

    /// Say more: -v what happens, -vv each transfer, -vvv each register access
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// When to use colour; NO_COLOR is respected
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, hide_possible_values = true, value_name = "auto|always|never")]
    pub(crate) color: Color,

    /// What runs on the chip, or will: its own system, or accelerator firmware driven by this computer
    /// (nnc). Nothing on a card tells which; without it that of the firmware that is named, else soc,
    /// and nnc for a chip that has only that
    #[arg(long, global = true, value_parser = mode, value_name = "soc|nnc")]
    mode: Option<Mode>,

    /// The mode of the firmware that is named, where none is said.
    #[arg(skip)]
    mode_of_firmware: OnceCell<Mode>,

    /// Open a card without an IOMMU, which lets it reach all memory of this computer (or settle it in
    /// the configuration file: allow_no_iommu = true)
    #[arg(long, global = true)]
    allow_no_iommu: bool,

    /// Read sysfs, procfs and device nodes under this directory instead of /
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    sysfs_root: PathBuf,

    /// What the software chip does wrong, such as stall-stage=3 (`hailoctl help sim` has them all)
    #[arg(long, global = true, value_name = "PLAN", help_heading = SOFTWARE_CHIP)]
    fault: Vec<String>,

    /// Tell at the end what the software chip saw: accesses, DMA, digests of files, mistakes
    #[arg(long, global = true, help_heading = SOFTWARE_CHIP)]
    pub(crate) stats: bool,
}

const SOFTWARE_CHIP: &str = "Software chip (-d sim, hailoctl sim)";

impl Global {
    /// How results are printed.
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    /// What `-d` names, if anything.
    pub(crate) fn target(&self) -> Result<Option<Target>> {
        let from_environment = || env::var("HAILOCTL_DEVICE").ok();
        let text = self.device.clone().or_else(from_environment);
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let target = text.parse().map_err(|_| {
            let action = format!("{text:?} names no device");
            let next = "give a PCI address like 0000:03:00.0, a number of hailoctl scan, \
                        sim[:PROFILE] or vfio-user:SOCKET";
            Failure::usage(action, next)
        })?;
        if let Target::Sim(profile) = &target {
            self.profile(profile)?;
        }
        Ok(Some(target))
    }

    /// The profile behind `sim:`, in the mode that is meant; the default one where there is nothing.
    pub(crate) fn profile(&self, text: &str) -> Result<Profile> {
        let text = if text.is_empty() { "default" } else { text };
        let parse = |text: &str| {
            text.parse().map_err(|error: ProfileError| {
                Failure::usage(error.to_string(), "hailoctl help sim tells about profiles")
            })
        };
        let profile: Profile = parse(text)?;
        let of = profile.board().mode;
        match self.named_mode() {
            Some(mode) if mode != of && text.contains(",mode=") => Err(Failure::usage(
                format!("{mode} mode is meant, and the software chip is one in {of} mode"),
                format!("mode={mode} in its profile, or none"),
            )),
            Some(mode) if mode != of => parse(&format!("{text},mode={mode}")),
            _ => Ok(profile),
        }
    }

    fn named_mode(&self) -> Option<Mode> {
        self.mode.or_else(|| self.mode_of_firmware.get().copied())
    }

    /// Firmware of this mode is named: that is the mode that is meant, unless another one was said.
    pub(crate) fn take_mode_of_firmware(&self, mode: Mode) {
        self.mode_of_firmware.get_or_init(|| mode);
    }

    /// The mode that is meant: as named, else that of the software chip's profile.
    pub(crate) fn mode(&self) -> Result<Option<Mode>> {
        let of_profile = match self.target()? {
            Some(Target::Sim(profile)) => Some(self.profile(&profile)?.board().mode),
            _ => None,
        };
        Ok(self.named_mode().or(of_profile))
    }

    /// What the software chip is to do wrong.
    pub(crate) fn faults(&self) -> Result<FaultPlan> {
        let parsed = self.fault.join(";").parse();
        parsed.map_err(|error: FaultError| {
            Failure::usage(error.to_string(), "hailoctl help sim lists the faults")
        })
    }

    /// Whether a card may be opened that no IOMMU confines.
    pub(crate) fn unconfined(&self) -> Result<Unconfined> {
        let allowed = self.allow_no_iommu || Config::read()?.allow_no_iommu;
        Ok(if allowed {
            Unconfined::Allow
        } else {
            Unconfined::Refuse
        })
    }

    /// Refuses to do `what` (`a card can't be …`) where the files of another machine are looked at: they
    /// are there to be read, and writing to them would reach no card.
    pub(crate) fn on_this_machine(&self, what: &str) -> Result<()> {
        if self.sysfs_root == Path::new("/") {
            return Ok(());
        }
        let root = self.sysfs_root.display();
        let action = format!("{what} under --sysfs-root {root}, which is only to look at");
        Err(Failure::usage(action, "leave out --sysfs-root"))
    }

    /// Where sysfs and procfs are read.
    pub(crate) fn root(&self) -> Result<Root> {
        if self.sysfs_root.is_dir() {
            return Ok(Root::new(&self.sysfs_root));
        }
        let action = format!("--sysfs-root {} is no directory", self.sysfs_root.display());
        let next = "name the directory that holds sys and proc of the machine to look at";
        Err(Failure::usage(action, next))
    }
}

fn mode(text: &str) -> std::result::Result<Mode, String> {
    [Mode::Soc, Mode::Nnc]
        .into_iter()
        .find(|mode| mode.to_string() == text)
        .ok_or_else(|| "a mode is soc or nnc".to_owned())
}

/// For whom results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example_in_its_help() {
        fn check(command: &clap::Command) {
            if command.has_subcommands() && command.get_name() == "hailoctl" {
                command.get_subcommands().for_each(check);
                return;
            }
            let help = command.get_after_help().map(ToString::to_string);
            let name = command.get_name();
            assert!(
                help.is_some_and(|text| text.contains("Example") && text.contains("hailoctl")),
                "{name} --help has no example"
            );
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn json_is_short_for_its_format() {
        let parse = |args: &[&str]| Cli::try_parse_from(args).map(|cli| cli.global.format());
        assert_eq!(
            parse(&["hailoctl", "scan", "--json"]).unwrap(),
            Format::Json
        );
        assert_eq!(
            parse(&["hailoctl", "--format", "json", "scan"]).unwrap(),
            Format::Json
        );
        assert_eq!(parse(&["hailoctl", "scan"]).unwrap(), Format::Human);
    }
}
