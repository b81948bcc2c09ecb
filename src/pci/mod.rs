//! PCI as Linux shows it: functions in sysfs, their config space and link.

pub mod capability;
