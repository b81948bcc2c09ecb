//! `bind`: gives a card to vfio-pci, so that this tool can open it.

use std::io::{self, IsTerminal};

use hailo_vfio::device::Target;
use hailo_vfio::pci::FunctionInfo;
use hailo_vfio::pci::bind::{self, BindError, Plan, Step};
use hailo_vfio::{Error, ErrorKind};
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::open;
use crate::output::Output;

/// Give a card to vfio-pci, so that hailoctl can open it
///
/// Takes it from the driver that has it, until the next restart of the computer or `unbind`. Refuses
/// while a program uses it, and leaves everything as it was when a step fails. Takes root.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo hailoctl bind
  sudo hailoctl bind -d 0000:03:00.0 --yes   without a question, for scripts
  hailoctl bind -n                           only say what would be written
  sudo hailoctl bind --no-driver             where the kernel has no VFIO")]
pub(crate) struct Args {
    #[command(flatten)]
    consent: Consent,

    /// Take the other devices of the card's IOMMU group, too: their drivers lose them
    #[arg(long)]
    group: bool,

    /// Leave the card without a driver instead: for a kernel without VFIO, together with the option
    /// --allow-no-iommu when the card is opened
    #[arg(long, conflicts_with = "group")]
    no_driver: bool,
}

/// Whether to do it.
#[derive(Debug, clap::Args)]
pub(super) struct Consent {
    /// Don't ask
    #[arg(short, long)]
    yes: bool,

    /// Say what would be written, and write nothing
    #[arg(short = 'n', long, conflicts_with = "yes")]
    dry_run: bool,
}

#[derive(Serialize)]
struct Done<'a> {
    device: &'a str,
    steps: &'a [Step],
    done: bool,
    dry_run: bool,
}

/// Binds the card.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let root = global.root()?;
    let card = card(global)?;
    let plan = if args.no_driver {
        Plan::detach(&root, &card)
    } else {
        Plan::bind(&root, &card, args.group)
    };
    let plan = plan.map_err(|error| told(&card, error))?;
    carry_out(&card, &plan, &args.consent, global, output)
}

/// The card that `-d` names, or the only one.
pub(super) fn card(global: &Global) -> Result<FunctionInfo> {
    let target = open::target(global)?;
    let cards = open::functions(global)?;
    let found = match target {
        Target::Pci(address) => cards.into_iter().find(|card| card.address == address),
        _ => None,
    };
    found.ok_or_else(|| {
        let action = format!("{target} has no place on this machine's PCI bus");
        Failure::usage(action, "name a card that hailoctl scan lists")
    })
}

pub(super) fn carry_out(
    card: &FunctionInfo,
    plan: &Plan,
    consent: &Consent,
    global: &Global,
    output: &mut Output,
) -> Result<Exit> {
    let device = card.address.to_string();
    let done = |done| Done {
        device: &device,
        steps: &plan.steps,
        done,
        dry_run: consent.dry_run,
    };
    let nothing = plan.steps.is_empty();
    if !output.is_json() {
        if nothing {
            output.line(format_args!("{device}: nothing to do"))?;
        }
        for step in &plan.steps {
            let value = step.change.value.trim();
            let file = step.change.file.display();
            output.line(format_args!("{}\n  echo '{value}' > {file}", step.what))?;
        }
    }
    if consent.dry_run || nothing {
        if output.is_json() {
            output.object(&done(nothing))?;
        }
        return Ok(Exit::Done);
    }
    global.on_this_machine("a driver can't be changed")?;
    if !consent.yes && !confirmed(output)? {
        output.note(format_args!("nothing was done"))?;
        return Ok(Exit::Failed);
    }
    let root = global.root()?;
    plan.carry_out(&root, &mut |file, value| bind::write(&root, file, value))
        .map_err(|error| told(card, error))?;
    if output.is_json() {
        output.object(&done(true))?;
    } else {
        output.line(format_args!("{device}: done"))?;
    }
    Ok(Exit::Done)
}

fn confirmed(output: &mut Output) -> Result<bool> {
    if !io::stdin().is_terminal() || output.is_json() {
        let action = "changing a driver needs a yes";
        return Err(Failure::usage(
            action,
            "add --yes, or --dry-run to see what would be written",
        ));
    }
    output.ask(format_args!("do it? [y/N] "))?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(Failure::Stream)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// A failure with what to do about it.
pub(super) fn told(card: &FunctionInfo, error: BindError) -> Failure {
    let device = card.address.to_string();
    let not_undone = |left: &[bind::Change]| {
        let commands = left
            .iter()
            .map(|one| format!("echo '{}' > {}", one.value.trim(), one.file.display()));
        commands.collect::<Vec<_>>().join("\n")
    };
    let (error, left) = match error {
        BindError::Refused(obstacle) => {
            let error = Error::new(
                ErrorKind::Busy,
                device,
                format!("not handed over: {obstacle}"),
            );
            (error.with_hint(obstacle.hint()), String::new())
        }
        BindError::Write {
            ref source,
            ref left,
            ..
        } => {
            let left = not_undone(left);
            let kind = match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::NotPermitted,
                _ => ErrorKind::Io,
            };
            let hint = if kind == ErrorKind::NotPermitted {
                "run it as root: sudo hailoctl ..."
            } else {
                "the kernel log says why: sudo dmesg | tail; hailoctl doctor"
            };
            (
                Error::new(kind, device, error.to_string())
                    .because(error)
                    .with_hint(hint),
                left,
            )
        }
        BindError::NotTaken { ref left, .. } => {
            let left = not_undone(left);
            let error = Error::new(ErrorKind::Io, device, error.to_string());
            (error.with_hint("hailoctl doctor says why (M-03)"), left)
        }
        other => (
            Error::new(ErrorKind::Io, device, other.to_string()),
            String::new(),
        ),
    };
    if left.is_empty() {
        return error.fact("state", "everything is as it was").into();
    }
    error.fact("not undone", left).into()
}
