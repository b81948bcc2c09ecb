//! What the user has settled for good: a file of lines `name = value`, a very small part of TOML.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::{Failure, Result};

/// The settings. Those that the file leaves out are as here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// Open cards that no IOMMU confines, as `--allow-no-iommu` does.
    pub(crate) allow_no_iommu: bool,
}

/// Places of the file; the first that is there counts.
fn places() -> Vec<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let home = || folder("HOME").map(|home| Path::new(&home).join(".config"));
    let user = folder("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
    let user = user.map(|folder| folder.join("hailoctl/config.toml"));
    user.into_iter()
        .chain([PathBuf::from("/etc/hailoctl.toml")])
        .collect()
}

impl Config {
    /// Reads the file; without one all is as by default.
    pub(crate) fn read() -> Result<Self> {
        for place in places() {
            match fs::read_to_string(&place) {
                Ok(text) => return parse(&text).map_err(|error| error.in_file(&place)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let action = format!("{} can't be read: {error}", place.display());
                    let next = "make it readable, or remove it";
                    return Err(Failure::usage(action, next));
                }
            }
        }
        Ok(Self::default())
    }
}

/// A line that makes no sense.
#[derive(Debug, PartialEq, Eq)]
struct BadLine {
    number: usize,
    line: String,
}

impl BadLine {
    fn in_file(self, place: &Path) -> Failure {
        let Self { number, line } = self;
        let action = format!("{}, line {number}: {line:?} is no setting", place.display());
        Failure::usage(action, "settings are: allow_no_iommu = true, or false")
    }
}

fn parse(text: &str) -> std::result::Result<Config, BadLine> {
    let mut config = Config::default();
    for (number, line) in (1..).zip(text.lines()) {
        let setting = line.split('#').next().unwrap_or_default().trim();
        if setting.is_empty() {
            continue;
        }
        let parts = setting.split_once('=');
        config.allow_no_iommu = match parts.map(|(name, value)| (name.trim(), value.trim())) {
            Some(("allow_no_iommu", "true")) => true,
            Some(("allow_no_iommu", "false")) => false,
            _ => {
                let line = line.to_owned();
                return Err(BadLine { number, line });
            }
        };
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_empty_lines_are_nothing() {
        assert_eq!(parse("# nothing\n\n"), Ok(Config::default()));
        let allowed = Config {
            allow_no_iommu: true,
        };
        let text = "# a Raspberry Pi\nallow_no_iommu = true # knowingly\n";
        assert_eq!(parse(text), Ok(allowed));
        assert_eq!(parse("allow_no_iommu=false"), Ok(Config::default()));
    }

    #[test]
    fn a_line_that_is_no_setting_is_named() {
        for text in [
            "allow_no_iommu = yes",
            "allow-no-iommu = true",
            "[vfio]",
            "allow_no_iommu",
        ] {
            let bad = parse(&format!("\n{text}")).unwrap_err();
            assert_eq!((bad.number, bad.line.as_str()), (2, text));
        }
    }
}
