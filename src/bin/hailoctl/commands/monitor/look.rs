//! One look at a chip: what it tells of itself, and why it does not tell the rest.

use std::time::Duration;

use hailo_vfio::Error;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Telemetry;
use hailo_vfio::nnc::ControlError;
use hailo_vfio::soc::rpc::RpcError;
use hailo_vfio::soc::{Performance, Temperature};
use serde::Serialize;
use serde_json::Value;

use crate::commands::notifications;
use crate::exit::Result;
use crate::output::bytes;

/// What can be watched.
pub(crate) trait Source: Sync {
    /// Looks once.
    fn look(&self) -> Result<Look>;

    /// Waits for what the chip says by itself; `None` where it said nothing in time.
    fn notice(&self, deadline: &Deadline) -> Result<Option<Said>>;
}

/// What the chip said by itself.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// For people.
    pub(crate) text: String,
    /// For programs.
    pub(crate) object: Value,
    /// The state of its throttling, if it is about that.
    pub(crate) throttling: Option<String>,
}

/// One look.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Look {
    /// Of the two sensors.
    pub(crate) temperature: Option<Temperature>,
    /// Watts.
    pub(crate) power_w: Option<f32>,
    #[serde(flatten)]
    pub(crate) load: Performance,
    /// How the chip slows itself down.
    pub(crate) throttling: Option<String>,
    /// Why something is not there.
    #[serde(skip_serializing_if = "Missing::is_empty")]
    pub(crate) missing: Missing,
}

/// Why parts of a look are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Missing {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) power: Option<String>,
    /// Of processors, neural core and memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load: Option<String>,
}

impl Missing {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A load of which nothing is known.
pub(crate) const NO_LOAD: Performance = Performance {
    cpu: None,
    nnc: None,
    dsp: None,
    ram_total: None,
    ram_used: None,
    ddr_transactions: None,
};

/// What a chip refuses to tell is missing, with its reason; what else goes wrong is a failure.
fn unless_refused<T>(
    answer: std::result::Result<T, Error>,
) -> Result<std::result::Result<T, String>> {
    let error = match answer {
        Ok(value) => return Ok(Ok(value)),
        Err(error) => error,
    };
    let cause = std::error::Error::source(&error);
    let by_server = cause.and_then(|cause| match cause.downcast_ref()? {
        RpcError::Status { status, .. } => Some(format!("the chip answers {status}")),
        _ => None,
    });
    let by_firmware = cause.and_then(|cause| match cause.downcast_ref()? {
        ControlError::Refused { major, minor, .. } => {
            let status = if minor.is_ok() { major } else { minor };
            Some(format!("the firmware answers {status}"))
        }
        foreign @ ControlError::Foreign { .. } => Some(foreign.to_string()),
        _ => None,
    });
    match by_server.or(by_firmware) {
        Some(why) => Ok(Err(why)),
        None => Err(error.into()),
    }
}

impl Source for Telemetry {
    fn look(&self) -> Result<Look> {
        let mut missing = Missing::default();
        let temperature = unless_refused(self.temperature())?;
        let temperature = temperature.map_err(|why| missing.temperature = Some(why));
        let power = match unless_refused(self.power())? {
            Ok(Some(watts)) => Some(watts),
            Ok(None) => {
                missing.power = Some("the board has no sensor".to_owned());
                None
            }
            Err(why) => {
                missing.power = Some(why);
                None
            }
        };
        let load = match unless_refused(self.performance())? {
            Ok(Some(load)) => load,
            Ok(None) => {
                missing.load = Some("firmware of nnc mode does not count it".to_owned());
                NO_LOAD
            }
            Err(why) => {
                missing.load = Some(why);
                NO_LOAD
            }
        };
        Ok(Look {
            temperature: temperature.ok(),
            power_w: power,
            load,
            throttling: self.throttling()?,
            missing,
        })
    }

    fn notice(&self, deadline: &Deadline) -> Result<Option<Said>> {
        let notice = Telemetry::notice(self, deadline)?;
        Ok(notice.map(|notice| {
            let (text, object) = notifications::shown(&notice);
            let state = object.get("state").and_then(Value::as_str);
            Said {
                throttling: state.map(str::to_owned),
                text,
                object,
            }
        }))
    }
}

/// The heading of [`Look::line`].
pub(super) const HEAD: &str =
    "   TS0     TS1    POWER     CPU     NNC    DSP      MEMORY              THROTTLING";

impl Look {
    /// All of it in a line.
    pub(super) fn line(&self) -> String {
        let Self {
            temperature,
            power_w,
            load,
            throttling,
            ..
        } = self;
        let unknown = || "-".to_owned();
        let degrees = |of: fn(&Temperature) -> f32| {
            let known = temperature.as_ref().map(of);
            known.map_or_else(|| format!("{:>7}", "-"), |t| format!("{t:4.1} °C"))
        };
        let percent = |value: Option<f32>| value.map_or_else(unknown, |v| format!("{v:.1} %"));
        let power = power_w.map_or_else(unknown, |watts| format!("{watts:.2} W"));
        let dsp = load.dsp.map_or_else(unknown, |dsp| format!("{dsp} %"));
        format!(
            "{} {} {power:>8} {:>7} {:>7} {dsp:>6}  {:<22} {}",
            degrees(|t| t.ts0),
            degrees(|t| t.ts1),
            percent(load.cpu),
            percent(load.nnc),
            self.memory().unwrap_or_else(unknown),
            throttling.as_deref().unwrap_or("-"),
        )
    }

