//! When a request that failed is made again, and how long is waited before that.

use std::time::Duration;

use reqwest::{Response, StatusCode};

use crate::client::Patience;
use crate::error::{Error, Kind};
use crate::limits;

/// Tries of what is asked of a host that has not said a word yet: there may be nobody.
const UNHEARD: u32 = 4;
/// Tries once it has: whoever restarts a registry, or what stands before it, takes some seconds.
const HEARD: u32 = 8;

/// What one request, or one blob, has been waited for.
pub(crate) struct Retry {
    tried: u32,
    pause: Duration,
    waited: Duration,
}

/// A wait before the next try, and what for.
pub(crate) struct Wait {
    pub time: Duration,
    pub why: String,
}

impl Retry {
    pub(crate) fn new(patience: Patience) -> Retry {
        Retry { tried: 0, pause: patience.pause, waited: Duration::ZERO }
    }

    /// The wait before this answer may be another one; none when it will not be, or when it was given often enough.
    pub(crate) fn after(&mut self, response: &Response, heard: bool) -> Option<Wait> {
        let time = limits::pause(response, self.pause, self.waited)?;
        self.spend(time, heard, response.status().to_string())
    }

    /// The same where there was no answer, or where it has been read.
    pub(crate) fn after_error(&mut self, error: &Error, heard: bool) -> Option<Wait> {
        match error {
            Error::RateLimited { wait, .. } => {
                let wait = wait.filter(|wait| limits::is_bearable(*wait, self.waited))?;
                self.spend(wait, heard, StatusCode::TOO_MANY_REQUESTS.to_string())
            }
            Error::Status { status, .. } if limits::may_pass(number(status)) => {
                self.spend(self.pause, heard, status.clone())
            }
            Error::Transport { .. } | Error::Protocol { .. } if error.kind() == Kind::Unavailable => {
                self.spend(self.pause, heard, "the connection broke".to_owned())
            }
            _ => None,
        }
    }

    fn spend(&mut self, time: Duration, heard: bool, why: String) -> Option<Wait> {
        self.tried += 1;
        if self.tried >= if heard { HEARD } else { UNHEARD } {
            return None;
        }
        self.waited += time;
        self.pause *= 2;
        Some(Wait { time, why })
    }
}

/// The number in `502 Bad Gateway`.
fn number(status: &str) -> u16 {
    status.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
