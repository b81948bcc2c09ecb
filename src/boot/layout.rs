//! Telling a set's release layout from its names, sizes and version.

use crate::spec::board::{DEVICE_TREE_V4, Layout};
use crate::spec::firmware::Version;

/// What a set shows about its layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayoutEvidence {
    /// There is a `u-boot.dtb.signed`.
    pub bare_device_tree: bool,
    /// There are `u-boot-<sku>.dtb.signed` files.
    pub sku_device_trees: bool,
    /// Version in the header of `scu_fw.bin`.
    pub version: Option<Version>,
    /// A file that is too long for a layout: layout, name, length, limit.
    pub too_long: Vec<(Layout, &'static str, u64, u64)>,
}

/// Why the layout can't be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutProblem {
    /// Device trees of both kinds.
    #[error(
        "{DEVICE_TREE_V4} belongs to release 4.x, u-boot-<sku>.dtb.signed to 5.x: this is a mixture of two sets"
    )]
    Mixed,
    /// No device tree at all.
    #[error("there is no device tree ({DEVICE_TREE_V4} or u-boot-<sku>.dtb.signed)")]
    NoDeviceTree,
    /// Version and names or sizes contradict each other.
    #[error("scu_fw.bin says release {version} (layout {by_version}), but {evidence}")]
    Contradiction {
        /// Version in the SCU firmware's header.
        version: Version,
        /// Layout of that release.
        by_version: Layout,
        /// What says otherwise.
        evidence: String,
    },
    /// No layout is left.
    #[error("no layout fits: {0}")]
    NoneFits(String),
    /// More than one layout is left.
    #[error(
        "the files fit layout 5.0 as well as 5.1, and scu_fw.bin does not say which release it is"
    )]
    Ambiguous,
}

impl LayoutEvidence {
    /// The one layout that names, sizes and version agree on.
    ///
    /// # Errors
    /// They contradict each other or leave more than one.
    pub fn conclude(&self) -> Result<Layout, LayoutProblem> {
        let (by_names, evidence): (&[Layout], _) =
            match (self.bare_device_tree, self.sku_device_trees) {
                (true, true) => return Err(LayoutProblem::Mixed),
                (false, false) => return Err(LayoutProblem::NoDeviceTree),
                (true, false) => (
                    &[Layout::V4],
                    format!("{DEVICE_TREE_V4} belongs to layout 4.x"),
                ),
                (false, true) => (
                    &[Layout::V5_0, Layout::V5_1],
                    "u-boot-<sku>.dtb.signed belongs to layout 5.0 or 5.1".into(),
                ),
            };
        let excess = |layout| self.too_long.iter().find(|(of, ..)| *of == layout);
        let fitting: Vec<Layout> = by_names
            .iter()
            .copied()
            .filter(|layout| excess(*layout).is_none())
            .collect();
        let release = self
            .version
            .and_then(|version| Some((version, Layout::of_release(version.major, version.minor)?)));
        match (release, &*fitting) {
            (Some((_, by_version)), _) if fitting.contains(&by_version) => Ok(by_version),
            (Some((version, by_version)), _) => {
                let evidence = excess(by_version).map_or(evidence, describe);
                Err(LayoutProblem::Contradiction {
                    version,
                    by_version,
                    evidence,
                })
            }
            (None, [layout]) => Ok(*layout),
            (None, []) => Err(LayoutProblem::NoneFits(
                self.too_long
                    .iter()
                    .map(describe)
                    .collect::<Vec<_>>()
                    .join("; "),
            )),
            (None, _) => Err(LayoutProblem::Ambiguous),
        }
    }
}

fn describe((layout, name, len, limit): &(Layout, &'static str, u64, u64)) -> String {
    format!("{name} has {len} bytes, more than layout {layout} takes ({limit})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sku_set(version: Option<(u32, u32, u32)>) -> LayoutEvidence {
        let version = version.map(|(major, minor, revision)| Version::new(major, minor, revision));
        LayoutEvidence {
            sku_device_trees: true,
            version,
            ..Default::default()
        }
    }

    #[test]
    fn names_and_version_that_agree_decide() {
        assert_eq!(sku_set(Some((5, 2, 0))).conclude(), Ok(Layout::V5_1));
        assert_eq!(sku_set(Some((5, 0, 1))).conclude(), Ok(Layout::V5_0));
        let bare = LayoutEvidence {
            bare_device_tree: true,
            ..Default::default()
        };
        assert_eq!(bare.conclude(), Ok(Layout::V4));
    }

    #[test]
    fn sizes_decide_where_the_version_is_unknown() {
        assert_eq!(sku_set(None).conclude(), Err(LayoutProblem::Ambiguous));
        assert_eq!(
            sku_set(Some((0, 0, 0))).conclude(),
            Err(LayoutProblem::Ambiguous)
        );
        let long_kernel = (Layout::V5_0, "fitImage", 0x200_0000, 0x100_0000);
        let evidence = LayoutEvidence {
            too_long: vec![long_kernel],
            ..sku_set(None)
        };
        assert_eq!(evidence.conclude(), Ok(Layout::V5_1));
    }

    #[test]
    fn contradictions_name_both_readings() {
        let mixed = LayoutEvidence {
            bare_device_tree: true,
            ..sku_set(None)
        };
        assert_eq!(mixed.conclude(), Err(LayoutProblem::Mixed));
        let old = sku_set(Some((4, 23, 0)))
            .conclude()
            .unwrap_err()
            .to_string();
        assert_eq!(
            old,
            "scu_fw.bin says release 4.23.0 (layout 4.x), but u-boot-<sku>.dtb.signed belongs to layout 5.0 or 5.1"
        );
        let long_spl = (Layout::V5_1, "u-boot-spl.bin", 0x3_0000, 0x2_c000);
        let evidence = LayoutEvidence {
            too_long: vec![long_spl],
            ..sku_set(Some((5, 2, 0)))
        };
        assert_eq!(
            evidence.conclude().unwrap_err().to_string(),
            "scu_fw.bin says release 5.2.0 (layout 5.1), but u-boot-spl.bin has 196608 bytes, more than layout 5.1 takes (180224)"
        );
    }
}
