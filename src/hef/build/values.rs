//! What comes with a layer besides its shape: quantization, and detection on the chip.

use super::super::arch::NmsGeneration;
use super::super::layer::{Direction, Layer, LayerQuantization, Quantization};
use super::super::nms::{BurstType, ChipNms, FusedPart};
use super::super::schema::types;
use super::at::{At, Build};
use super::layers::Scope;

/// Parts of a fused detection output.
const MAX_CLASS_GROUPS: u64 = 9;
/// Most bytes of a detection burst.
const MAX_NMS_BURST: u64 = 65_536;

pub(crate) fn quantization(
    info: Option<&types::EdgeLayerNumericInfo>,
    at: &At<'_>,
    scope: &Scope<'_>,
    layer: &Layer,
    direction: Direction,
) -> Build<LayerQuantization> {
    let empty = types::EdgeLayerNumericInfo::default();
    let info = info.unwrap_or(&empty);
    let mut quantization = LayerQuantization {
        layer: Quantization {
            zero_point: info.qp_zp,
            scale: info.qp_scale,
            limit_min: info.limvals_min,
            limit_max: info.limvals_max,
        },
        ..LayerQuantization::default()
    };
    if !scope.rules.by_feature {
        return Ok(quantization);
    }
    let features = if layer.nms.is_some() {
        2
    } else {
        layer.shape.features
    };
    for (what, field, list) in [
        ("zero points by feature", 5, &info.qp_zps),
        ("scales by feature", 6, &info.qp_scales),
    ] {
        if !list.is_empty() && u32::try_from(list.len()) != Ok(features) {
            return Err(at
                .field(field)
                .bad(what, format!("0 or {features} values"), list.len()));
        }
        let equal = list.iter().all(|value| list.first() == Some(value));
        if direction == Direction::HostToDevice && !equal {
            return Err(at
                .field(field)
                .bad(what, "equal values on an input", "different ones"));
        }
    }
    quantization.by_feature = true;
    quantization.zero_points.clone_from(&info.qp_zps);
    quantization.scales.clone_from(&info.qp_scales);
    Ok(quantization)
}

pub(crate) fn chip_nms(
    base: &types::EdgeLayerBase,
    at: &At<'_>,
    scope: &Scope<'_>,
) -> Build<ChipNms> {
    let Some(info) = base
        .additional_info
        .as_ref()
        .and_then(|info| info.nms_info.as_ref())
    else {
        return Err(at.bad("detection parameters", "set for format 6", "none"));
    };
    let at = at.field(1);
    let mut nms = nms_info(info, &at, scope)?;
    if info.is_defused && !scope.fused.is_empty() {
        let empty = types::NmsDefuseInfo::default();
        let part = info.defuse_info.as_ref().unwrap_or(&empty);
        let part_at = at.field(6);
        if part.class_group_index >= MAX_CLASS_GROUPS {
            return Err(part_at
                .field(1)
                .bad("class group", "0 to 8", part.class_group_index));
        }
        let whole = scope
            .fused
            .iter()
            .find(|fused| fused_name(fused) == part.original_name);
        let Some(whole) = whole else {
            return Err(part_at.field(3).bad(
                "fused layer",
                "the name of one",
                format!("{:?}", part.original_name),
            ));
        };
        let default = types::NmsInfo::default();
        nms.fused = Some(Box::new(FusedPart {
            class_group: u8::try_from(part.class_group_index).unwrap_or(u8::MAX),
            name: fused_name(whole).to_owned(),
            whole: nms_info(whole.nms_info.as_ref().unwrap_or(&default), &at, scope)?,
        }));
    }
    Ok(nms)
}

fn fused_name(fused: &types::EdgeLayerFused) -> &str {
    fused.layer_info.as_ref().map_or("", |info| &info.name)
}

fn nms_info(info: &types::NmsInfo, at: &At<'_>, scope: &Scope<'_>) -> Build<ChipNms> {
    let Some(generation) = scope.rules.architecture.nms_generation() else {
        return Err(at.bad(
            "architecture",
            "one with on-chip detection",
            scope.rules.architecture,
        ));
    };
    let bbox_bytes = at.field(4).u32("bytes of a box", info.bbox_size)?;
    let (burst, burst_type) = match (scope.rules.nms_burst, generation, info.burst_type) {
        (false, NmsGeneration::First, 0) => (1, BurstType::H8Bbox),
        (false, NmsGeneration::Second, 0) => (1, BurstType::H15Bbox),
        (false, _, other) => {
            return Err(at
                .field(9)
                .bad("burst type", "0 without extension 19", other));
        }
        (true, NmsGeneration::First, 1) => (info.burst_size, BurstType::H8PerClass),
        (true, NmsGeneration::Second, 2) => (info.burst_size, BurstType::H15PerClass),
        (true, NmsGeneration::Second, 3) => (info.burst_size, BurstType::H15PerFrame),
        (true, NmsGeneration::First, other) => {
            return Err(at.field(9).bad("burst type", "1 on this chip", other));
        }
        (true, NmsGeneration::Second, other) => {
            return Err(at.field(9).bad("burst type", "2 or 3 on this chip", other));
        }
    };
    let burst_bytes = u64::from(burst) * u64::from(bbox_bytes);
    if burst_bytes > MAX_NMS_BURST {
        return Err(at.field(8).bad(
            "detection burst",
            format!("at most {MAX_NMS_BURST} bytes"),
            burst_bytes,
        ));
    }
    let nms = ChipNms {
        classes: at.field(2).u32("classes", info.number_of_classes)?,
        bbox_bytes,
        max_per_class: at.field(3).u32("boxes per class", info.max_output_size)?,
        chunks: at
            .field(7)
            .u32("division factor", info.input_division_factor)?
            .max(1),
        burst,
        burst_type,
        fused: None,
    };
    let per_class = u64::from(nms.max_per_class) * u64::from(nms.chunks);
    let fits = u32::try_from(per_class).is_ok()
        && u32::try_from(per_class.saturating_mul(nms.classes.into())).is_ok()
        && u32::try_from(nms.frame_bytes()).is_ok();
    if !fits {
        let found = format!(
            "{} classes x {} boxes x {} chunks",
            nms.classes, nms.max_per_class, nms.chunks
        );
        return Err(at.bad("detection frame", "at most 32 bits", found));
    }
    Ok(nms)
}
