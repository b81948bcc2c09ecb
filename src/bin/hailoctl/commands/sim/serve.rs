//! `sim --socket`: the software chip behind a vfio-user socket; `--rpc-listen`: its RPC server behind TCP ports.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;

use hailo_vfio::model::server::{BindError, Server};
use hailo_vfio::model::soc::listen::RpcServer;
use hailo_vfio::model::{Chip, FaultPlan, Profile};
use hailo_vfio::{Error, ErrorKind};
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::output::{BAD, Output};
use crate::signals::Signals;
use crate::stats::Stats;

/// Help behind the options of `sim`.
pub(super) const AFTER_HELP: &str = "\
Serves one client at a time until Ctrl-C: hailoctl -d vfio-user:SOCKET, or a virtual machine.
Only its owner may connect to the socket.

Profiles: NAME[,KEY=VALUE...]
  names  default, pi5-gen2-x1, pi5-gen3-x1, m2-gen3-x4, hailo12l; in NNC mode hailo15h, hailo15l
  keys   speed=1..4  width=1|2|4  sku=default|0..63  mrrs=128..4096  loaded=VERSION
         version=VERSION  layout=4.x|5.0|5.1  timing=on|off
         chip=hailo10h|hailo12l|hailo15l  mode=soc|nnc
         serial=TEXT  temperature=DEGREES  power=on|off  loopback=on|off  quirks=on|off
         reply-delay=MS  echo=PORT  lenient=on|off (go on where hardware might not notice a mistake)
         and in NNC mode opcodes=full|accelerator  silent=on|off  extended=on|off
         fw-memory=BYTES  reset-delay=MS  frame-time=US  restricted=START+BYTES

Faults: NAME[=VALUE][:TIMES], TIMES being once, always or a number
  stall-stage=N fail-stage=N reset-at-stage=N fail-after=BYTES lose-irq spurious-irq irq-storm[=N]
  all-ones-after=N descriptor-error=K stuck-channel=C stray-dma=ADDRESS wrong-version[=V]
  no-response connect-status=N drop-session sku=N slow=MS notify=ID
  and of the mailbox, NAME[=VALUE][@connect|@close|@query|@power-off][+SKIP]: mailbox-status=N
  mailbox-wrong-code mailbox-no-write mailbox-again mailbox-stray-close mailbox-channels=IN/OUT
  and of the RPC server, NAME[=VALUE][@METHOD][+SKIP]: rpc-slow=MS rpc-drop rpc-twice rpc-wrong-id
  rpc-wrong-action rpc-status=N rpc-bad-magic rpc-bad-size rpc-bad-body rpc-close rpc-close-early
  rpc-close-in-output rpc-short-output rpc-close-in-input rpc-storm=N rpc-die=MS
  and of the firmware in NNC mode, NAME[=VALUE][@OPCODE][+SKIP]: nnc-drop nnc-lose-irq nnc-late=MS
  nnc-bad-md5 nnc-bad-size nnc-wrong-opcode nnc-no-ack nnc-bad-version nnc-long nnc-status=N
  nnc-reset nnc-storm=N nnc-event=ID nnc-event-count=ID nnc-event-size=BYTES nnc-log-flood=BYTES
  nnc-log-offset=N nnc-no-driver-down nnc-no-reset nnc-fail-action=K nnc-stuck-wait
  nnc-stop-channel=C nnc-lose-boundary-irq

Examples:
  hailoctl sim --socket /tmp/chip.sock --stats
  hailoctl sim --socket /tmp/chip.sock --profile pi5-gen2-x1,sku=3 --fault stall-stage=3
  hailoctl -d vfio-user:/tmp/chip.sock fw-load DIR      (from another shell)
  hailoctl sim --rpc-listen 127.0.0.1                   for other clients of the RPC
  hailoctl sim --socket /tmp/nnc.sock --profile default,mode=nnc
  hailoctl sim mkfw DIR                                 firmware to load";

/// How to serve.
#[derive(Debug, clap::Args)]
#[group(id = "serve")]
pub(super) struct Args {
    /// The socket to make; one that a killed server left behind is replaced
    #[arg(long, value_name = "PATH", required_unless_present = "rpc_listen")]
    socket: Option<PathBuf>,

    /// Serve the RPC of a running chip at this address, on its usual ports, to anyone who can reach it
    #[arg(long, value_name = "ADDRESS")]
    rpc_listen: Option<IpAddr>,

    /// The card and its link
    #[arg(long, default_value = "default")]
    profile: Profile,
}

