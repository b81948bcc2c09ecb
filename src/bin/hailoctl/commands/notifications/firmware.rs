//! Notifications of NNC mode, in the words of the others.

use hailo_vfio::nnc::Notice;
use hailo_vfio::spec::nnc::event::{Event, Place};
use hailo_vfio::spec::nnc::state::{CurrentZone, Zone};
use serde_json::{Map, Value, json};

use crate::output::{BAD, CARE, GOOD};

/// A notification for people, and for programs.
pub(super) fn shown(notice: &Notice) -> (String, Value) {
    let notification = &notice.notification;
    let (mut text, name, facts) = of(&notification.event);
    let mut object = Map::new();
    object.insert("notification".into(), name.into());
    object.insert("sequence".into(), notification.sequence.into());
    if let Value::Object(facts) = facts {
        object.extend(facts);
    }
    if notice.dropped > 0 {
        object.insert("dropped".into(), notice.dropped.into());
        text = format!("{text} ({} before it were dropped)", notice.dropped);
    }
    (text, Value::Object(object))
}

fn at(place: &Place) -> (String, Value) {
    let Place {
        application,
        batch,
        context,
        action,
    } = *place;
    (
        format!("application {application}, context {context}, action {action}, batch {batch}"),
        json!({"application": application, "batch": batch, "context": context, "action": action}),
    )
}

/// For people, the name, and what belongs to it.
fn of(event: &Event) -> (String, &'static str, Value) {
    match event {
        Event::Temperature {
            zone,
            sensor,
            celsius: [a, b],
        } => {
            let s = match zone {
                Zone::Green => GOOD,
                Zone::Orange => CARE,
                _ => BAD,
            };
            let text = format!("temperature {s}{zone}{s:#}: {a:.1} and {b:.1} °C");
            let zone = zone.to_string();
            let facts = json!({"zone": zone, "sensor": sensor, "degrees": [a, b]});
            (text, "temperature", facts)
        }
        Event::ClosedStreams { celsius: [a, b] } => (
            format!("{BAD}too hot: all streams were closed{BAD:#}: {a:.1} and {b:.1} °C"),
            "closed_streams",
            json!({"degrees": [a, b]}),
        ),
        Event::Overcurrent {
            zone,
            threshold,
            last,
        } => {
            let s = if *zone == CurrentZone::Green {
                GOOD
            } else {
                BAD
            };
            let text = format!("current {s}{zone}{s:#}: the limit is {threshold}");
            let zone = zone.to_string();
            let facts = json!({"zone": zone, "threshold": threshold, "last_warning": last});
            (text, "overcurrent", facts)
        }
        Event::LcuEcc {
            clusters,
            corrected,
        } => ecc(
            "compute units of clusters",
            (*clusters).into(),
            *corrected,
            "lcu_ecc",
        ),
        Event::CpuEcc {
            memories,
            corrected,
        } => ecc("memories of a CPU", *memories, *corrected, "cpu_ecc"),
        Event::Breakpoint(place) => {
            let (text, facts) = at(place);
            (format!("breakpoint at {text}"), "breakpoint", facts)
        }
        Event::ClockChanged { from, to } => (
            format!(
                "core clock {} MHz, before {} MHz",
                to / 1_000_000,
                from / 1_000_000
            ),
            "clock",
            json!({"hz": to, "before_hz": from}),
        ),
        Event::HwInferDone { cycles } => (
            format!("hardware inference done in {cycles} cycles"),
            "hw_infer_done",
            json!({"cycles": cycles}),
        ),
        Event::RunTimeError { status, place } => {
            let (text, mut facts) = at(place);
            facts["status"] = format!("{:#010x}", status.0).into();
            facts["meaning"] = status.to_string().into();
            let text = format!("{BAD}a network failed{BAD:#}: {status} at {text}");
            (text, "run_time_error", facts)
        }
        Event::CoreCrc => (
            format!("{BAD}CRC error in the neural core{BAD:#}"),
            "core_crc",
            json!({}),
        ),
        Event::Throttling { state } => (
            format!("throttling state {state}"),
            "throttling",
            json!({"state": state.to_string()}),
        ),
        Event::HostInfo {
            status,
            link,
            port,
            address,
            ..
        } => (
            "host info".to_owned(),
            "host_info",
            json!({"status": status, "link": link, "port": port, "address": address}),
        ),
        Event::Other {
            id,
            count,
            parameters,
        } => {
            let bytes: String = parameters
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let text = format!("notification {id}: {bytes}");
            let facts = json!({"id": id, "parameters": count, "bytes": bytes});
            (text, "other", facts)
        }
        other => {
            let id = other.id();
            (format!("notification {id}"), "other", json!({"id": id}))
        }
    }
}

fn ecc(
    what: &str,
    bitmap: u32,
    corrected: bool,
    name: &'static str,
) -> (String, &'static str, Value) {
    let (s, how) = if corrected {
        (CARE, "corrected")
    } else {
        (BAD, "not corrected")
    };
    (
        format!("{s}memory error{s:#}, {how}: {what} {bitmap:#x}"),
        name,
        json!({"bitmap": bitmap, "corrected": corrected}),
    )
}
