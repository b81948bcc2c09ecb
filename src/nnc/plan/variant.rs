//! Which of a group's variants a device runs.

use super::error::{PlanError, Refusal, Result};
use crate::hef::{CoreOp, DeviceArch, Hef, NetworkGroup};

/// Chooses among the variants of a group by the clusters of the device, where they are known.
///
/// Files have one variant, but for those of architectures with parts of the clusters. Of these a Hailo-15H takes any (the
/// one with the smallest bitmap here), other devices the one that names their clusters, or "any".
///
/// # Errors
///
/// [`PlanError`] with the layouts that there are.
///
/// Source: vendor hailort v5.2.0, `vdma_device.cpp`, `hef.cpp`.
pub fn variant<'a>(
    hef: &Hef,
    group: &'a NetworkGroup,
    device: DeviceArch,
    clusters: Option<u32>,
) -> Result<&'a CoreOp> {
    let takes_any = matches!(
        (hef.architecture().0, device),
        (3, DeviceArch::Hailo8) | (4, DeviceArch::Hailo15H)
    );
    let layout = |wanted: Option<u32>| group.variants.iter().find(|core| core.layout == wanted);
    let found = layout(None)
        .or_else(|| clusters.and_then(|clusters| layout(Some(clusters))))
        .or_else(|| layout(Some(u32::MAX)))
        .or_else(|| group.variants.first().filter(|_| takes_any));
    found.ok_or_else(|| missing(group, clusters))
}

fn missing(group: &NetworkGroup, clusters: Option<u32>) -> PlanError {
    let expected = match clusters {
        Some(clusters) => format!("{clusters:#x} or 0xffffffff (any)"),
        None => "0xffffffff (any)".to_owned(),
    };
    let layouts = group.variants.iter().filter_map(|core| core.layout);
    let found: Vec<String> = layouts.map(|layout| format!("{layout:#x}")).collect();
    Refusal::file("cluster layout", expected, found.join(", ")).within(&group.name, None)
}