#[derive(Serialize)]
struct Event {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rpc: Vec<String>,
    profile: String,
    faults: String,
}

/// Serves until a signal comes.
pub(super) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    if args.socket.is_none() && args.rpc_listen.is_none() {
        return Err(Failure::usage(
            "sim needs a socket",
            "hailoctl sim --socket PATH",
        ));
    }
    // Before anything starts a thread.
    let signals = Signals::take()?;
    let faults: FaultPlan = global.faults()?;
    let rpc = args.rpc_listen.map(|address| {
        let bound = RpcServer::bind(address, &args.profile, faults.clone());
        bound.map_err(|error| {
            let what = format!("the RPC ports at {address} can't be had");
            Error::new(ErrorKind::Io, "sim", what).because(error)
        })
    });
    let rpc = rpc.transpose()?;
    let card = args.socket.as_ref().map(|socket| -> Result<_> {
        let chip = Chip::new(args.profile.clone(), faults.clone()).map_err(|error| {
            Error::new(ErrorKind::Io, "sim", "the software chip can't be started").because(error)
        })?;
        let server = Server::bind(socket, chip.clone()).map_err(told)?;
        Ok((chip, server))
    });
    let card = card.transpose()?;
    let event = Event {
        event: "serving",
        socket: args.socket.as_ref().map(|path| path.display().to_string()),
        rpc: rpc
            .iter()
            .flat_map(RpcServer::addresses)
            .map(|at| at.to_string())
            .collect(),
        profile: args.profile.to_string(),
        faults: faults.to_string(),
    };
    if output.is_json() {
        output.event(&event)?;
    } else {
        let places = event.socket.iter().chain(&event.rpc);
        let places: Vec<&str> = places.map(String::as_str).collect();
        let places = places.join(" and ");
        output.note(format_args!(
            "serving {} at {places} until Ctrl-C",
            event.profile
        ))?;
    }
    let stop = signals.as_fd();
    let served = std::thread::scope(|scope| {
        let rpc = rpc.as_ref().map(|rpc| scope.spawn(move || rpc.serve(stop)));
        let card = card
            .as_ref()
            .map_or(Ok(()), |(_, server)| server.serve(stop));
        let rpc = rpc.map_or(Ok(()), |thread| {
            let panicked = |_| Err(std::io::Error::other("its thread panicked"));
            thread.join().unwrap_or_else(panicked)
        });
        card.and(rpc)
    });
    if let Some((chip, server)) = card {
        drop(server);
        if global.stats {
            Stats::of(&chip).tell(output)?;
        }
    }
    if let Some(rpc) = rpc.filter(|_| global.stats) {
        tell_mistakes(rpc.complaints(), output)?;
    }
    served.map_err(|error| {
        Error::new(ErrorKind::Io, "sim", "the socket can't be served any more").because(error)
    })?;
    Ok(Exit::Done)
}

/// Tells what clients of the RPC over TCP did wrong.
fn tell_mistakes(complaints: Vec<String>, output: &mut Output) -> Result<()> {
    #[derive(Serialize)]
    struct Mistakes {
        event: &'static str,
        complaints: Vec<String>,
    }
    if output.is_json() {
        return output.event(&Mistakes {
            event: "rpc-stats",
            complaints,
        });
    }
    let lines = complaints.iter();
    let lines: String = lines
        .map(|complaint| format!("{BAD}complaint{BAD:#}: {complaint}\n"))
        .collect();
    output.text(&lines)
}

fn told(error: BindError) -> Error {
    let failed = |kind, next: &str| Error::new(kind, "sim", error.to_string()).with_hint(next);
    match &error {
        BindError::Live(_) => failed(ErrorKind::Busy, "end that server, or take another --socket"),
        BindError::NotASocket(_) => failed(ErrorKind::BadInput, "take another --socket"),
        _ => Error::new(ErrorKind::Io, "sim", "the socket can't be made")
            .with_hint("its folder must exist, and be one that you may write to")
            .because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_profile_and_every_fault() {
        for name in Profile::names() {
            assert!(AFTER_HELP.contains(name), "{name}");
        }
        // The error of the parser lists them.
        let error = "nonsense".parse::<FaultPlan>().unwrap_err().to_string();
        let (_, names) = error.split_once("NAME one of ").unwrap();
        for name in names.trim_end_matches(')').split(", ") {
            assert!(AFTER_HELP.contains(name), "{name}");
        }
    }
}
