//! `completions`: scripts that complete `hailoctl` in a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Exit, Result};
use crate::output::Output;

/// Print a script that completes hailoctl in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl completions bash > ~/.local/share/bash-completion/completions/hailoctl
  hailoctl completions zsh > ~/.zfunc/_hailoctl
  hailoctl completions fish > ~/.config/fish/completions/hailoctl.fish")]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

/// Prints the script. It is text in every format: a shell reads it.
pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hailoctl", &mut script);
    output.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
