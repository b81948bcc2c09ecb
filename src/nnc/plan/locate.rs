//! From numbers that the firmware tells back to something a person can read.

use std::fmt;

use super::{ContextPlan, Origin, Plan, Planned, Unit};

/// An action of a plan, by the numbers of an event.
#[derive(Clone, Copy, Debug)]
pub struct Located<'a> {
    /// Its context.
    pub context: &'a ContextPlan,
    /// Its number in the context, a repeated block counting as one.
    pub index: usize,
    /// What stands there.
    pub unit: &'a Unit,
}

impl Plan {
    /// Finds action `action` of context `context` of the firmware: 0 is activation, 1 batch switching, 2 preliminary,
    /// 3 the first dynamic one. `None` for numbers that the plan does not have.
    ///
    /// Source: inferred from the order of upload; whether the firmware counts a repeated block as one is unconfirmed.
    #[must_use]
    pub fn locate(&self, context: u16, action: u16) -> Option<Located<'_>> {
        let context = self.contexts.get(usize::from(context))?;
        let index = usize::from(action);
        let unit = context.units.get(index)?;
        Some(Located {
            context,
            index,
            unit,
        })
    }
}

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, action {}: {}",
            self.context.name(),
            self.index,
            self.unit
        )
    }
}

impl fmt::Display for Planned {
    /// The action, its list by number instead of by an address that it has not got.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.action.to_string();
        match self.list {
            Some(list) => f.write_str(&text.replacen("buffer 0x0", &format!("list {}", list.0), 1)),
            None => f.write_str(&text),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.actions.first() else {
            return Ok(());
        };
        match self.actions.as_slice() {
            [alone] => write!(f, "{alone}")?,
            several => write!(f, "{} x {}", several.len(), first.action.kind())?,
        }
        match first.origin {
            Origin::Host => {}
            Origin::Trigger { operation } | Origin::File { operation, .. } => {
                write!(f, " (operation {operation})")?;
            }
        }
        match &first.layer {
            Some(layer) if self.actions.len() == 1 => write!(f, " (`{layer}`)"),
            _ => Ok(()),
        }
    }
}
