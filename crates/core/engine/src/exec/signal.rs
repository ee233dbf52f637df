//! Sending a signal to a further process, which Docker's API does not know.

use rustix::process::{Pid, PidfdFlags, Signal};

use super::inspect;
use crate::Engine;
use crate::containers::signal;
use crate::error::{Context as _, Error, Result};

/// Sends a signal, by name or number; one that has ended gets none.
pub async fn signal(engine: &Engine, id: &str, name: &str) -> Result<()> {
    let number = signal::parse(name)?;
    let signal = Signal::from_named_raw(number);
    let signal = signal.ok_or_else(|| Error::invalid(format!("invalid signal: {name}")))?;
    let found = inspect(engine, id).await?;
    let pid = i32::try_from(found.pid).ok().and_then(Pid::from_raw).filter(|_| found.running);
    let missing = || Error::conflict(format!("exec {id} is not running"));
    let process = rustix::process::pidfd_open(pid.ok_or_else(missing)?, PidfdFlags::empty());
    let process = process.map_err(|_| missing())?;
    // While it runs nobody else has its number: the descriptor is of the one that is meant.
    if !inspect(engine, id).await?.running {
        return Err(missing());
    }
    rustix::process::pidfd_send_signal(&process, signal).during("send a signal")
}
