//! Reading attributes of sysfs and procfs under a root.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest attribute: sysfs gives at most a page.
const LONGEST: usize = 4096;

/// Where `/sys`, `/proc`, `/dev` and `/lib/modules` are looked for: `/`, or a copy of another machine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self::new("/")
    }
}

impl Root {
    /// The root at `directory`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The place of `path`, which is absolute or relative to the root.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether there is something at `path`.
    #[must_use]
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }
}

/// The text of an attribute without the newline; `None` where it can't be read: attributes come and
/// go with the kernel's version and the kind of device.
pub(crate) fn text(path: &Path) -> Option<String> {
    let mut buffer = [0; LONGEST];
    let len = read(path, &mut buffer).ok()?;
    let text = std::str::from_utf8(buffer.get(..len)?).ok()?;
    Some(text.trim().to_owned())
}

/// The text of a file that is no attribute: of any length up to 16 MiB, whatever its bytes.
pub(crate) fn long_text(path: &Path) -> Option<String> {
    const LONGEST: u64 = 16 << 20;
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A decimal attribute.
pub(crate) fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

/// A hexadecimal attribute with the prefix `0x`.
pub(crate) fn hex<T: TryFrom<u32>>(path: &Path) -> Option<T> {
    let text = text(path)?;
    let value = u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
    value.try_into().ok()
}

/// The last part of what a symbolic link points to: the name of a driver, the number of a group.
pub(crate) fn link_name(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    target
        .file_name()
        .and_then(OsStr::to_str)
        .map(str::to_owned)
}

/// The names in a directory, sorted; none where it can't be read.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

/// One read: the kernel gives an attribute whole.
fn read(path: &Path, buffer: &mut [u8]) -> io::Result<usize> {
    File::open(path)?.read(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_under_the_root() {
        let root = Root::new("/copy");
        assert_eq!(root.path("/sys/bus"), Path::new("/copy/sys/bus"));
        assert_eq!(root.path("sys/bus"), Path::new("/copy/sys/bus"));
        assert_eq!(Root::default().path("/sys"), Path::new("/sys"));
    }

    #[test]
    fn attributes_are_trimmed_and_what_is_not_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let attribute = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        assert_eq!(hex(&attribute("vendor", "0x1e60\n")), Some(0x1e60_u16));
        assert_eq!(hex::<u16>(&attribute("class", "0x0b4000\n")), None);
        assert_eq!(number(&attribute("width", "4\n")), Some(4_u8));
        assert_eq!(number::<u32>(&attribute("node", "-1\n")), None);
        assert_eq!(text(&attribute("empty", "")), Some(String::new()));
        assert_eq!(text(&attribute("odd", "\u{fffd}")), Some("\u{fffd}".into()));
        assert_eq!(text(&dir.path().join("missing")), None);
    }
}
