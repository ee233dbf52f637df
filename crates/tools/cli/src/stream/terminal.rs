//! The user's terminal: raw mode that is undone however the program ends, and its size.

use std::io::IsTerminal as _;
use std::sync::{Mutex, Once};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The settings to go back to, while the terminal is raw.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// Raw mode of standard input for as long as this lives.
pub struct Raw(());

impl Raw {
    /// `None` when standard input is no terminal.
    pub fn enter() -> std::io::Result<Option<Raw>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        if let Ok(mut saved) = SAVED.lock() {
            saved.get_or_insert(before);
        }
        // A panic may end the process without running any destructor.
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                previous(info);
            }));
        });
        Ok(Some(Raw(())))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Leaves raw mode. Called once more than needed it does nothing, so every way out of the program may call it.
pub fn restore() {
    if let Some(before) = SAVED.lock().ok().and_then(|mut saved| saved.take()) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

/// Rows and columns of the terminal behind standard output, or else behind standard input.
pub fn size() -> Option<(u16, u16)> {
    let of = |size: rustix::io::Result<rustix::termios::Winsize>| {
        size.ok().filter(|size| size.ws_row > 0 && size.ws_col > 0).map(|size| (size.ws_row, size.ws_col))
    };
    of(tcgetwinsize(std::io::stdout())).or_else(|| of(tcgetwinsize(std::io::stdin())))
}