    /// Memory in use, and all of it.
    pub(super) fn memory(&self) -> Option<String> {
        let (used, total) = (self.load.ram_used?, self.load.ram_total?);
        Some(format!("{} of {}", bytes(used), bytes(total)))
    }
}

/// Most notifications that are taken in before a look: a chip may send more without end.
const MOST_NOTICES: u32 = 1024;

/// Brings `state` up to what the chip told of its throttling since the last time.
pub(super) fn newest_throttling(source: &dyn Source, state: &mut Option<String>) -> Result<()> {
    for _ in 0..MOST_NOTICES {
        match source.notice(&Deadline::after(Duration::ZERO))? {
            Some(Said { throttling, .. }) => *state = throttling.or_else(|| state.take()),
            None => break,
        }
    }
    Ok(())
}

/// The value of a label: what would end it is escaped.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The text format that node_exporter's textfile collector reads.
pub(super) fn prometheus(look: &Look, device: &str) -> String {
    let mut text = String::new();
    let device = escaped(device);
    let mut gauge = |name: &str, help: &str, values: &[(&str, Option<f64>)]| {
        let known: Vec<_> = values
            .iter()
            .filter_map(|(labels, value)| Some((labels, (*value)?)))
            .collect();
        if known.is_empty() {
            return;
        }
        text += &format!("# HELP hailo_{name} {help}\n# TYPE hailo_{name} gauge\n");
        for (labels, value) in known {
            text += &format!("hailo_{name}{{device=\"{device}\"{labels}}} {value}\n");
        }
    };
    let load = &look.load;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge shows as many digits as it can"
    )]
    let bytes = |count: Option<u64>| count.map(|count| count as f64);
    gauge(
        "temperature_celsius",
        "Temperature of the chip.",
        &[
            (",sensor=\"ts0\"", look.temperature.map(|t| t.ts0.into())),
            (",sensor=\"ts1\"", look.temperature.map(|t| t.ts1.into())),
        ],
    );
    gauge(
        "power_watts",
        "Power of the board.",
        &[("", look.power_w.map(f64::from))],
    );
    gauge(
        "utilization_percent",
        "Load of a unit.",
        &[
            (",unit=\"cpu\"", load.cpu.map(f64::from)),
            (",unit=\"nnc\"", load.nnc.map(f64::from)),
            (",unit=\"dsp\"", load.dsp.map(f64::from)),
        ],
    );
    gauge(
        "memory_total_bytes",
        "Memory of the chip.",
        &[("", bytes(load.ram_total))],
    );
    gauge(
        "memory_used_bytes",
        "Memory in use.",
        &[("", bytes(load.ram_used))],
    );
    if let Some(state) = &look.throttling {
        let label = format!(",state=\"{}\"", escaped(state));
        let help = "How the chip slows itself down: 1 for the state that it told last.";
        gauge("throttling", help, &[(&label, Some(1.0))]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A chip that has these things to say.
    struct Talker(Mutex<Vec<Option<&'static str>>>);

    impl Source for Talker {
        fn look(&self) -> Result<Look> {
            Ok(Look {
                temperature: None,
                power_w: None,
                load: NO_LOAD,
                throttling: None,
                missing: Missing::default(),
            })
        }

        fn notice(&self, _: &Deadline) -> Result<Option<Said>> {
            let said = self.0.lock().unwrap().pop();
            Ok(said.map(|state| Said {
                text: String::new(),
                object: Value::Null,
                throttling: state.map(str::to_owned),
            }))
        }
    }

    #[test]
    fn the_state_of_throttling_that_was_told_last_is_a_gauge() {
        // The last is said first.
        let said = vec![None, Some("medium"), Some("light")];
        let chip = Talker(Mutex::new(said));
        let mut state = None;
        newest_throttling(&chip, &mut state).unwrap();
        newest_throttling(&chip, &mut state).unwrap();
        let mut look = chip.look().unwrap();
        assert_eq!(prometheus(&look, "sim"), "");
        look.throttling = state;
        let text = prometheus(&look, "vfio-user:a\"b\\c");
        let line = "hailo_throttling{device=\"vfio-user:a\\\"b\\\\c\",state=\"medium\"} 1\n";
        assert!(text.ends_with(line), "{text}");
    }
}
